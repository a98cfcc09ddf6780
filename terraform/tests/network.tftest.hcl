# The address plan, and what it refuses.
mock_provider "aws" {}

variables {
  name           = "test"
  region         = "eu-west-1"
  account_id     = "111122223333"
  vpc_cidr       = "10.0.0.0/16"
  zones          = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
  flow_log_group = "/moaa/test/flow"
  log_key_arn    = "arn:aws:kms:eu-west-1:111122223333:key/logs"
}

run "computed_plan_has_one_private_and_one_public_network_a_zone" {
  command = plan
  module { source = "./modules/network" }
  assert {
    condition     = output.private_cidrs == { eu-west-1a = "10.0.0.0/19", eu-west-1b = "10.0.32.0/19", eu-west-1c = "10.0.64.0/19" }
    error_message = "private networks: ${jsonencode(output.private_cidrs)}"
  }
  assert {
    condition     = output.public_cidrs == { eu-west-1a = "10.0.224.0/24", eu-west-1b = "10.0.225.0/24", eu-west-1c = "10.0.226.0/24" }
    error_message = "public networks: ${jsonencode(output.public_cidrs)}"
  }
  assert {
    condition     = alltrue([for subnet in merge(aws_subnet.private, aws_subnet.public) : subnet.map_public_ip_on_launch != true])
    error_message = "a subnet gives public addresses to whatever starts in it"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(aws_route.nat) == 3
    error_message = "PerZone must make a NAT gateway in every zone"
  }
  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3.service_name == "com.amazonaws.eu-west-1.s3"
    error_message = "weights must reach S3 without the NAT gateway"
  }
  assert {
    condition     = aws_vpc.this.enable_dns_hostnames && aws_vpc.this.enable_dns_support
    error_message = "EKS refuses a VPC without DNS host names"
  }
}

run "endpoints_take_https_from_the_vpc_only" {
  command = plan
  module { source = "./modules/network" }
  variables { interface_endpoints = ["ecr.api", "ecr.dkr"] }
  assert {
    condition = ({ for name, e in aws_vpc_endpoint.interface : name => "${e.service_name} ${e.vpc_endpoint_type} ${e.private_dns_enabled}" } ==
    { "ecr.api" = "com.amazonaws.eu-west-1.ecr.api Interface true", "ecr.dkr" = "com.amazonaws.eu-west-1.ecr.dkr Interface true" })
    error_message = "one endpoint for each service, under the service's own name"
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.endpoints : "${rule.cidr_ipv4} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}"] == ["10.0.0.0/16 tcp 443-443"]
    error_message = "HTTPS from the VPC, nothing else"
  }
}

run "no_endpoint_is_paid_unasked" {
  command = plan
  module { source = "./modules/network" }
  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0 && length(aws_security_group.endpoints) == 0
    error_message = "each endpoint is paid by the hour"
  }
}

run "refuses_an_endpoint_of_s3_beside_its_gateway" {
  command = plan
  module { source = "./modules/network" }
  variables { interface_endpoints = ["s3"] }
  expect_failures = [var.interface_endpoints]
}

run "smallest_network_with_six_zones_has_no_overlap" {
  command = plan
  module { source = "./modules/network" }
  variables {
    vpc_cidr = "10.9.64.0/18"
    zones    = [for letter in ["a", "b", "c", "d", "e", "f"] : "eu-west-1${letter}"]
  }
  assert {
    condition     = length(distinct(concat(values(output.private_cidrs), values(output.public_cidrs)))) == 12
    error_message = "two subnets share a network"
  }
  assert {
    # Private networks are the first six eighths of the VPC, public ones lie in the last.
    condition = (output.private_cidrs["eu-west-1f"] == "10.9.104.0/21" && alltrue([
    for cidr in values(output.public_cidrs) : cidrsubnet("${split("/", cidr)[0]}/21", 0, 0) == "10.9.120.0/21"]))
    error_message = "public networks must lie apart from private ones: ${jsonencode(output.public_cidrs)}"
  }
}

run "single_nat_serves_all_zones" {
  command = plan
  module { source = "./modules/network" }
  variables { nat = "Single" }
  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-west-1a"] && length(aws_route.nat) == 3
    error_message = "Single must make one NAT gateway and route every zone to it"
  }
}

run "given_networks_are_used" {
  command = plan
  module { source = "./modules/network" }
  variables {
    private_cidrs = ["10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18"]
    public_cidrs  = ["10.0.192.0/24", "10.0.193.0/24", "10.0.194.0/24"]
  }
  assert {
    condition     = aws_subnet.private["eu-west-1b"].cidr_block == "10.0.64.0/18"
    error_message = "given networks are not used"
  }
}

run "flow_logs_are_encrypted_and_their_role_writes_one_group" {
  command = plan
  module { source = "./modules/network" }
  assert {
    condition     = aws_cloudwatch_log_group.flow.kms_key_id == var.log_key_arn && aws_cloudwatch_log_group.flow.retention_in_days == 90
    error_message = "flow logs need the key and an end"
  }
  assert {
    condition = jsonencode(jsondecode(aws_iam_role_policy.flow.policy).Statement) == jsonencode([{
      Sid      = "WriteThisGroup", Effect = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
      Resource = "arn:aws:logs:eu-west-1:111122223333:log-group:/moaa/test/flow:*"
    }])
    error_message = aws_iam_role_policy.flow.policy
  }
}

run "refuses_host_bits_in_vpc_cidr" {
  command = plan
  module { source = "./modules/network" }
  variables { vpc_cidr = "10.0.1.0/16" }
  expect_failures = [var.vpc_cidr]
}

run "refuses_small_vpc" {
  command = plan
  module { source = "./modules/network" }
  variables { vpc_cidr = "10.0.0.0/20" }
  expect_failures = [var.vpc_cidr]
}

run "refuses_one_zone" {
  command = plan
  module { source = "./modules/network" }
  variables { zones = ["eu-west-1a"] }
  expect_failures = [var.zones]
}

run "refuses_a_zone_twice" {
  command = plan
  module { source = "./modules/network" }
  variables { zones = ["eu-west-1a", "eu-west-1a"] }
  expect_failures = [var.zones]
}

run "refuses_a_zone_of_another_region" {
  command = plan
  module { source = "./modules/network" }
  variables { zones = ["eu-west-1a", "us-east-1b"] }
  expect_failures = [var.zones]
}

run "refuses_overlapping_cidrs" {
  command = plan
  module { source = "./modules/network" }
  variables {
    private_cidrs = ["10.0.0.0/18", "10.0.32.0/19", "10.0.128.0/18"] # the second lies in the first
    public_cidrs  = ["10.0.192.0/24", "10.0.193.0/24", "10.0.194.0/24"]
  }
  expect_failures = [var.private_cidrs]
}

run "refuses_public_overlapping_private" {
  command = plan
  module { source = "./modules/network" }
  variables {
    private_cidrs = ["10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18"]
    public_cidrs  = ["10.0.191.0/24", "10.0.193.0/24", "10.0.194.0/24"]
  }
  expect_failures = [var.private_cidrs]
}

run "refuses_networks_outside_the_vpc" {
  command = plan
  module { source = "./modules/network" }
  variables {
    private_cidrs = ["10.0.0.0/18", "10.0.64.0/18", "10.1.128.0/18"]
    public_cidrs  = ["10.0.192.0/24", "10.0.193.0/24", "10.0.194.0/24"]
  }
  expect_failures = [var.private_cidrs]
}

run "refuses_half_an_address_plan" {
  command = plan
  module { source = "./modules/network" }
  variables { private_cidrs = ["10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18"] }
  expect_failures = [var.private_cidrs]
}

run "refuses_too_few_private_networks" {
  command = plan
  module { source = "./modules/network" }
  variables {
    private_cidrs = ["10.0.0.0/18"]
    public_cidrs  = ["10.0.192.0/24", "10.0.193.0/24", "10.0.194.0/24"]
  }
  expect_failures = [var.private_cidrs]
}

run "refuses_a_public_network_that_is_none" {
  command = plan
  module { source = "./modules/network" }
  variables {
    private_cidrs = ["10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18"]
    public_cidrs  = ["10.0.192.0/24", "10.0.193.0", "10.0.194.0/24"]
  }
  expect_failures = [var.public_cidrs]
}

run "refuses_unknown_nat" {
  command = plan
  module { source = "./modules/network" }
  variables { nat = "None" }
  expect_failures = [var.nat]
}
