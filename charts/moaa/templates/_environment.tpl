{{/* One variable of moaa_operator.settings, of a list: name and value. An empty value leaves the operator's default. */}}
{{- define "moaa.variable" -}}
{{- $value := index . 1 }}
{{- if not (kindIs "string" $value) }}{{ $value = toJson $value }}{{ end }}
{{- if ne $value "" }}
- name: MOAA_OPERATOR_{{ index . 0 }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "moaa.environment" -}}
{{- $version := .Chart.AppVersion -}}
- name: MOAA_OPERATOR_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- include "moaa.variable" (list "JOBS_IMAGE" (include "moaa.image" (list .Values.images.jobs $version))) }}
{{- include "moaa.variable" (list "TRAIN_IMAGE" (include "moaa.image" (list .Values.images.train $version))) }}
{{- include "moaa.variable" (list "VLLM_IMAGE" (include "moaa.image" (list .Values.images.vllm $version))) }}
{{- include "moaa.variable" (list "VLLM_CPU_IMAGE" (include "moaa.image" (list .Values.images.vllmCpu $version))) }}
{{- include "moaa.variable" (list "IMAGE_PULL_POLICY" .Values.imagePullPolicy) }}
{{- $secrets := list }}
{{- range .Values.imagePullSecrets }}{{ $secrets = append $secrets .name }}{{ end }}
{{- include "moaa.variable" (list "IMAGE_PULL_SECRETS" (join "," $secrets)) }}
{{- include "moaa.variable" (list "JOB_PRIORITY_CLASS" .Values.priorityClasses.jobs.name) }}
{{- include "moaa.variable" (list "SERVER_PRIORITY_CLASS" .Values.priorityClasses.servers.name) }}
{{- include "moaa.variable" (list "TRAINING_PRIORITY_CLASS" .Values.priorityClasses.training.name) }}
{{- $watched := list }}
{{- if not .Values.clusterWide }}
{{- range .Values.runNamespaces }}{{ $watched = append $watched .name }}{{ end }}
{{- end }}
{{- include "moaa.variable" (list "WATCH_NAMESPACES" (join "," $watched)) }}
{{- include "moaa.variable" (list "LEADER_ELECTION" .Values.operator.leaderElection) }}
{{- include "moaa.variable" (list "LEASE_NAME" (include "moaa.fullname" .)) }}
{{- include "moaa.variable" (list "LOG_LEVEL" .Values.operator.logLevel) }}
{{- include "moaa.variable" (list "LOG_FORMAT" .Values.operator.logFormat) }}
{{- $accounts := dict }}
{{- range .Values.runNamespaces }}
{{- $run := include "moaa.runAccount" . }}
{{- $serving := include "moaa.servingAccount" . }}
{{- if ne $serving $run }}{{ $_ := set $accounts (printf "%s/%s" .name $run) $serving }}{{ end }}
{{- end }}
{{- with $accounts }}{{ include "moaa.variable" (list "SERVER_SERVICE_ACCOUNTS" .) }}{{ end }}
{{- with .Values.scheduling }}{{ include "moaa.variable" (list "SCHEDULING" .) }}{{ end }}
{{- with .Values.dedicated }}{{ include "moaa.variable" (list "DEDICATED" .) }}{{ end }}
{{- with .Values.allowed }}{{ include "moaa.variable" (list "ALLOWED" .) }}{{ end }}
{{- with .Values.networkPolicies }}
{{- if .enabled }}
{{- $self := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" $.Release.Namespace)) "podSelector" (dict "matchLabels" (include "moaa.selectorLabels" $ | fromYaml)) }}
{{- include "moaa.variable" (list "NETWORK_PEERS" (dict "operator" (list $self) "kuberay" .kuberayFrom)) }}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- include "moaa.variable" (list (snakecase $name | upper) $value) }}
{{- end }}
{{- end }}
