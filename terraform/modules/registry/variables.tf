variable "name" {
  type = string
}

variable "images" {
  description = "Names of the images."
  type        = list(string)
  default     = ["operator", "jobs", "train"]
  validation {
    condition     = alltrue([for image in var.images : can(regex("^[a-z0-9]+([._-][a-z0-9]+)*$", image))]) && length(distinct(var.images)) == length(var.images)
    error_message = "images: each must be a distinct lower-case name such as jobs: ${join(", ", var.images)}."
  }
  validation {
    condition     = alltrue([for image in ["operator", "jobs", "train"] : contains(var.images, image)])
    error_message = "images: operator, jobs and train are needed by the chart; add others beside them."
  }
}

variable "docker_hub_secret_arn" {
  description = "Secrets Manager secret with username and accessToken of a Docker Hub account; its name begins with ecr-pullthroughcache/. ECR then fetches Docker Hub's images once and keeps them; null: nodes pull from there."
  type        = string
  default     = null
  validation {
    condition     = var.docker_hub_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:ecr-pullthroughcache/[^*]+$", var.docker_hub_secret_arn))
    error_message = "docker_hub_secret_arn: ${coalesce(var.docker_hub_secret_arn, "null")} must be the ARN of a secret whose name begins with ecr-pullthroughcache/; ECR takes no other."
  }
}

variable "untagged_days" {
  description = "Days after which an image without a tag is removed."
  type        = number
  default     = 14
  validation {
    condition     = var.untagged_days >= 1 && var.untagged_days <= 365
    error_message = "untagged_days: ${var.untagged_days} must be 1 to 365."
  }
}

variable "tags" {
  type    = map(string)
  default = {}
}
