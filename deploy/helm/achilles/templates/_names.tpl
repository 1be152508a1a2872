{{/*
The prefix of every object's name: "achilles" for the release of that name. It leaves room for the longest name that
Kubernetes derives, NAME-mariadb-HASH, in a label of 63 characters.
*/}}
{{- define "achilles.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 44 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "achilles.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "achilles.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/*
The services, as a YAML list: each is its entry in files/services.yaml and its values, which are serviceDefaults and
database, overridden by services.NAME. The resources of an entry are what the service stores; those of the values are CPU and memory.
*/}}
{{- define "achilles.services" -}}
{{- $services := list -}}
{{- range $entry := .Files.Get "files/services.yaml" | fromYamlArray -}}
{{- $service := deepCopy $.Values.serviceDefaults -}}
{{- $_ := set $service "database" (deepCopy $.Values.database) -}}
{{- include "achilles.override" (dict "values" $service "by" (get ($.Values.services | default dict) $entry.name | default dict)) -}}
{{- $services = append $services (merge $service (omit $entry "resources")) -}}
{{- end -}}
{{- toYaml $services -}}
{{- end -}}

{{/* Overrides values by others, as Helm does: maps are merged, a null removes, and the rest is replaced. Takes values and by. */}}
{{- define "achilles.override" -}}
{{- range $key, $value := .by -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $.values $key)) -}}
{{- include "achilles.override" (dict "values" (get $.values $key) "by" $value) -}}
{{- else if kindIs "invalid" $value -}}
{{- $_ := unset $.values $key -}}
{{- else -}}
{{- $_ := set $.values $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels that select the pods of a component; they never change. Takes root and component. */}}
{{- define "achilles.selector" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default .root.Chart.Name | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component | quote }}
{{- end -}}

{{/* Labels of an object, or of a pod. Takes root and optionally component and labels; the chart's own can't be replaced. */}}
{{- define "achilles.labels" -}}
{{- $own := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- merge $own (include "achilles.steadyLabels" . | fromYaml) | toYaml -}}
{{- end -}}

{{/* The labels that don't change with the chart's version, which would restart a bundled server. */}}
{{- define "achilles.steadyLabels" -}}
{{- $own := dict
    "app.kubernetes.io/name" (.root.Values.nameOverride | default .root.Chart.Name)
    "app.kubernetes.io/instance" .root.Release.Name
    "app.kubernetes.io/part-of" "achilles"
-}}
{{- with .component -}}
{{- $_ := set $own "app.kubernetes.io/component" . -}}
{{- end -}}
{{- merge $own (.labels | default dict) (.root.Values.commonLabels | default dict) | toYaml -}}
{{- end -}}

{{/* Metadata of an object. Takes root, name, and optionally component, labels and annotations. */}}
{{- define "achilles.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "achilles.labels" . | nindent 2 }}
{{- with merge dict (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The image of a service. Takes root and service. */}}
{{- define "achilles.serviceImage" -}}
{{- $repository := .service.image.repository | default (printf "%s/%s" .service.image.registry .service.name) -}}
{{- include "achilles.image" (dict "root" .root "image" (merge (dict "repository" $repository) .service.image)) -}}
{{- end -}}

{{/* An image by its digest, else by its tag, else by the chart's appVersion. Takes root and image. */}}
{{- define "achilles.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* A host with its port, as an address to connect to. Takes host and port. */}}
{{- define "achilles.address" -}}
{{- printf "%s:%d" (contains ":" .host | ternary (printf "[%s]" .host) .host) (int .port) -}}
{{- end -}}

{{/* What all pods have in common, their security context and their placement. Takes root and values. */}}
{{- define "achilles.podDefaults" -}}
serviceAccountName: {{ include "achilles.serviceAccountName" .root | quote }}
automountServiceAccountToken: false
# The variables of Services would look like settings.
enableServiceLinks: false
{{- $security := .values.podSecurityContext | default dict -}}
{{- if .root.Values.openshift -}}
{{- $security = omit $security "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- $own := pick .values "priorityClassName" "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" -}}
{{- with merge (dict "securityContext" $security "imagePullSecrets" .root.Values.imagePullSecrets) $own | include "achilles.filled" }}
{{ . }}
{{- end }}
{{- end -}}

{{/* The entries of a map that are not empty, as YAML, or nothing. */}}
{{- define "achilles.filled" -}}
{{- $filled := dict -}}
{{- range $key, $value := . -}}
{{- if $value -}}
{{- $_ := set $filled $key $value -}}
{{- end -}}
{{- end -}}
{{- if $filled -}}
{{- toYaml $filled -}}
{{- end -}}
{{- end -}}

{{/* Resources and security context of a container. Takes values. */}}
{{- define "achilles.containerDefaults" -}}
{{- dict "resources" .values.resources "securityContext" .values.containerSecurityContext | include "achilles.filled" -}}
{{- end -}}
