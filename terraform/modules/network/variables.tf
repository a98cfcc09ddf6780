variable "name" {
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

variable "vpc_cidr" {
  description = "Addresses of the VPC, /16 to /18."
  type        = string
  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(cidrsubnet(var.vpc_cidr, 0, 0) == var.vpc_cidr, false)
    error_message = "vpc_cidr: ${var.vpc_cidr} is not an IPv4 network such as 10.0.0.0/16 (no host bits set)."
  }
  validation {
    condition     = try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 18, false)
    error_message = "vpc_cidr: ${var.vpc_cidr} must be /16 to /18: larger is refused by AWS, smaller leaves pods without addresses."
  }
}

variable "zones" {
  description = "Availability zones, for example [\"eu-west-1a\", \"eu-west-1b\"]. EKS needs at least two."
  type        = list(string)
  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 6
    error_message = "zones: ${length(var.zones)} given; EKS needs 2, and the address plan has room for 6."
  }
  validation {
    condition     = length(distinct(var.zones)) == length(var.zones)
    error_message = "zones: ${join(", ", var.zones)} names a zone twice."
  }
  validation {
    condition     = alltrue([for zone in var.zones : startswith(zone, var.region) && can(regex("^[a-z0-9-]+[a-z]$", zone))])
    error_message = "zones: ${join(", ", var.zones)} must all lie in region ${var.region}, such as ${var.region}a."
  }
}

variable "private_cidrs" {
  description = "One network for each zone's nodes and pods; null: cut from vpc_cidr."
  type        = list(string)
  default     = null
  validation {
    condition     = var.private_cidrs == null || try(length(var.private_cidrs) == length(var.zones), false)
    error_message = "private_cidrs: give one for each of the ${length(var.zones)} zones, or none."
  }
  validation {
    condition     = (var.private_cidrs == null) == (var.public_cidrs == null)
    error_message = "private_cidrs and public_cidrs: give both or neither; half of a computed plan may overlap the given half."
  }
  validation {
    condition     = alltrue([for cidr in coalesce(var.private_cidrs, []) : can(cidrnetmask(cidr))])
    error_message = "private_cidrs: each must be an IPv4 network such as 10.0.0.0/19."
  }
  # a lies in b iff a is not the larger one and a's address, cut to b's length, is b.
  validation {
    condition = alltrue([for cidr in concat(coalesce(var.private_cidrs, []), coalesce(var.public_cidrs, [])) : try(
      tonumber(split("/", cidr)[1]) >= tonumber(split("/", var.vpc_cidr)[1]) &&
      cidrsubnet("${split("/", cidr)[0]}/${split("/", var.vpc_cidr)[1]}", 0, 0) == cidrsubnet(var.vpc_cidr, 0, 0), false)
    ])
    error_message = "private_cidrs, public_cidrs: each must lie within vpc_cidr ${var.vpc_cidr}."
  }
  # Two networks overlap iff they are equal when both are cut to the shorter length.
  validation {
    condition = alltrue(flatten([
      for i, a in concat(coalesce(var.private_cidrs, []), coalesce(var.public_cidrs, [])) : [
        for j, b in concat(coalesce(var.private_cidrs, []), coalesce(var.public_cidrs, [])) : i >= j || try(
          cidrsubnet("${split("/", a)[0]}/${min(split("/", a)[1], split("/", b)[1])}", 0, 0) !=
        cidrsubnet("${split("/", b)[0]}/${min(split("/", a)[1], split("/", b)[1])}", 0, 0), false)
      ]
    ]))
    error_message = "private_cidrs, public_cidrs: two of them overlap; every address may belong to one subnet only."
  }
}

variable "public_cidrs" {
  description = "One network for each zone's NAT gateway and load balancers; null: cut from vpc_cidr."
  type        = list(string)
  default     = null
  validation {
    condition     = var.public_cidrs == null || try(length(var.public_cidrs) == length(var.zones), false)
    error_message = "public_cidrs: give one for each of the ${length(var.zones)} zones, or none."
  }
  validation {
    condition     = alltrue([for cidr in coalesce(var.public_cidrs, []) : can(cidrnetmask(cidr))])
    error_message = "public_cidrs: each must be an IPv4 network such as 10.0.224.0/24."
  }
}

variable "nat" {
  description = "PerZone: a zone's failure takes only its own nodes offline. Single: a third of the price, one zone's failure cuts all."
  type        = string
  default     = "PerZone"
  validation {
    condition     = contains(["PerZone", "Single"], var.nat)
    error_message = "nat: ${var.nat} must be PerZone or Single."
  }
}

variable "interface_endpoints" {
  description = "Services to reach without the NAT gateway, such as ecr.api, ecr.dkr, sts, logs; each is paid by the hour in every zone. S3 is always reached so, for nothing."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for service in var.interface_endpoints : can(regex("^[a-z][a-z0-9.-]+$", service)) && service != "s3"]) && length(distinct(var.interface_endpoints)) == length(var.interface_endpoints)
    error_message = "interface_endpoints: each must be the distinct name of a service such as ecr.dkr, and not s3, which has its gateway: ${join(", ", var.interface_endpoints)}."
  }
}

variable "flow_log_group" {
  description = "Name of the log group for rejected traffic."
  type        = string
}

variable "log_retention_days" {
  type    = number
  default = 90
}

variable "log_key_arn" {
  description = "KMS key that may encrypt this log group."
  type        = string
}

variable "tags" {
  type    = map(string)
  default = {}
}
