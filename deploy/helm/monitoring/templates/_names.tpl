{{- define "monitoring.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What never changes over upgrades: selectors and the claims of a StatefulSet cannot. */}}
{{- define "monitoring.selector" -}}
app.kubernetes.io/name: monitoring
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "monitoring.labels" -}}
{{ include "monitoring.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "monitoring.prometheus" -}}
{{- .Values.prometheus.url | default (printf "http://%s-prometheus:9090" (include "monitoring.name" .)) -}}
{{- end -}}

{{/* Contradictions, each with what to change. */}}
{{- define "monitoring.check" -}}
{{- with .Values.grafana -}}
{{- if and .ingress.enabled .anonymous -}}
{{- fail "grafana.ingress.enabled with grafana.anonymous would show everything to everyone: set grafana.anonymous: false" -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.tlsSecret) -}}
{{- fail "grafana.ingress.tlsSecret is empty, so passwords would go unencrypted: set it to a secret of the type kubernetes.io/tls" -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.host) -}}
{{- fail "grafana.ingress.host is empty: set it to the name of Grafana's host" -}}
{{- end -}}
{{- if .oauth.enabled -}}
{{- range $key := list "clientId" "authUrl" "tokenUrl" "apiUrl" -}}
{{- if not (get $.Values.grafana.oauth $key) -}}
{{- fail (printf "grafana.oauth.%s is empty: set it, or set grafana.oauth.enabled: false" $key) -}}
{{- end -}}
{{- end -}}
{{- if not .oauth.clientSecret.existingSecret -}}
{{- fail "grafana.oauth.clientSecret.existingSecret is empty: set it to the secret with the client's secret" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.prometheus.enabled) (not .Values.prometheus.url) -}}
{{- fail "prometheus.enabled is false and prometheus.url is empty: set prometheus.url to the Prometheus that scrapes farspan" -}}
{{- end -}}
{{- if and (ne .Values.tempo.storage.backend "local") (not .Values.tempo.storage.settings) -}}
{{- fail (printf "tempo.storage.settings is empty: set what Tempo's manual has under storage.trace.%s" .Values.tempo.storage.backend) -}}
{{- end -}}
{{- end -}}

{{/* A pod as Kubernetes' profile "restricted" wants it. The argument: the user of the image. */}}
{{- define "monitoring.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "monitoring.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where pods may run, and what pulls their images. */}}
{{- define "monitoring.pod" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* One claim, which stays when the release goes. The argument: the labels of the claim and the persistence. */}}
{{- define "monitoring.claim" -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: Retain
  whenScaled: Retain
volumeClaimTemplates:
  - metadata:
      name: data
      labels:
        {{- .labels | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .persistence.size }}
{{- end -}}
