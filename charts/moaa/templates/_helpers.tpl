{{- define "moaa.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "moaa.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "moaa.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "moaa.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "moaa.selectorLabels" -}}
app.kubernetes.io/name: {{ include "moaa.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "moaa.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "moaa.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: moaa
{{- end }}

{{- define "moaa.serviceAccountName" -}}
{{- default (include "moaa.fullname" .) .Values.operator.serviceAccount.name }}
{{- end }}

{{/* The account of a run's pods, of an entry of runNamespaces. */}}
{{- define "moaa.runAccount" -}}
{{- default "moaa-run" .serviceAccountName }}
{{- end }}

{{/* The account of its model servers: that of the run where nobody says that there is another. */}}
{{- define "moaa.servingAccount" -}}
{{- if .servingServiceAccountName }}{{ .servingServiceAccountName }}
{{- else if dig "createServiceAccounts" true . }}moaa-serve
{{- else }}{{ include "moaa.runAccount" . }}
{{- end }}
{{- end }}

{{/* An image, of a list: the values' entry and the chart's version. */}}
{{- define "moaa.image" -}}
{{- $image := index . 0 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{/* Everything the operator may do where MoAAs run. Apply is PATCH, and POST for what is not there yet. */}}
{{- define "moaa.rules" -}}
- apiGroups: [moaa.dev]
  resources: [moaas]
  verbs: [get, list, watch]
- apiGroups: [moaa.dev]
  resources: [moaas/status]
  verbs: [update]
# Owner references that block the owner's deletion need it where admission checks them.
- apiGroups: [moaa.dev]
  resources: [moaas/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [leaderworkerset.x-k8s.io]
  resources: [leaderworkersets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [get, list, watch, create, delete]
# Why a queue (Kueue) holds back what the operator made.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [get, list]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- if .Values.networkPolicies.enabled }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, patch]
{{- end }}
{{- end }}

{{/* What the objects of a view are called, of a list: the chart's root and an entry of views. */}}
{{- define "moaa.viewName" -}}
{{- $full := include "moaa.fullname" (index . 0) | trunc 40 | trimSuffix "-" }}
{{- with (index . 1).name }}{{ printf "%s-view-%s" $full . }}{{ else }}{{ printf "%s-view" $full }}{{ end }}
{{- end }}
