{{- define "residency.name" -}}
{{- printf "%s-%s" .Release.Name "residency" | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- define "residency.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: residency
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
topology.kubernetes.io/region: {{ .Values.region }}
{{- end -}}

{{/* Selectors never change: not the chart's version, nothing of the values. */}}
{{- define "residency.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "residency.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "residency.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "residency.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "residency.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "residency.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "residency.affinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - key: {{ .root.Values.affinity.regionLabel }}
            operator: In
            values: [{{ .root.Values.affinity.regionValue | default .root.Values.region | quote }}]
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "residency.selector" (dict "root" .root "component" .component) | nindent 12 }}
{{- end -}}

{{/* Credentials as files, and the variables that name them. */}}
{{- define "residency.credentialEnv" -}}
{{- range .entries }}
- name: {{ . }}_FILE
  value: /var/run/residency/credentials/{{ . }}
{{- end }}
{{- end -}}

{{- define "residency.egress" -}}
- to:
    {{- range .cidrs }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    {{- range .ports }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
{{- end -}}

{{- define "residency.check" -}}
{{- if not .Values.region }}{{ fail "region: name the region of this release" }}{{ end -}}
{{- if .Values.worker.enabled -}}
{{- if not (regexMatch (printf "(?m)^region *= *\"%s\" *$" .Values.region) .Values.worker.config) }}
{{- fail (printf "worker.config: region must be %q, as the release's" .Values.region) }}{{ end -}}
{{- if and .Values.worker.autoscaling.hpa.enabled .Values.worker.autoscaling.keda.enabled }}
{{- fail "worker.autoscaling: hpa and keda are both enabled; keep one" }}{{ end -}}
{{- if not (or .Values.worker.credentials.existingSecret .Values.worker.credentials.csi.enabled) }}
{{- fail "worker.credentials: name an existingSecret, or enable the CSI driver" }}{{ end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.egress.kafka.cidrs) }}
{{- fail "networkPolicy.egress.kafka.cidrs: name the addresses of this region's brokers, or disable networkPolicy" }}{{ end -}}
{{- end -}}
{{- if .Values.authority.enabled -}}
{{- range $name := list "publicUrl" "tlsSecret" "rootKeySecret" }}
{{- if not (get $.Values.authority $name) }}{{ fail (printf "authority.%s is needed" $name) }}{{ end }}
{{- end -}}
{{- range $place := .Values.networkPolicy.authorityEgress }}
{{- if not (get (get $.Values.networkPolicy.egress $place | default dict) "cidrs") }}
{{- fail (printf "networkPolicy.authorityEgress: networkPolicy.egress.%s.cidrs is empty" $place) }}{{ end }}
{{- end -}}
{{- end -}}
{{- end -}}
