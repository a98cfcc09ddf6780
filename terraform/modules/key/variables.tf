variable "name" {
  description = "Alias of the key, without `alias/`."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,62}$", var.name))
    error_message = "name: ${var.name} must be 3 to 63 lower-case letters, digits or hyphens, starting with a letter."
  }
}

variable "description" {
  description = "What the key protects."
  type        = string
}

variable "region" {
  type = string
}

variable "partition" {
  type    = string
  default = "aws"
}

variable "account_id" {
  description = "The account that owns the key."
  type        = string
}

variable "log_groups" {
  description = "Names of CloudWatch log groups that are encrypted with this key; empty: CloudWatch may not use it."
  type        = list(string)
  default     = []
}

variable "tags" {
  type    = map(string)
  default = {}
}
