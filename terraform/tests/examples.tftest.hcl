# Each example plans as it stands.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
  mock_resource "aws_kms_key" {
    override_during = plan
    defaults        = { arn = "arn:aws:kms:eu-west-1:111122223333:key/mocked" }
  }
}

variables {
  bucket_name          = "example-moaa-store"
  admin_principal_arns = ["arn:aws:iam::111122223333:role/admin"]
  budget_emails        = ["ops@example.com"]
}

run "single_node_gpu" {
  command = plan
  module { source = "./examples/single-node-gpu" }
  assert {
    condition     = output.cluster_name == "moaa-small"
    error_message = "cluster"
  }
}

run "production_on_demand" {
  command = plan
  module { source = "./examples/production" }
  assert {
    condition     = output.cluster_name == "moaa-prod"
    error_message = "cluster"
  }
}

run "production_on_a_capacity_block" {
  command = plan
  module { source = "./examples/production" }
  variables {
    capacity_block_id = "cr-0123456789abcdef0"
    training_zone     = "eu-west-1c"
    office_cidrs      = ["203.0.113.0/24"]
  }
  assert {
    condition     = output.cluster_name == "moaa-prod"
    error_message = "cluster"
  }
}

run "spot_inference" {
  command = plan
  module { source = "./examples/spot-inference" }
  assert {
    condition     = output.cluster_name == "moaa-spot"
    error_message = "cluster"
  }
}
