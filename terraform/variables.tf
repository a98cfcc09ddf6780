# What an installation is made of. Where a description ends with a folder, rules and details are there.

variable "name" {
  description = "Name of the installation: cluster, roles and log groups carry it."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "name: ${var.name} must be 3 to 24 lower-case letters, digits or hyphens, starting with a letter."
  }
}

variable "region" {
  description = "Region of the provider, such as eu-west-1."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: ${var.region} is not a region such as eu-west-1."
  }
}

variable "partition" {
  description = "First part of every ARN."
  type        = string
  default     = "aws"
  validation {
    condition     = contains(["aws", "aws-us-gov", "aws-cn"], var.partition)
    error_message = "partition: ${var.partition} must be aws, aws-us-gov or aws-cn."
  }
}

variable "tags" {
  description = "Further tags for everything. moaa:* is ours: costs are split by it."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for key, _ in var.tags : !startswith(lower(key), "moaa:") && !startswith(lower(key), "aws:")])
    error_message = "tags: keys that start with moaa: or aws: are reserved: ${join(", ", keys(var.tags))}."
  }
}

# Network (modules/network)
variable "vpc_cidr" {
  description = "Addresses of the VPC, /16 to /18."
  type        = string
  default     = "10.0.0.0/16"
}

variable "zones" {
  description = "Two to six availability zones."
  type        = list(string)
}

variable "private_cidrs" {
  description = "One network for each zone's nodes and pods; null: cut from vpc_cidr."
  type        = list(string)
  default     = null
}

variable "public_cidrs" {
  description = "One network for each zone's NAT gateway; null: cut from vpc_cidr."
  type        = list(string)
  default     = null
}

variable "nat" {
  description = "PerZone or Single NAT gateway."
  type        = string
  default     = "PerZone"
}

variable "interface_endpoints" {
  description = "Services to reach without the NAT gateway, such as ecr.api and ecr.dkr (modules/network)."
  type        = list(string)
  default     = []
}

# Cluster (modules/cluster)
variable "kubernetes_version" {
  description = "Minor version of EKS; nodes follow. Standard support of 1.35 ends on 27 March 2027."
  type        = string
  default     = "1.35"
}

variable "support" {
  description = "Standard or Extended: what happens when standard support of the version ends (modules/cluster)."
  type        = string
  default     = "Standard"
}

variable "ebs" {
  description = "Install the EBS CSI driver."
  type        = bool
  default     = false
}

variable "service_cidr" {
  description = "Addresses of Services; outside the VPC."
  type        = string
  default     = "172.20.0.0/16"
}

variable "public_endpoint_cidrs" {
  description = "Networks that may reach the API server from outside; empty: from within the VPC only."
  type        = list(string)
  default     = []
}

variable "admin_principal_arns" {
  description = "IAM roles or users that administer the cluster; nobody else can."
  type        = list(string)
}

variable "log_retention_days" {
  description = "Days for which logs of control plane and network are kept."
  type        = number
  default     = 90
}

# One definition of a group's fields, in modules/node-groups/variables.tf. `any` here, because a second copy of the type
# would silently drop every field it lacks.
variable "node_groups" {
  description = "Node groups by name (modules/node-groups)."
  type        = any
}

# Store (modules/storage)
variable "bucket_name" {
  description = "Globally unique name of the store's bucket."
  type        = string
}

variable "abort_upload_days" {
  description = "Days until an unfinished upload is given up."
  type        = number
  default     = 7
}

variable "noncurrent_days" {
  description = "Days for which a replaced or deleted object can be brought back."
  type        = number
  default     = 30
}

variable "tagged_days" {
  description = "Days after its creation when an object tagged as no longer needed is removed."
  type        = number
  default     = 7
}

# Identity (modules/identity)
variable "run_namespaces" {
  description = "Namespaces in which MoAAs run: prefix of the store and service accounts, by name (modules/identity). create: the chart makes the namespace; false where somebody else does."
  type = map(object({
    prefix                  = string
    create                  = optional(bool, true)
    service_account         = optional(string, "moaa-run")
    serving_service_account = optional(string, "moaa-serve")
  }))
}

variable "weights_prefix" {
  description = "Prefix of models in the bucket, read by all namespaces."
  type        = string
  default     = "weights"
}

variable "data_prefixes" {
  description = "Prefixes of data sources in the bucket, read by the jobs of all namespaces."
  type        = list(string)
  default     = ["data"]
}

# Images (modules/registry)
variable "images" {
  description = "Repositories to make; operator, jobs and train at least."
  type        = list(string)
  default     = ["operator", "jobs", "train"]
}

variable "docker_hub_secret_arn" {
  description = "Have ECR fetch Docker Hub's images once, with the account of this secret (modules/registry)."
  type        = string
  default     = null
}

variable "vllm_image" {
  description = "Repository of the model server's image: the upstream one as it is, or your mirror."
  type        = string
  default     = "vllm/vllm-openai"
  validation {
    condition     = can(regex("^[a-z0-9.:/_-]+$", var.vllm_image)) && !can(regex(":[^/]*$", var.vllm_image))
    error_message = "vllm_image: ${var.vllm_image} must be a repository without a tag; the chart adds the version."
  }
}

# Budget (modules/budget)
variable "monthly_usd" {
  description = "Expected cost of a month in US dollars; mail at 80 % spent and at 100 % forecast."
  type        = number
}

variable "monthly_usd_by_moaa" {
  description = "The same by <namespace>/<name> of a MoAA that has node groups of its own."
  type        = map(number)
  default     = {}
}

variable "budget_emails" {
  description = "Who gets the mail."
  type        = list(string)
}

variable "activate_cost_tags" {
  description = "Activate moaa:* for cost allocation; only in the account that pays, from the second day on."
  type        = bool
  default     = false
}
