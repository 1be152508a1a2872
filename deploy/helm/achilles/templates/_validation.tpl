{{/*
Validation of what neither the schema, nor the services, nor the API server would report before it does harm: values that
contradict each other, that have no effect, or that would lose requests or data. Everything else stays out: the pods of
the previous revision keep serving while a service rejects its settings.
*/}}
{{- define "achilles.validate" -}}
{{- $problems := list -}}
{{- range list "names" "rollout" "secrets" "servers" "services" "files" "gateway" -}}
{{- $problems = include (printf "achilles.validate.%s" .) $ | splitList "\n" | concat $problems -}}
{{- end -}}
{{- with without $problems "" | uniq -}}
{{- fail (printf "invalid values:\n%s\n" (join "\n" .)) -}}
{{- end -}}
{{- end -}}

{{- define "achilles.validate.names" -}}
{{- $fullname := include "achilles.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
- {{ printf "the names of all objects would begin with %q, but the name of a Service must begin with a letter and contain only lower-case letters, digits and dashes: set fullnameOverride, such as fullnameOverride=%s" $fullname .Chart.Name }}
{{- end -}}
{{- end -}}

{{- define "achilles.validate.rollout" -}}
{{- $stop := include "achilles.stopSeconds" . | int -}}
{{- with .Values.rollout -}}
{{- if and (not (kindIs "invalid" .terminationGracePeriodSeconds)) (lt (int .terminationGracePeriodSeconds) $stop) }}
- {{ printf "rollout.terminationGracePeriodSeconds is %v, but the timeouts add up to %d (preStopSeconds %v + drainSeconds %v + shutdownSeconds %v + marginSeconds %v), and a pod would be killed while it serves: leave it empty, or set it to at least %d" .terminationGracePeriodSeconds $stop .preStopSeconds .drainSeconds .shutdownSeconds .marginSeconds $stop }}
{{- end -}}
{{- if lt (int .drainSeconds) (int .propagationSeconds) }}
- {{ printf "rollout.drainSeconds is %v, but proxies may send requests to a stopping pod for %v s (propagationSeconds): set it to at least %v" .drainSeconds .propagationSeconds .propagationSeconds }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Secrets that nobody has. */}}
{{- define "achilles.validate.secrets" -}}
{{- if not .Values.generateSecrets -}}
{{- range $path, $uses := dict "auth" true "feed" true "mariadb" .Values.mariadb.enabled "redis" .Values.redis.enabled -}}
{{- if and $uses (not (get $.Values $path).existingSecret) }}
- {{ printf "generateSecrets=false, but %s.existingSecret is empty: create a Secret and name it there" $path }}{{ if has $path (list "mariadb" "redis") }}{{ printf ", or set %s.enabled=false" $path }}{{ end }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values for a database or Redis that is not used. */}}
{{- define "achilles.validate.servers" -}}
{{- $unset := dict "host" "" "port" 3306 "existingSecret" "" "username" "" "passwordKey" "" "usernameKey" "" "tls" "false" -}}
{{- if .Values.mariadb.enabled -}}
{{- $databases := dict "database" .Values.database -}}
{{- range $name, $service := .Values.services -}}
{{- $_ := set $databases (printf "services.%s.database" $name) (omit ($service.database | default dict) "name") -}}
{{- end -}}
{{- range $path, $database := $databases -}}
{{- range $key, $value := $database -}}
{{- if ne (toString $value) (get $unset $key | toString) }}
- {{ printf "%s.%s is set for your own database server, but mariadb.enabled=true selects the bundled one: set mariadb.enabled=false, or remove %s.%s" $path $key $path $key }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.mariadb.persistence.existingClaim (not .Values.mariadb.persistence.enabled) }}
- mariadb.persistence.existingClaim is set, but mariadb.persistence.enabled is false, and the data would be lost with the pod: set mariadb.persistence.enabled=true
{{- end -}}
{{- $redis := .Values.externalRedis -}}
{{- range $key := list "host" "addresses" -}}
{{- if and $.Values.redis.enabled (get $redis $key) }}
- {{ printf "externalRedis.%s is set for your own Redis, but redis.enabled=true selects the bundled one: set redis.enabled=false, or remove externalRedis.%s" $key $key }}
{{- end -}}
{{- end -}}
{{- if and $redis.host $redis.addresses }}
- externalRedis.host and externalRedis.addresses are both set: remove one of them
{{- end -}}
{{- if not (or $redis.host $redis.addresses) -}}
{{- range $key, $unset := dict "port" 6379 "username" "" "tls" false "existingSecret" "" "passwordKey" "password" "cluster" false "masterName" "" -}}
{{- if ne (get $redis $key | toString) (toString $unset) }}
- {{ printf "externalRedis.%s is set, but externalRedis.host is empty: set externalRedis.host and redis.enabled=false, or remove externalRedis.%s" $key $key }}
{{- end -}}
{{- end -}}
{{- else if and $redis.masterName (not $redis.addresses) }}
- externalRedis.masterName is set, but externalRedis.addresses is empty: list the Sentinels there instead of externalRedis.host
{{- else if and $redis.masterName $redis.cluster }}
- externalRedis.cluster is set, but Sentinels (externalRedis.masterName) watch a server that is no cluster: remove one of them
{{- end -}}
{{- range $key := list "sentinelUsername" "sentinelPasswordKey" -}}
{{- if and (get $redis $key) (not $redis.masterName) }}
- {{ printf "externalRedis.%s is set, but externalRedis.masterName is empty: set it to the name of the server that the Sentinels watch" $key }}
{{- end -}}
{{- end -}}
{{- if and $redis.sentinelPasswordKey (not $redis.existingSecret) }}
- externalRedis.sentinelPasswordKey is set, but externalRedis.existingSecret is empty: name the Secret that has this key
{{- end -}}
{{- end -}}

{{- define "achilles.validate.services" -}}
{{- $services := include "achilles.services" . | fromYamlArray -}}
{{- range $service := $services -}}
{{- $database := include "achilles.database" (dict "root" $ "service" .) | fromYaml -}}
{{- range $key := list "host" "existingSecret" -}}
{{- if not (get $database $key) }}
- {{ printf "mariadb.enabled=false requires database.%s, or services.NAME.database.%s for every service: set it, or set mariadb.enabled=true" $key $key }}
{{- end -}}
{{- end -}}
{{- if and .autoscaling.enabled (not (dig "requests" "cpu" "" (.resources | default dict))) }}
- {{ printf "services.%s.autoscaling.enabled=true, but its target is a percentage of services.%s.resources.requests.cpu, which is not set: set it, such as to 100m" .name .name }}
{{- end -}}
{{- range $section, $settings := include "achilles.derivedSettings" (dict "root" $ "service" .) | fromYaml -}}
{{- range $key := keys $settings | sortAlpha -}}
{{- if hasKey (get ($service.config | default dict) $section | default dict) $key }}
- {{ printf "services.%s.config.%s.%s is derived from other values of the chart: remove it and set those" $service.name $section $key }}
{{- end -}}
{{- range $service.extraEnv -}}
{{- if eq .name (printf "ACHILLES_%s_%s" $section $key | upper) }}
- {{ printf "services.%s.extraEnv: %s is derived from other values of the chart: remove it and set those" $service.name .name }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key := list "Issuer" "Audience" -}}
{{- $first := dig "Auth" $key "achilles" ((first $services).config | default dict) -}}
{{- $own := dig "Auth" $key "achilles" ($service.config | default dict) -}}
{{- if ne $first $own }}
- {{ printf "services.%s.config.Auth.%s is %q, but services.%s.config.Auth.%s is %q, so that one service would reject the tokens of the other: set serviceDefaults.config.Auth.%s instead" (first $services).name $key $first $service.name $key $own $key }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "achilles.validate.files" -}}
{{- $files := .Values.files -}}
{{- $need := add $files.transferSeconds 3 -}}
{{- if and (ne $files.storage "none") (lt (int .Values.rollout.shutdownSeconds) (int $need)) }}
- {{ printf "files.transferSeconds is %v, but running requests get only %v s to finish (rollout.shutdownSeconds), and a rollout would cut off uploads and downloads: set rollout.shutdownSeconds=%v" $files.transferSeconds .Values.rollout.shutdownSeconds $need }}
{{- end -}}
{{- range $service := include "achilles.services" . | fromYamlArray -}}
{{- if and (eq .name "article") (eq $files.storage "claim") (not (has "ReadWriteMany" $files.claim.accessModes)) (or .autoscaling.enabled (kindIs "invalid" .replicas) (gt (int .replicas) 1)) }}
- files.storage=claim, but several pods of the article service would each see their own files with files.claim.accessModes={{ $files.claim.accessModes | join "," }}: use a claim that pods can share and set files.claim.accessModes={ReadWriteMany}, or files.storage=s3, or services.article.replicas=1 without autoscaling
{{- end -}}
{{- end -}}
{{- if and (eq $files.storage "s3") (not $files.s3.url) }}
- files.storage=s3 requires files.s3.url, such as s3://blog-files?region=eu-central-1
{{- end -}}
{{- if and (ne $files.storage "s3") (or $files.s3.url $files.s3.existingSecret) }}
- {{ printf "files.s3 is set, but files.storage is %s: set files.storage=s3, or remove files.s3" $files.storage }}
{{- end -}}
{{- if and (ne $files.storage "claim") $files.claim.existingClaim }}
- {{ printf "files.claim.existingClaim is set, but files.storage is %s: set files.storage=claim, or remove it" $files.storage }}
{{- end -}}
{{- end -}}

{{- define "achilles.validate.gateway" -}}
{{- $files := .Values.files -}}
{{- with .Values.gateway -}}
{{- if and .enabled (not .parentRefs) }}
- gateway.enabled=true, but gateway.parentRefs is empty, and no Gateway would serve the route: name one, such as gateway.parentRefs[0].name=public
{{- end -}}
{{- $need := add 3 (ne $files.storage "none" | ternary (max $files.transferSeconds $.Values.rollout.requestSeconds) $.Values.rollout.requestSeconds) | int -}}
{{- if and .enabled (int .timeoutSeconds) (lt (int .timeoutSeconds) $need) }}
- {{ printf "gateway.timeoutSeconds is %v, but the services answer some requests after up to %d s (rollout.requestSeconds, files.transferSeconds), which the gateway would cut off: set it to at least %d, or to 0 for none" .timeoutSeconds $need $need }}
{{- end -}}
{{- end -}}
{{- range $service := include "achilles.services" . | fromYamlArray -}}
{{- with .canary -}}
{{- if and .weight (not .service) }}
- {{ printf "services.%s.canary.weight is %v, but services.%s.canary.service is empty: name the Service that gets this share" $service.name .weight $service.name }}
{{- else if and .service (not $.Values.gateway.enabled) }}
- {{ printf "services.%s.canary.service is set, but only an HTTPRoute has weights: set gateway.enabled=true, or remove services.%s.canary" $service.name $service.name }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
