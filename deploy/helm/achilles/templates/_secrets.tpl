{{/*
The data of a Secret that the chart makes, as YAML: what the cluster has is kept, and what is missing is generated,
once in a render, whichever template asks first. Takes root, name and keys.
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
{{- include "achilles.keptSecret" (dict "root" . "name" (printf "%s-mariadb" (include "achilles.fullname" .)) "keys" (list "password" "root-password")) -}}
{{- end -}}

{{- define "achilles.redisSecret" -}}
{{- include "achilles.keptSecret" (dict "root" . "name" (printf "%s-redis" (include "achilles.fullname" .)) "keys" (list "password")) -}}
{{- end -}}

{{- define "achilles.feedSecretData" -}}
{{- include "achilles.keptSecret" (dict "root" . "name" (include "achilles.feedSecret" .) "keys" (list .Values.feed.tokenKey)) -}}
{{- end -}}

{{/* A key set with one key, as article key new prints it. */}}
{{- define "achilles.newKeySet" -}}
# Keep it secret. Every key verifies tokens; of those whose time has come the youngest signs.
keys:
  - id: first
    secret: {{ randBytes 32 | quote }}
    signs_from: 2020-01-01T00:00:00Z
{{ end -}}

{{/*
Changes with the secrets that a service reads once: those that the chart makes, and those of others as far as the cluster can be
asked. The latter are salted with what only a reader of the Secret knows. Takes root and component.
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
