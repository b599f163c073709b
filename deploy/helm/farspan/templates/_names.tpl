{{/* The release's name where it says farspan, else with farspan behind it. The longest name made of it is under 63. */}}
{{- define "farspan.name" -}}
{{- if contains "farspan" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-farspan" (.Release.Name | trunc 32 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* What never changes over upgrades: selectors and the claims of a StatefulSet cannot. */}}
{{- define "farspan.selector" -}}
app.kubernetes.io/name: farspan
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "farspan.labels" -}}
{{ include "farspan.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "farspan.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "farspan.api" -}}
{{- if .Values.api.baseUrl -}}
{{ .Values.api.baseUrl }}
{{- else if .Values.demo.enabled -}}
http://{{ include "farspan.name" . }}-demo-api:8080
{{- end -}}
{{- end -}}

{{- define "farspan.redis" -}}
{{- if .Values.redis.url -}}
{{ .Values.redis.url }}
{{- else if and .Values.demo.enabled (not .Values.redis.existingSecret) -}}
redis://{{ include "farspan.name" . }}-demo-redis:6379
{{- end -}}
{{- end -}}

{{/* Contradictions, each with what to change. */}}
{{- define "farspan.check" -}}
{{- if not (or (include "farspan.api" .) .Values.configuration.monitors) -}}
{{- fail "api.baseUrl is empty: set it to the URL of the status API, or set configuration.monitors or demo.enabled" -}}
{{- end -}}
{{- if and .Values.redis.url .Values.redis.existingSecret -}}
{{- fail "redis.url and redis.existingSecret are both set: remove one of them" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (ne .Values.state "redis") -}}
{{- fail (printf "replicas is %d with state: %s, so each pod would watch the same workflows: set state: redis, or replicas: 1" (int .Values.replicas) .Values.state) -}}
{{- end -}}
{{- if and (eq .Values.state "redis") (not (or (include "farspan.redis" .) .Values.redis.existingSecret)) -}}
{{- fail "state is redis and there is no Redis: set redis.url or redis.existingSecret" -}}
{{- end -}}
{{- end -}}

{{/* What a pod that runs as no one with nothing may do: Kubernetes' profile "restricted". */}}
{{- define "farspan.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "farspan.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
