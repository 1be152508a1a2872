{{/* Fails with a sentence for each value that cannot work, all of them at once. */}}
{{- define "achilles.refuse" -}}
{{- $refusals := list -}}
{{- range list "names" "rollout" "images" "databases" "redis" "auth" "routes" "tracing" "replicas" "limits" "settings" "ignored" -}}
{{- $refusals = concat $refusals (include (printf "achilles.refusals.%s" .) $ | fromYamlArray) -}}
{{- end -}}
{{- if $refusals -}}
{{- fail (printf "these values cannot work:\n- %s\n" (uniq $refusals | join "\n- ")) -}}
{{- end -}}
{{- end -}}

{{- define "achilles.refusals.names" -}}
{{- $refusals := list -}}
{{- $fullname := include "achilles.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- $refusals = append $refusals (printf "the names of all objects would begin with %q, but a Service's begins with a letter and has letters, digits and dashes only: set fullnameOverride, such as fullnameOverride=%s" $fullname .Chart.Name) -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{- define "achilles.refusals.rollout" -}}
{{- $refusals := list -}}
{{- $windows := include "achilles.windows" . | int -}}
{{- with .Values.rollout -}}
{{- $grace := .terminationGracePeriodSeconds -}}
{{- if and (not (kindIs "invalid" $grace)) (lt (int $grace) $windows) -}}
{{- $refusals = append $refusals (printf "rollout.terminationGracePeriodSeconds is %d, but a pod may need %d s to stop (preStopSeconds %d + drainSeconds %d + shutdownSeconds %d + marginSeconds %d) and would be killed at work: leave it empty to have it derived, or set it to at least %d" (int $grace) $windows (int .preStopSeconds) (int .drainSeconds) (int .shutdownSeconds) (int .marginSeconds) $windows) -}}
{{- end -}}
{{- if lt (int .preStopSeconds) 1 -}}
{{- $refusals = append $refusals (printf "rollout.preStopSeconds is %d, but without a wait before SIGTERM the proxies still send requests to a pod that is about to leave: set it to at least 1" (int .preStopSeconds)) -}}
{{- end -}}
{{- if lt (int .drainSeconds) (int .propagationSeconds) -}}
{{- $refusals = append $refusals (printf "rollout.drainSeconds is %d, shorter than the %d s (propagationSeconds) that the removal of an endpoint takes to reach every proxy: set it to at least %d" (int .drainSeconds) (int .propagationSeconds) (int .propagationSeconds)) -}}
{{- end -}}
{{- if lt (int .shutdownSeconds) (max 6 (add .requestSeconds 3)) -}}
{{- $refusals = append $refusals (printf "rollout.shutdownSeconds is %d, too short for a request that takes its %d s (requestSeconds) to be answered: set it to at least %d" (int .shutdownSeconds) (int .requestSeconds) (max 6 (add .requestSeconds 3))) -}}
{{- end -}}
{{- if lt (int .marginSeconds) 15 -}}
{{- $refusals = append $refusals (printf "rollout.marginSeconds is %d, but after the last request a service may need 5 s for its workers, 1 s for their last answers and 2 s for each thing it closes: set it to at least 15" (int .marginSeconds)) -}}
{{- end -}}
{{- if not (regexMatch "^([1-9][0-9]*|[1-9][0-9]*%)$" (toString .maxSurge)) -}}
{{- $refusals = append $refusals (printf "rollout.maxSurge is %v, but no pod may go before its successor is there: set it to 1 or more, or to a share such as \"25%%\"" .maxSurge) -}}
{{- end -}}
{{- if le (int .progressDeadlineSeconds) (int .minReadySeconds) -}}
{{- $refusals = append $refusals (printf "rollout.progressDeadlineSeconds is %d, and no new pod can count within it, because that takes minReadySeconds (%d): set it to more than %d" (int .progressDeadlineSeconds) (int .minReadySeconds) (int .minReadySeconds)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{- define "achilles.refusals.images" -}}
{{- $refusals := list -}}
{{- range $name := list "tag" "article" "mariadb" "redis" -}}
{{- $digest := (get $.Values $name).image.digest -}}
{{- if and $digest (not (regexMatch "^sha256:[0-9a-f]{64}$" $digest)) -}}
{{- $refusals = append $refusals (printf "%s.image.digest is %q, which is no digest: write sha256: and 64 hexadecimal digits" $name $digest) -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{- define "achilles.refusals.databases" -}}
{{- $refusals := list -}}
{{- $places := dict "database" .Values.database "tag.database" .Values.tag.database "article.database" .Values.article.database -}}
{{- range $place, $database := $places -}}
{{- if and $.Values.mariadb.enabled $database.host -}}
{{- $refusals = append $refusals (printf "%s.host names a database server of yours, and mariadb.enabled=true asks for the bundled one: set mariadb.enabled=false, or leave %s.host empty" $place $place) -}}
{{- end -}}
{{- if and $.Values.mariadb.enabled $database.existingSecret -}}
{{- $refusals = append $refusals (printf "%s.existingSecret is for a database server of yours, and mariadb.enabled=true asks for the bundled one: set mariadb.enabled=false, or name the Secret in mariadb.existingSecret" $place) -}}
{{- end -}}
{{- if regexMatch "^[^:]*:[^:]*$" $database.host -}}
{{- $refusals = append $refusals (printf "%s.host is %q, with a port: write the port into %s.port" $place $database.host $place) -}}
{{- end -}}
{{- end -}}
{{- if not .Values.mariadb.enabled -}}
{{- range $component := list "tag" "article" -}}
{{- $database := include "achilles.database" (dict "root" $ "component" $component) | fromYaml -}}
{{- if not $database.host -}}
{{- $refusals = append $refusals "mariadb.enabled=false leaves no database: set database.host to the host of your MySQL or MariaDB server (or tag.database.host and article.database.host), or set mariadb.enabled=true" -}}
{{- end -}}
{{- if not $database.secret -}}
{{- $refusals = append $refusals (printf "database.existingSecret is empty: make a Secret with the database account's password under the key %q (kubectl create secret generic NAME --from-literal=%s=…) and set database.existingSecret=NAME" $database.passwordKey $database.passwordKey) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.mariadb.persistence -}}
{{- if and .existingClaim (not .enabled) -}}
{{- $refusals = append $refusals (printf "mariadb.persistence.existingClaim is %q, but persistence is off, and the data would be lost with the pod: set mariadb.persistence.enabled=true" .existingClaim) -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{- define "achilles.refusals.redis" -}}
{{- $refusals := list -}}
{{- $host := .Values.externalRedis.host -}}
{{- if and .Values.redis.enabled $host -}}
{{- $refusals = append $refusals "externalRedis.host names a Redis of yours, and redis.enabled=true asks for the bundled one: set redis.enabled=false, or leave externalRedis.host empty" -}}
{{- end -}}
{{- if regexMatch "^[^:]*:[^:]*$" $host -}}
{{- $refusals = append $refusals (printf "externalRedis.host is %q, with a port: write the port into externalRedis.port" $host) -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{/* A token says whom it is of and for, and each service takes those only that say what its own settings say. */}}
{{- define "achilles.refusals.auth" -}}
{{- $refusals := list -}}
{{- range $key := list "Issuer" "Audience" -}}
{{- $tag := dig "Auth" $key "achilles" ($.Values.tag.config | default dict) -}}
{{- $article := dig "Auth" $key "achilles" ($.Values.article.config | default dict) -}}
{{- if ne $tag $article -}}
{{- $refusals = append $refusals (printf "tag.config.Auth.%s is %q and article.config.Auth.%s is %q, so that the tag service would refuse every token: set both to the same, or leave both out" $key $tag $key $article) -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.auth.existingSecret) (ne .Values.auth.keysKey "keys.yaml") -}}
{{- $refusals = append $refusals (printf "auth.keysKey is %q, but auth.existingSecret is empty: set it to the name of your Secret, or leave auth.keysKey out" .Values.auth.keysKey) -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{- define "achilles.refusals.routes" -}}
{{- $refusals := list -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- $refusals = append $refusals "gateway.enabled=true, but gateway.parentRefs is empty, so that no Gateway would serve the route: name one, such as gateway.parentRefs[0].name=public" -}}
{{- end -}}
{{- $hosts := .Values.ingress.hosts -}}
{{- range $certificate := .Values.ingress.tls -}}
{{- range $host := $certificate.hosts -}}
{{- if and $hosts (not (has $host $hosts)) (not (has (regexReplaceAll "^[^.]+" $host "*") $hosts)) -}}
{{- $refusals = append $refusals (printf "ingress.tls has a certificate for %s, which is none of ingress.hosts (%s): add it there, or take it out here" $host (join ", " $hosts)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{- define "achilles.refusals.tracing" -}}
{{- $refusals := list -}}
{{- with .Values.tracing.endpoint -}}
{{- if not (regexMatch "^https?://([^][/:@?#[:space:]]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/[^?#[:space:]]*)?$" .) -}}
{{- $refusals = append $refusals (printf "tracing.endpoint is %q, which is no base URL of a collector: write it as http://otel-collector.monitoring:4318, without user, query and fragment" (regexReplaceAll "//[^/@]*@" . "//…@")) -}}
{{- else if regexMatch "/v1/traces/?$" . -}}
{{- $refusals = append $refusals (printf "tracing.endpoint is %q, but the services add /v1/traces by themselves: take it out" .) -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{- define "achilles.refusals.replicas" -}}
{{- $refusals := list -}}
{{- range $component := list "tag" "article" -}}
{{- $values := get $.Values $component -}}
{{- with $values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- $refusals = append $refusals (printf "%s.autoscaling.minReplicas (%d) is more than maxReplicas (%d): raise the one or lower the other" $component (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not (dig "requests" "cpu" "" ($values.resources | default dict))) -}}
{{- $refusals = append $refusals (printf "%s.autoscaling.enabled=true, but %s.resources.requests.cpu, of which its target is a percentage, is not set: set it, such as to 100m" $component $component) -}}
{{- end -}}
{{- with $values.podDisruptionBudget -}}
{{- if and .enabled (not (regexMatch "^([1-9][0-9]*|[1-9][0-9]*%)$" (toString .maxUnavailable))) -}}
{{- $refusals = append $refusals (printf "%s.podDisruptionBudget.maxUnavailable is %v, which would block every node drain: set it to 1 or more, or to a share such as \"25%%\"" $component .maxUnavailable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{/* Milliseconds of a duration as the services read it: "1m30s", or a bare number of seconds. */}}
{{- define "achilles.milliseconds" -}}
{{- $units := dict "h" 3600000.0 "m" 60000.0 "s" 1000.0 "ms" 1.0 "us" 0.001 "µs" 0.001 "ns" 0.000001 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-zµ]*" (kindIs "string" . | ternary . (printf "%f" (float64 .))) -1 -}}
{{- $unit := regexFind "[a-zµ]+$" . | default "s" -}}
{{- $sum = addf $sum (mulf (regexFind "^[0-9.]+" .) (get $units $unit)) -}}
{{- end -}}
{{- printf "%f" $sum -}}
{{- end -}}

{{/* What a service would refuse when it starts: settings that don't go together, with each other or with the windows. */}}
{{- define "achilles.refusals.limits" -}}
{{- $refusals := list -}}
{{- range $component := list "tag" "article" -}}
{{- $settings := include "achilles.settings" (dict "root" $ "component" $component) | fromYaml -}}
{{- $config := printf "%s.config" $component -}}
{{- $request := int $.Values.rollout.requestSeconds -}}
{{- $timeout := dig "Database" "Timeout" "1.5s" $settings -}}
{{- if ge (include "achilles.milliseconds" $timeout | float64) (mul $request 1000 | float64) -}}
{{- $refusals = append $refusals (printf "%s.Database.Timeout is %v, but a slow database must be noticed while the request (rollout.requestSeconds %d) can still be answered with 503: set it to less than %ds" $config $timeout $request $request) -}}
{{- end -}}
{{- $header := $settings.Server.ReadHeaderTimeout -}}
{{- if gt (include "achilles.milliseconds" $header | float64) (mul $request 1000 | float64) -}}
{{- $refusals = append $refusals (printf "%s.Server.ReadHeaderTimeout is %v, longer than a whole request may take (rollout.requestSeconds %d): set it to at most %ds" $config $header $request $request) -}}
{{- end -}}
{{- $interval := dig "Health" "CheckInterval" "5s" $settings -}}
{{- $check := dig "Health" "CheckTimeout" "2s" $settings -}}
{{- $stale := dig "Health" "StaleAfter" "30s" $settings -}}
{{- if le (include "achilles.milliseconds" $stale | float64) (addf (include "achilles.milliseconds" $interval) (include "achilles.milliseconds" $check)) -}}
{{- $refusals = append $refusals (printf "%s.Health.StaleAfter is %v, but the next result may be as late as CheckInterval (%v) and CheckTimeout (%v) together: set it to more than that" $config $stale $interval $check) -}}
{{- end -}}
{{- $open := dig "Database" "MaxOpenConns" 30 $settings | int -}}
{{- $idle := dig "Database" "MaxIdleConns" 10 $settings | int -}}
{{- if lt $open 1 -}}
{{- $refusals = append $refusals (printf "%s.Database.MaxOpenConns is %d, and without a connection there is no database: set it to 1 or more" $config $open) -}}
{{- else if gt $idle $open -}}
{{- $refusals = append $refusals (printf "%s.Database.MaxIdleConns is %d, more than MaxOpenConns (%d): set it to at most %d" $config $idle $open $open) -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{/* The settings that config and extraEnv may not contain, as YAML, each with the value to set instead ("" for none). Takes component. */}}
{{- define "achilles.takenSettings" -}}
Server.Host: ""
Server.HttpPort: ""
Server.AdminHost: ""
Server.AdminPort: ""
Server.ReadTimeout: rollout.requestSeconds
Server.RequestTimeout: rollout.requestSeconds
Server.WriteTimeout: rollout.requestSeconds
Server.DrainDelay: rollout.drainSeconds
Server.ShutdownTimeout: rollout.shutdownSeconds
Server.TrustedProxies: trustedProxies
Database.DBType: ""
Database.Host: database.host
Database.Username: database.username
Database.Password: database.existingSecret
Database.PasswordFile: database.existingSecret
Database.DBName: {{ .component }}.database.name
Database.TLS: database.tls
Redis.Host: externalRedis.host
Redis.Username: externalRedis.username
Redis.Password: externalRedis.existingSecret
Redis.PasswordFile: externalRedis.existingSecret
Redis.TLS: externalRedis.tls
Auth.KeysFile: auth.existingSecret
Feed.Token: feed.existingSecret
Feed.TokenFile: feed.existingSecret
# The root file system is read-only, and the log goes to standard output.
Log.LogSavePath: ""
Tracing.Endpoint: tracing.endpoint
{{- if eq .component "article" }}
Feed.URL: ""
{{- end }}
{{- end -}}

{{- define "achilles.refusals.settings" -}}
{{- $refusals := list -}}
{{- range $component := list "tag" "article" -}}
{{- $values := get $.Values $component -}}
{{- $variables := dict "ACHILLES_CONFIG" "leave it out" "GOMEMLIMIT" "set resources.limits.memory instead" -}}
{{- range $key := list "Issuer" "Audience" -}}
{{- $_ := set $variables (printf "ACHILLES_AUTH_%s" (upper $key)) (printf "set %s.config.Auth.%s instead" $component $key) -}}
{{- end -}}
{{- range $key, $instead := include "achilles.takenSettings" (dict "component" $component) | fromYaml -}}
{{- $advice := $instead | empty | ternary "leave it out" (printf "set %s instead" $instead) -}}
{{- $_ := set $variables (printf "ACHILLES_%s" ($key | replace "." "_" | upper)) $advice -}}
{{- $path := splitList "." $key -}}
{{- if hasKey (get ($values.config | default dict) (first $path) | default dict) (last $path) -}}
{{- $refusals = append $refusals (printf "%s.config.%s is the chart's to set, because other things depend on it: %s" $component $key $advice) -}}
{{- end -}}
{{- end -}}
{{- range $values.extraEnv -}}
{{- if hasKey $variables .name -}}
{{- $refusals = append $refusals (printf "%s.extraEnv has %s, which is the chart's to set, because other things depend on it: %s" $component .name (get $variables .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}

{{/* Values for a server of one's own, where there is none: nobody would read them. */}}
{{- define "achilles.refusals.ignored" -}}
{{- $refusals := list -}}
{{- if .Values.mariadb.enabled -}}
{{- $own := dict "port" 0 "username" "" "usernameKey" "" "passwordKey" "" "tls" "" -}}
{{- $shared := dict "port" 3306 "usernameKey" "" "passwordKey" "password" "tls" "false" -}}
{{- range $place, $defaults := dict "database" $shared "tag.database" $own "article.database" $own -}}
{{- $values := hasPrefix "database" $place | ternary $.Values.database (get $.Values (trimSuffix ".database" $place)).database -}}
{{- range $key, $default := $defaults -}}
{{- if ne (get $values $key | toString) (toString $default) -}}
{{- $refusals = append $refusals (printf "%s.%s is for a database server of yours, and mariadb.enabled=true asks for the bundled one: set mariadb.enabled=false, or leave %s.%s out" $place $key $place $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not .Values.externalRedis.host -}}
{{- range $key, $default := dict "port" 6379 "username" "" "tls" false "existingSecret" "" "passwordKey" "password" -}}
{{- if ne (get $.Values.externalRedis $key | toString) (toString $default) -}}
{{- $refusals = append $refusals (printf "externalRedis.%s is set, but externalRedis.host is empty: set it to the host of your Redis (and redis.enabled=false), or leave externalRedis.%s out" $key $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $refusals -}}
{{- end -}}
