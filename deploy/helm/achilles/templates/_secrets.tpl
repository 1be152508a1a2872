{{/*
The data of a generated Secret, as YAML: keys that the cluster has are kept, missing ones are generated, once for all
templates. Takes root, name and keys.
*/}}
{{- define "achilles.keptSecret" -}}
{{- if not (hasKey .root.Values "_kept") -}}
{{- $_ := set .root.Values "_kept" dict -}}
{{- end -}}
{{- $kept := get .root.Values "_kept" -}}
{{- if not (hasKey $kept .name) -}}
{{- $found := (lookup "v1" "Secret" .root.Release.Namespace .name).data | default dict -}}
{{- $data := dict -}}
{{- range $key := .keys -}}
{{- $_ := set $data $key (get $found $key | default (randAlphaNum 32 | b64enc)) -}}
{{- end -}}
{{- $_ := set $kept .name $data -}}
{{- end -}}
{{- get $kept .name | toYaml -}}
{{- end -}}

{{- define "achilles.mariadbSecret" -}}
{{- $keys := list "root-password" -}}
{{- range include "achilles.services" . | fromYamlArray -}}
{{- $keys = append $keys (include "achilles.database" (dict "root" $ "service" .) | fromYaml).passwordKey -}}
{{- end -}}
{{- include "achilles.keptSecret" (dict "root" . "name" (printf "%s-mariadb" (include "achilles.fullname" .)) "keys" $keys) -}}
{{- end -}}

{{- define "achilles.redisSecret" -}}
{{- include "achilles.keptSecret" (dict "root" . "name" (printf "%s-redis" (include "achilles.fullname" .)) "keys" (list "password")) -}}
{{- end -}}

{{- define "achilles.feedSecretData" -}}
{{- include "achilles.keptSecret" (dict "root" . "name" (include "achilles.feedSecret" .) "keys" (list .Values.feed.tokenKey)) -}}
{{- end -}}

{{/* A key set with one key, as "article key new" prints it. */}}
{{- define "achilles.newKeySet" -}}
# Keep it secret. Every key verifies tokens; the newest active key signs them.
keys:
  - id: first
    secret: {{ randBytes 32 | quote }}
    signs_from: 2020-01-01T00:00:00Z
{{ end -}}

{{/*
The checksum of the secrets that a service reads only when it starts: generated ones, and existing ones if Helm can read them
in the cluster. The latter are salted with the Secret's uid, because everyone who can read pods sees the checksum. Takes root
and service.
*/}}
{{- define "achilles.secretsChecksum" -}}
{{- $root := .root -}}
{{- $made := dict -}}
{{- if and $root.Values.mariadb.enabled (not $root.Values.mariadb.existingSecret) -}}
{{- $_ := set $made (printf "%s-mariadb" (include "achilles.fullname" $root)) (include "achilles.mariadbSecret" $root) -}}
{{- end -}}
{{- if and $root.Values.redis.enabled (not $root.Values.redis.existingSecret) -}}
{{- $_ := set $made (printf "%s-redis" (include "achilles.fullname" $root)) (include "achilles.redisSecret" $root) -}}
{{- end -}}
{{- if not $root.Values.feed.existingSecret -}}
{{- $_ := set $made (include "achilles.feedSecret" $root) (include "achilles.feedSecretData" $root) -}}
{{- end -}}
{{- $all := list -}}
{{- range include "achilles.secretFiles" . | fromYamlArray -}}
{{- if hasKey $made .secret -}}
{{- $all = append $all (get (get $made .secret | fromYaml) .key) -}}
{{- else -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace .secret | default dict -}}
{{- $all = append $all (printf "%s %s" (dig "metadata" "uid" "" $found) (dig "data" .key "" $found)) -}}
{{- end -}}
{{- end -}}
{{- join "\n" $all | sha256sum -}}
{{- end -}}
