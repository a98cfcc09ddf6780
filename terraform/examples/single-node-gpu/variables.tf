variable "region" {
  type    = string
  default = "eu-west-1"
}

variable "bucket_name" {
  description = "Globally unique."
  type        = string
}

variable "admin_principal_arns" {
  type = list(string)
}

variable "budget_emails" {
  type = list(string)
}

variable "office_cidrs" {
  description = "Networks from which kubectl is used; empty: from within the VPC only."
  type        = list(string)
  default     = []
}
