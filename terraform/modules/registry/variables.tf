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
