{{/* Seconds from a pod's deletion until it is killed. */}}
{{- define "achilles.windows" -}}
{{- with .Values.rollout -}}
{{- add .preStopSeconds .drainSeconds .shutdownSeconds .marginSeconds -}}
{{- end -}}
{{- end -}}

{{- define "achilles.gracePeriod" -}}
{{- if kindIs "invalid" .Values.rollout.terminationGracePeriodSeconds -}}
{{- include "achilles.windows" . -}}
{{- else -}}
{{- int .Values.rollout.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* The database of a service, as YAML: host, port, name, username, secret, passwordKey, usernameKey, tls. Takes root and component. */}}
{{- define "achilles.database" -}}
{{- $own := (get .root.Values .component).database -}}
{{- $shared := .root.Values.database -}}
{{- $bundled := .root.Values.mariadb.enabled -}}
{{- $fullname := include "achilles.fullname" .root -}}
{{- $database := dict
    "host" ($own.host | default $shared.host)
    "port" ($own.port | default $shared.port | int)
    "name" $own.name
    "username" ($own.username | default $shared.username)
    "secret" ($own.existingSecret | default $shared.existingSecret)
    "passwordKey" ($own.passwordKey | default $shared.passwordKey)
    "usernameKey" ($own.usernameKey | default $shared.usernameKey)
    "tls" ($own.tls | default $shared.tls)
-}}
{{- if $bundled -}}
{{- $database = dict
    "host" (printf "%s-mariadb" $fullname) "port" 3306 "name" $own.name "username" $shared.username
    "secret" (.root.Values.mariadb.existingSecret | default (printf "%s-mariadb" $fullname))
    "passwordKey" "password" "usernameKey" "" "tls" "false"
-}}
{{- end -}}
{{- toYaml $database -}}
{{- end -}}

{{/* The Redis of both services, as YAML: host, port, username, secret, passwordKey, tls; {} for none. */}}
{{- define "achilles.redis" -}}
{{- $fullname := include "achilles.fullname" . -}}
{{- $redis := dict -}}
{{- if .Values.redis.enabled -}}
{{- $redis = dict "host" (printf "%s-redis" $fullname) "port" 6379 "username" "" "tls" false "passwordKey" "password"
    "secret" (.Values.redis.existingSecret | default (printf "%s-redis" $fullname))
-}}
{{- else if .Values.externalRedis.host -}}
{{- with .Values.externalRedis -}}
{{- $redis = dict "host" .host "port" (int .port) "username" .username "tls" .tls "secret" .existingSecret "passwordKey" .passwordKey -}}
{{- end -}}
{{- end -}}
{{- toYaml $redis -}}
{{- end -}}

{{/* The Secret files that a service reads once, as YAML: a list of name (of the file), secret, key. Takes root and component. */}}
{{- define "achilles.secretFiles" -}}
{{- $database := include "achilles.database" . | fromYaml -}}
{{- $files := list
    (dict "name" "database-password" "secret" $database.secret "key" $database.passwordKey)
    (dict "name" "feed-token" "secret" (include "achilles.feedSecret" .root) "key" .root.Values.feed.tokenKey)
-}}
{{- $redis := include "achilles.redis" .root | fromYaml -}}
{{- if $redis.secret -}}
{{- $files = append $files (dict "name" "redis-password" "secret" $redis.secret "key" $redis.passwordKey) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* The key set as a source of a projected volume. The services read it again when it changes, so no checksum has it. */}}
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

{{/* The settings that the chart derives from other values, as YAML. Takes root and component. */}}
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
  # The refusal of a request that took too long can still be sent.
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
  {{- if eq .component "article" }}
  URL: http://{{ include "achilles.fullname" .root }}-tag
  {{- end }}
{{- with include "achilles.redis" .root | fromYaml }}
Redis:
  Host: {{ include "achilles.address" . | quote }}
  {{- with .username }}
  Username: {{ . | quote }}
  {{- end }}
  {{- if .secret }}
  PasswordFile: {{ $secrets }}/redis-password
  {{- end }}
  TLS: {{ .tls }}
{{- end }}
{{- with .root.Values.tracing.endpoint }}
Tracing:
  Endpoint: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* All settings of a service, as YAML: what the chart derives, over it the service's config. Takes root and component. */}}
{{- define "achilles.settings" -}}
{{- $settings := include "achilles.derivedSettings" . | fromYaml -}}
{{- $_ := set $settings "Log" (dict "Level" .root.Values.logLevel) -}}
{{- $header := min 5 (int .root.Values.rollout.requestSeconds) -}}
{{- $_ := set $settings.Server "ReadHeaderTimeout" (printf "%ds" $header) -}}
{{- range $section, $keys := (get .root.Values .component).config -}}
{{- $merged := get $settings $section | default dict -}}
{{- range $key, $value := $keys -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- $_ := set $settings $section $merged -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* Changes with everything that a running pod doesn't take over by itself: all settings but the log level. Takes root and component. */}}
{{- define "achilles.settingsChecksum" -}}
{{- $settings := include "achilles.settings" . | fromYaml -}}
{{- $_ := unset $settings.Log "Level" -}}
{{- toYaml $settings | sha256sum -}}
{{- end -}}
