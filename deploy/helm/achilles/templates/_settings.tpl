{{/* Seconds that a pod may need to stop. */}}
{{- define "achilles.stopSeconds" -}}
{{- with .Values.rollout -}}
{{- add .preStopSeconds .drainSeconds .shutdownSeconds .marginSeconds -}}
{{- end -}}
{{- end -}}

{{- define "achilles.gracePeriod" -}}
{{- if kindIs "invalid" .Values.rollout.terminationGracePeriodSeconds -}}
{{- include "achilles.stopSeconds" . -}}
{{- else -}}
{{- int .Values.rollout.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/*
The database of a service, as YAML with the keys of .Values.database, and name. Each service has its own account. Takes root
and service.
*/}}
{{- define "achilles.database" -}}
{{- $database := .service.database -}}
{{- $own := printf "achilles_%s" .service.name -}}
{{- $_ := set $database "name" ($database.name | default $own) -}}
{{- $_ := set $database "username" ($database.username | default $own) -}}
{{- $_ := set $database "passwordKey" ($database.passwordKey | default (printf "%s-password" .service.name)) -}}
{{- with .root.Values.mariadb -}}
{{- if .enabled -}}
{{- $server := printf "%s-mariadb" (include "achilles.fullname" $.root) -}}
{{- $database = dict "name" $database.name "username" $own "tls" "false" "host" $server "port" 3306
    "existingSecret" (.existingSecret | default $server) "passwordKey" $database.passwordKey "usernameKey" ""
-}}
{{- end -}}
{{- end -}}
{{- toYaml $database -}}
{{- end -}}

{{/* The Redis of the services, as YAML with the keys of .Values.externalRedis; {} for none. */}}
{{- define "achilles.redis" -}}
{{- $redis := dict -}}
{{- if .Values.redis.enabled -}}
{{- $server := printf "%s-redis" (include "achilles.fullname" .) -}}
{{- $redis = dict "host" $server "port" 6379 "username" "" "tls" false "passwordKey" "password"
    "existingSecret" (.Values.redis.existingSecret | default $server)
-}}
{{- else if or .Values.externalRedis.host .Values.externalRedis.addresses -}}
{{- $redis = .Values.externalRedis -}}
{{- end -}}
{{- toYaml $redis -}}
{{- end -}}

{{/* The ports of an external Redis, as a YAML list: of its addresses, and of the server that Sentinels watch. */}}
{{- define "achilles.redisPorts" -}}
{{- $ports := list -}}
{{- with .Values.externalRedis -}}
{{- range .addresses -}}
{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}
{{- end -}}
{{- if or .host .masterName -}}
{{- $ports = append $ports (int .port) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toYaml -}}
{{- end -}}

{{/* The secrets whose change replaces the pods at the next upgrade, as a YAML list of file, secret and key. Takes root and service. */}}
{{- define "achilles.secretFiles" -}}
{{- $database := include "achilles.database" . | fromYaml -}}
- {file: database-password, secret: {{ $database.existingSecret | quote }}, key: {{ $database.passwordKey | quote }}}
- {file: feed-token, secret: {{ include "achilles.feedSecret" .root | quote }}, key: {{ .root.Values.feed.tokenKey | quote }}}
{{- with include "achilles.redis" .root | fromYaml }}
{{- if .existingSecret }}
- {file: redis-password, secret: {{ .existingSecret | quote }}, key: {{ .passwordKey | quote }}}
{{- with .sentinelPasswordKey }}
- {file: sentinel-password, secret: {{ $.root.Values.externalRedis.existingSecret | quote }}, key: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The key set as a source of a projected volume. No checksum covers it, because running services read it again. */}}
{{- define "achilles.keySet" -}}
- secret:
    name: {{ include "achilles.authSecret" . | quote }}
    items:
      - key: {{ .Values.auth.keysKey | quote }}
        path: keys.yaml
{{- end -}}

{{- define "achilles.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "achilles.fullname" .)) -}}
{{- end -}}

{{- define "achilles.feedSecret" -}}
{{- .Values.feed.existingSecret | default (printf "%s-feed" (include "achilles.fullname" .)) -}}
{{- end -}}

{{/* Whether a service stores files: "true" or empty. Takes root and service. */}}
{{- define "achilles.storesFiles" -}}
{{- if and (eq .service.name "article") (ne .root.Values.files.storage "none") -}}true{{- end -}}
{{- end -}}

{{/* The port of the S3 storage. */}}
{{- define "achilles.filesPort" -}}
{{- $endpoint := regexReplaceAll "^.endpoint=" (regexFind "[?&]endpoint=[^&]+" .Values.files.s3.url | replace "%3A" ":" | replace "%2F" "/") "" -}}
{{- $host := regexReplaceAll "^[a-z]+://([^/]*).*$" $endpoint "${1}" -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default (hasPrefix "http:" $endpoint | ternary "80" "443") -}}
{{- end -}}

{{/* The settings that the chart derives from other values, as YAML. Takes root and service. */}}
{{- define "achilles.derivedSettings" -}}
{{- $rollout := .root.Values.rollout -}}
{{- $database := include "achilles.database" . | fromYaml -}}
{{- $secrets := "/run/secrets/achilles" -}}
Server:
  Host: ""
  HttpPort: 8080
  AdminHost: ""
  AdminPort: 9090
  ReadTimeout: {{ int $rollout.requestSeconds }}s
  RequestTimeout: {{ int $rollout.requestSeconds }}s
  # Leaves time to answer a request that timed out.
  WriteTimeout: {{ add $rollout.requestSeconds 3 }}s
  DrainDelay: {{ int $rollout.drainSeconds }}s
  ShutdownTimeout: {{ int $rollout.shutdownSeconds }}s
  TrustedProxies: {{ .root.Values.trustedProxies | default list | toJson }}
Database:
  DBType: mysql
  Host: {{ include "achilles.address" $database | quote }}
  {{- if not $database.usernameKey }}
  Username: {{ $database.username | quote }}
  {{- end }}
  PasswordFile: {{ $secrets }}/database-password
  DBName: {{ $database.name | quote }}
  TLS: {{ $database.tls | quote }}
Auth:
  KeysFile: {{ $secrets }}/keys.yaml
Feed:
  TokenFile: {{ $secrets }}/feed-token
  {{- with .service.follows }}
  URL: http://{{ include "achilles.fullname" $.root }}-{{ first . }}
  {{- end }}
{{- with include "achilles.redis" .root | fromYaml }}
Redis:
  Addresses: {{ .addresses | default (list (include "achilles.address" .)) | toJson }}
  {{- if .cluster }}
  Cluster: true
  {{- end }}
  {{- with .masterName }}
  MasterName: {{ . | quote }}
  {{- end }}
  {{- with .username }}
  Username: {{ . | quote }}
  {{- end }}
  {{- with .sentinelUsername }}
  SentinelUsername: {{ . | quote }}
  {{- end }}
  {{- if .existingSecret }}
  PasswordFile: {{ $secrets }}/redis-password
  {{- end }}
  {{- if and .existingSecret .sentinelPasswordKey }}
  SentinelPasswordFile: {{ $secrets }}/sentinel-password
  {{- end }}
  TLS: {{ .tls }}
{{- end }}
{{- if include "achilles.storesFiles" . }}
Files:
  URL: {{ ternary "file:///var/lib/achilles/files" .root.Values.files.s3.url (eq .root.Values.files.storage "claim") | quote }}
  SpoolDir: /var/spool/achilles
  Timeout: {{ int .root.Values.files.transferSeconds }}s
{{- end }}
{{- with .root.Values.tracing.endpoint }}
Tracing:
  Endpoint: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* All settings of a service, as YAML: the derived ones and its config. Takes root and service. */}}
{{- define "achilles.settings" -}}
{{- $settings := include "achilles.derivedSettings" . | fromYaml -}}
{{- $_ := set $settings "Log" (dict "Level" .root.Values.logLevel) -}}
{{- $_ := set $settings.Server "ReadOnly" .root.Values.readOnly -}}
{{- $_ := set $settings.Server "ReadHeaderTimeout" (.root.Values.rollout.requestSeconds | int | min 5 | printf "%ds") -}}
{{- include "achilles.override" (dict "values" $settings "by" .service.config) -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* The checksum of the settings that don't change while a service runs: all but those of files/live.yaml. Takes root and service. */}}
{{- define "achilles.settingsChecksum" -}}
{{- $settings := include "achilles.settings" . | fromYaml -}}
{{- range index (.root.Files.Get "files/live.yaml" | fromYaml) .service.name -}}
{{- $section := index (splitList "." .) 0 -}}
{{- if hasKey $settings $section -}}
{{- $_ := unset (index $settings $section) (index (splitList "." .) 1) -}}
{{- if not (index $settings $section) -}}
{{- $_ := unset $settings $section -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings | sha256sum -}}
{{- end -}}

{{/*
The load balancer of a cloud that the Ingress is of, as YAML: its name, its example in deploy/examples, the seconds until it
knows that a pod stops, and where its requests come from. {} for none.
*/}}
{{- define "achilles.loadBalancer" -}}
{{- $class := dig "kubernetes.io/ingress.class" "" (.Values.ingress.annotations | default dict) | default .Values.ingress.className -}}
{{- if not .Values.ingress.enabled -}}
{}
{{- else if eq $class "alb" -}}
{name: an Application Load Balancer of AWS, example: aws, seconds: 30, sources: the subnets of the load balancer}
{{- else if hasPrefix "gce" $class -}}
{name: a load balancer of Google Cloud, example: gke, seconds: 60, sources: "35.191.0.0/16 and 130.211.0.0/22, or the proxy-only subnet of an internal one"}
{{- else if hasPrefix "azure" $class -}}
{name: an Application Gateway of Azure, example: azure, seconds: 120, sources: the subnet of the gateway}
{{- else -}}
{}
{{- end -}}
{{- end -}}
