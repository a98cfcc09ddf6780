# The whole installation, applied against mocks, and what the chart gets to know.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:111122223333:key/mocked" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:111122223333:log-group:mocked" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
  mock_resource "aws_eks_node_group" {
    defaults = { resources = [{ autoscaling_groups = [{ name = "mocked" }], remote_access_security_group_id = "" }] }
  }
  mock_resource "aws_ecr_repository" {
    defaults = { repository_url = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/mocked" }
  }
}

variables {
  name                 = "moaa-test"
  region               = "eu-west-1"
  zones                = ["eu-west-1a", "eu-west-1b"]
  bucket_name          = "example-moaa-store"
  admin_principal_arns = ["arn:aws:iam::111122223333:role/admin"]
  node_groups = {
    system = { role = "System", instance_types = ["m7i.large"], min_nodes = 1, max_nodes = 2 }
    serve  = { role = "Inference", capacity = "Spot", instance_types = ["g6.12xlarge", "g5.12xlarge"], gpus = 4, max_nodes = 8 }
    train  = { role = "Training", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 8, efa_interfaces = 32, zone = "eu-west-1b", placement_group = true }
    own    = { role = "Inference", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1, moaa = "alignment/llama-8b" }
  }
  run_namespaces      = { alignment = { prefix = "alignment" }, research = { prefix = "teams/research", create = false } }
  monthly_usd         = 1000
  monthly_usd_by_moaa = { "alignment/llama-8b" = 400 }
  budget_emails       = ["ops@example.com"]
}

run "chart_values_are_ready" {
  # What the chart's tests install with: the one must not change without the other.
  assert {
    condition     = yamldecode(output.chart_values) == yamldecode(file("tests/chart-values.yaml"))
    error_message = "tests/chart-values.yaml is not the output any more: ${output.chart_values}"
  }
  assert {
    condition     = yamldecode(output.chart_values).region == "eu-west-1" && yamldecode(output.chart_values).weightsUri == "s3://example-moaa-store/weights"
    error_message = output.chart_values
  }
  assert {
    condition = yamldecode(output.chart_values).runNamespaces == [
      { name = "alignment", create = true, storageUri = "s3://example-moaa-store/alignment", serviceAccountName = "moaa-run", servingServiceAccountName = "moaa-serve" },
      { name = "research", create = false, storageUri = "s3://example-moaa-store/teams/research", serviceAccountName = "moaa-run", servingServiceAccountName = "moaa-serve" },
    ]
    error_message = output.chart_values
  }
  assert {
    condition     = keys(yamldecode(output.chart_values).images) == ["jobs", "operator", "train", "vllm"] && yamldecode(output.chart_values).images.vllm.repository == "vllm/vllm-openai"
    error_message = output.chart_values
  }
  assert {
    condition = jsonencode(yamldecode(output.chart_values).scheduling.inference) == jsonencode({
      nodeSelector = { "moaa.dev/role" = "inference" }
      tolerations = [
        { key = "moaa.dev/role", operator = "Equal", value = "inference", effect = "NoSchedule" },
        { key = "nvidia.com/gpu", operator = "Equal", value = "present", effect = "NoSchedule" },
      ]
    })
    error_message = output.chart_values
  }
  assert {
    condition     = yamldecode(output.chart_values).scheduling.system.tolerations == [] && yamldecode(output.chart_values).scheduling.training.nodeSelector == { "moaa.dev/role" = "training" }
    error_message = output.chart_values
  }
  assert {
    condition     = [for d in yamldecode(output.chart_values).dedicated : "${d.namespace}/${d.moaa}/${d.nodeGroup}/${d.role}"] == ["alignment/llama-8b/own/inference"]
    error_message = output.chart_values
  }
  assert {
    condition     = { for g in yamldecode(output.chart_values).nodeGroups : g.name => [g.role, g.gpus, g.efaInterfaces, g.spot] } == { system = ["system", 0, 0, false], serve = ["inference", 4, 0, true], train = ["training", 8, 32, false], own = ["inference", 4, 0, false] }
    error_message = output.chart_values
  }
  assert {
    condition     = toset(keys(output.role_arns)) == toset(["alignment/jobs", "alignment/serving", "research/jobs", "research/serving", "kube-system/autoscaler"])
    error_message = "roles: ${jsonencode(keys(output.role_arns))}"
  }
  assert {
    condition     = output.budgets == tolist(["moaa-test", "moaa-test-alignment-llama-8b"])
    error_message = jsonencode(output.budgets)
  }
}

run "unequal_training_nodes_leave_the_workers_of_a_pod_to_the_administrator" {
  variables {
    node_groups = {
      system = { role = "System", instance_types = ["m7i.large"], min_nodes = 1, max_nodes = 2 }
      small  = { role = "Training", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1 }
      large  = { role = "Training", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 1 }
    }
  }
  assert {
    condition     = yamldecode(output.chart_values).settings == {}
    error_message = "no number fits both: ${output.chart_values}"
  }
}

run "refuses_a_name_that_aws_would_refuse_later" {
  command = plan
  variables { name = "MoAA" }
  expect_failures = [var.name]
}

run "refuses_an_unknown_partition" {
  command = plan
  variables { partition = "gcp" }
  expect_failures = [var.partition]
}

run "refuses_a_zone_as_region" {
  command = plan
  variables { region = "eu-west-1a" }
  expect_failures = [var.region]
}

run "refuses_tags_that_would_change_the_bill" {
  command = plan
  variables { tags = { "moaa:run" = "mine" } }
  expect_failures = [var.tags]
}

run "refuses_a_tag_in_the_image_repository" {
  command = plan
  variables { vllm_image = "vllm/vllm-openai:latest" }
  expect_failures = [var.vllm_image]
}

run "model_servers_come_from_the_cache_of_docker_hub" {
  variables { docker_hub_secret_arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:ecr-pullthroughcache/hub-AbCdEf" }
  assert {
    condition     = yamldecode(output.chart_values).images.vllm.repository == "111122223333.dkr.ecr.eu-west-1.amazonaws.com/moaa-test/docker-hub/vllm/vllm-openai"
    error_message = output.chart_values
  }
}

run "a_mirror_is_left_as_it_is_named" {
  variables {
    docker_hub_secret_arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:ecr-pullthroughcache/hub-AbCdEf"
    vllm_image            = "mirror.example.com/vllm/vllm-openai"
  }
  assert {
    condition     = yamldecode(output.chart_values).images.vllm.repository == "mirror.example.com/vllm/vllm-openai"
    error_message = output.chart_values
  }
}
