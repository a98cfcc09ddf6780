variable "name" {
  type = string
}

variable "partition" {
  type    = string
  default = "aws"
}

variable "account_id" {
  type = string
}

variable "kubernetes_version" {
  description = "Minor version of EKS."
  type        = string
  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 31, false)
    error_message = "kubernetes_version: ${var.kubernetes_version} must be 1.31 or later, such as 1.35; the CRD's rules and job policies need it."
  }
}

variable "support" {
  description = "Standard: AWS upgrades the control plane when standard support of its version ends. Extended: it stays, at six times the price, for a year."
  type        = string
  default     = "Standard"
  validation {
    condition     = contains(["Standard", "Extended"], var.support)
    error_message = "support: ${var.support} must be Standard or Extended."
  }
}

variable "ebs" {
  description = "Install the EBS CSI driver, for claims of node disks (a node's cache of weights); nothing of ours needs it."
  type        = bool
  default     = false
}

variable "subnet_ids" {
  description = "Private subnets of at least two zones."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids: ${length(var.subnet_ids)} given; EKS needs subnets in two zones."
  }
}

variable "service_cidr" {
  description = "Addresses of Services; outside the VPC."
  type        = string
  validation {
    condition     = can(cidrnetmask(var.service_cidr)) && try(tonumber(split("/", var.service_cidr)[1]) >= 12 && tonumber(split("/", var.service_cidr)[1]) <= 24, false)
    error_message = "service_cidr: ${var.service_cidr} must be an IPv4 network of /12 to /24."
  }
  # Two networks overlap iff they are equal when both are cut to the shorter length.
  validation {
    condition = try(
      cidrsubnet("${split("/", var.service_cidr)[0]}/${min(split("/", var.service_cidr)[1], split("/", var.vpc_cidr)[1])}", 0, 0) !=
    cidrsubnet("${split("/", var.vpc_cidr)[0]}/${min(split("/", var.service_cidr)[1], split("/", var.vpc_cidr)[1])}", 0, 0), false)
    error_message = "service_cidr: ${var.service_cidr} overlaps vpc_cidr ${var.vpc_cidr}; Services would shadow nodes."
  }
}

variable "vpc_cidr" {
  type = string
}

variable "public_endpoint_cidrs" {
  description = "Networks that may reach the API server from outside; empty: private endpoint only."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for cidr in var.public_endpoint_cidrs : can(cidrnetmask(cidr)) && try(tonumber(split("/", cidr)[1]) >= 8, false)])
    error_message = "public_endpoint_cidrs: each must be an IPv4 network of /8 or smaller; the API server is never open to the whole internet."
  }
}

variable "admin_principal_arns" {
  description = "IAM roles or users that administer the cluster. Nobody else can, the creator included."
  type        = list(string)
  validation {
    condition     = length(var.admin_principal_arns) > 0
    error_message = "admin_principal_arns: name at least one role; a cluster without administrator cannot be repaired."
  }
  validation {
    condition     = alltrue([for arn in var.admin_principal_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*]+$", arn))])
    error_message = "admin_principal_arns: each must be the ARN of one IAM role or user; root and * are refused."
  }
}

variable "secrets_key_arn" {
  description = "KMS key that encrypts Kubernetes Secrets."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.secrets_key_arn))
    error_message = "secrets_key_arn: ${var.secrets_key_arn} must be the ARN of a KMS key; Secrets are never stored without one."
  }
}

variable "log_group" {
  description = "/aws/eks/<name>/cluster; EKS decides the name."
  type        = string
}

variable "log_key_arn" {
  type = string
}

variable "log_retention_days" {
  type    = number
  default = 90
  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days: ${var.log_retention_days} must be a value CloudWatch knows, 30 or more, such as 30, 90, 365."
  }
}

variable "tags" {
  type    = map(string)
  default = {}
}
