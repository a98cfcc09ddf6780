variable "bucket_name" {
  description = "Globally unique name of the bucket."
  type        = string
  validation {
    # A dot in the name breaks TLS: the certificate's wildcard covers one label.
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name: ${var.bucket_name} must be 3 to 63 lower-case letters, digits or hyphens, without dots."
  }
}

variable "partition" {
  type    = string
  default = "aws"
}

variable "account_id" {
  type = string
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id: ${var.account_id} must be 12 digits."
  }
}

variable "key_arn" {
  description = "KMS key that encrypts every object. There is no way to leave it out."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.key_arn))
    error_message = "key_arn: ${var.key_arn} must be the ARN of a KMS key; objects are never stored without our key."
  }
}

variable "abort_upload_days" {
  description = "Days after its start when an unfinished upload is given up."
  type        = number
  default     = 7
  validation {
    condition     = var.abort_upload_days >= 2 && var.abort_upload_days <= 90 && floor(var.abort_upload_days) == var.abort_upload_days
    error_message = "abort_upload_days: ${var.abort_upload_days} must be a whole number from 2 (a large checkpoint may still be on its way on the first day) to 90."
  }
}

variable "noncurrent_days" {
  description = "Days for which a replaced or deleted object can be brought back."
  type        = number
  default     = 30
  validation {
    condition     = var.noncurrent_days >= 7 && var.noncurrent_days <= 3650 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days: ${var.noncurrent_days} must be a whole number from 7 (a mistake must be noticed in time) to 3650."
  }
}

variable "tagged_days" {
  description = "Days after its creation when an object with the expiry tag is removed."
  type        = number
  default     = 7
  validation {
    condition     = var.tagged_days >= 1 && var.tagged_days <= 3650 && floor(var.tagged_days) == var.tagged_days
    error_message = "tagged_days: ${var.tagged_days} must be a whole number from 1 to 3650."
  }
}

variable "expiry_tag" {
  description = "Tag that marks an object as no longer needed. Only for objects of a stage whose manifest exists and does not name them."
  type        = object({ key = string, value = string })
  default     = { key = "moaa:expire", value = "after-manifest" }
  nullable    = false
  validation {
    # An empty filter value would match nothing, an empty key everything.
    condition     = length(var.expiry_tag.key) > 0 && length(var.expiry_tag.value) > 0
    error_message = "expiry_tag: key and value must not be empty; without them the rule would delete unfinished runs."
  }
}

variable "tags" {
  type    = map(string)
  default = {}
}
