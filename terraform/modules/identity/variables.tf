variable "name" {
  type = string
  validation {
    condition     = length(var.name) <= 24
    error_message = "name: ${var.name} is longer than 24 characters; role names derive from it."
  }
}

variable "cluster_name" {
  type = string
}

variable "region" {
  type = string
}

variable "partition" {
  type    = string
  default = "aws"
}

variable "account_id" {
  type = string
}

variable "bucket_name" {
  type = string
}

variable "key_arn" {
  description = "KMS key of the bucket."
  type        = string
}

variable "autoscaler_service_account" {
  description = "Service account of the cluster autoscaler in kube-system."
  type        = string
  default     = "cluster-autoscaler"
}

variable "weights_prefix" {
  description = "Where models lie that runs take from `s3://<bucket>/<weights_prefix>/…`; read-only for all."
  type        = string
  default     = "weights"
  validation {
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9._-]*(/[a-zA-Z0-9][a-zA-Z0-9._-]*)*$", var.weights_prefix))
    error_message = "weights_prefix: ${var.weights_prefix} must be folder names joined by /, without wildcards or a / at either end."
  }
}

variable "shared_read_prefixes" {
  description = "What jobs of every namespace may read: weights and data sources."
  type        = list(string)
  default     = ["weights", "data"]
  validation {
    condition     = alltrue([for p in var.shared_read_prefixes : can(regex("^[a-zA-Z0-9][a-zA-Z0-9._-]*(/[a-zA-Z0-9][a-zA-Z0-9._-]*)*$", p))])
    error_message = "shared_read_prefixes: each must be folder names joined by /, without wildcards or a / at either end."
  }
}

variable "namespaces" {
  description = <<-EOT
    Namespaces in which MoAAs run, by name.
    - prefix: spec.storage.uri is s3://<bucket>/<prefix>; each namespace has its own.
    - service_account: of jobs and Ray workers, spec.serviceAccountName.
    - serving_service_account: of model servers.
  EOT
  type = map(object({
    prefix                  = string
    service_account         = optional(string, "moaa-run")
    serving_service_account = optional(string, "moaa-serve")
  }))

  validation {
    condition     = length(var.namespaces) > 0
    error_message = "namespaces: name at least one; without it no pod may touch the store."
  }
  validation {
    condition     = alltrue([for ns, _ in var.namespaces : can(regex("^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$", ns))])
    error_message = "namespaces: names must be DNS labels of at most 30 characters (role names derive from them): ${join(", ", keys(var.namespaces))}."
  }
  validation {
    condition     = alltrue([for ns, _ in var.namespaces : !startswith(ns, "kube-") && ns != "default"])
    error_message = "namespaces: default and kube-* are refused; what runs there would get the rights of runs."
  }
  # A "*", "?" or "$" in a prefix would be a wildcard or a variable in the policy, and reach into other prefixes.
  validation {
    condition     = alltrue([for n in var.namespaces : can(regex("^[a-zA-Z0-9][a-zA-Z0-9._-]*(/[a-zA-Z0-9][a-zA-Z0-9._-]*)*$", n.prefix))])
    error_message = "namespaces: prefix must be folder names joined by /, without wildcards or a / at either end."
  }
  validation {
    condition = alltrue(flatten([for a, one in var.namespaces : [
      for b, other in var.namespaces : a == b || !startswith("${one.prefix}/", "${other.prefix}/")
    ]]))
    error_message = "namespaces: no prefix may equal or contain another; each namespace writes to its own only."
  }
  validation {
    condition = alltrue(flatten([for n in var.namespaces : [
      for p in concat(var.shared_read_prefixes, [var.weights_prefix]) : !startswith("${n.prefix}/", "${p}/") && !startswith("${p}/", "${n.prefix}/")
    ]]))
    error_message = "namespaces: no prefix may overlap weights_prefix or shared_read_prefixes; those are read by all."
  }
  validation {
    condition     = alltrue([for n in var.namespaces : n.service_account != n.serving_service_account])
    error_message = "namespaces: service_account and serving_service_account must differ; an account has one role, and servers must not write."
  }
  validation {
    condition     = alltrue(flatten([for n in var.namespaces : [for sa in [n.service_account, n.serving_service_account] : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", sa)) && sa != "default"]]))
    error_message = "namespaces: service accounts must be DNS labels and not default, which every pod without one gets."
  }
}

variable "tags" {
  type    = map(string)
  default = {}
}
