variable "name" {
  type = string
}

variable "monthly_usd" {
  description = "Expected cost of the whole installation in a month, US dollars."
  type        = number
  validation {
    condition     = var.monthly_usd > 0
    error_message = "monthly_usd: ${var.monthly_usd} must be more than 0."
  }
}

variable "monthly_usd_by_moaa" {
  description = "The same by <namespace>/<name> of a MoAA that has node groups of its own."
  type        = map(number)
  default     = {}
  validation {
    condition     = alltrue([for usd in var.monthly_usd_by_moaa : usd > 0])
    error_message = "monthly_usd_by_moaa: every amount must be more than 0."
  }
  validation {
    condition     = alltrue([for moaa, _ in var.monthly_usd_by_moaa : can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z]([a-z0-9-]{0,22}[a-z0-9])?$", moaa))])
    error_message = "monthly_usd_by_moaa: keys must be <namespace>/<name> of MoAA resources: ${join(", ", keys(var.monthly_usd_by_moaa))}."
  }
}

variable "emails" {
  description = "Who gets the alarm, 1 to 10 addresses."
  type        = list(string)
  validation {
    condition     = length(var.emails) >= 1 && length(var.emails) <= 10
    error_message = "emails: ${length(var.emails)} given; an alarm needs 1 to 10 readers."
  }
  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "emails: ${join(", ", var.emails)} holds something that is not an address."
  }
}

variable "activate_cost_tags" {
  description = "Activate our tags for cost allocation. Only in the account that pays, from the second day on."
  type        = bool
  default     = false
}

variable "tags" {
  type    = map(string)
  default = {}
}
