{{/* Pieces of CEL for admissionpolicy.yaml. A problem is a text, and no problem the empty one: CEL cannot make one list
of several lists. Arguments are CEL, unless something else is said. */}}

{{/* Joins a list of problems. */}}
{{- define "moaa.cel.told" -}}
.filter(told, told != '').join('; ')
{{- end }}

{{/* The problem of a name that a list does not hold: the list's key in `allowed`, the path, the name. */}}
{{- define "moaa.cel.unlisted" -}}
{{- $list := index . 0 }}{{ $path := index . 1 }}{{ $name := index . 2 -}}
({{ $name }}.matches(variables.{{ $list }}) ? '' : {{ $path }} + ': ' + {{ $name }} + variables.{{ $list }}Remedy)
{{- end }}

{{/* The problem of a reference to a Secret: its path, itself. */}}
{{- define "moaa.cel.secret" -}}
{{- $name := printf "(request.namespace + '/' + string(%s[key]))" (index . 1) -}}
['name', 'secretName'].filter(key, key in {{ index . 1 }}).map(key, {{ include "moaa.cel.unlisted" (list "secrets" (index . 0) $name) }}){{ include "moaa.cel.told" . }}
{{- end }}

{{/* The problem of an address: its path, itself. */}}
{{- define "moaa.cel.host" -}}
{{- $host := printf "%s.split('://')[1].split('/')[0].split('?')[0].split('#')[0].lowerAscii()" (index . 1) -}}
{{ include "moaa.cel.unlisted" (list "endpointHosts" (index . 0) $host) }}
{{- end }}

{{/* The path of an entry: that of its list, the list, the entry. */}}
{{- define "moaa.cel.at" -}}
{{ index . 0 }} + '[' + string({{ index . 1 }}.indexOf({{ index . 2 }})) + ']'
{{- end }}

{{/* Whether an argument of vLLM, `said` with `-` for every `_` and the option `name` in it, means the option `known`:
written out, shortened, in JSON, or hidden there by escapes. */}}
{{- define "moaa.cel.means" -}}
(said.contains(known.substring(2)) || said.contains('\\u') || name == known || (name.size() > 2 && known.startsWith(name) && name != '--reasoning-parser'))
{{- end }}
