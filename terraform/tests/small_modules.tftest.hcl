# Keys, image repositories and budgets.
mock_provider "aws" {}

variables {
  name        = "test"
  description = "for tests"
  region      = "eu-west-1"
  account_id  = "111122223333"
  monthly_usd = 1000
  emails      = ["ops@example.com"]
}

run "key_is_rotated_and_the_account_decides" {
  command = plan
  module { source = "./modules/key" }
  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "rotation, and the longest time to notice a deletion"
  }
  assert {
    # The only kms:* and the only "*" allowed in this repository: see the comment in modules/key/main.tf.
    condition = jsonencode(jsondecode(aws_kms_key.this.policy).Statement) == jsonencode([{
      Sid = "AccountPoliciesDecide", Effect = "Allow", Principal = { AWS = "arn:aws:iam::111122223333:root" }, Action = "kms:*", Resource = "*"
    }])
    error_message = aws_kms_key.this.policy
  }
}

run "log_key_serves_named_groups_only" {
  command = plan
  module { source = "./modules/key" }
  variables { log_groups = ["/aws/eks/test/cluster"] }
  assert {
    condition = jsonencode(jsondecode(aws_kms_key.this.policy).Statement[1]) == jsonencode({
      Sid       = "LogGroups", Effect = "Allow", Principal = { Service = "logs.eu-west-1.amazonaws.com" }, Resource = "*"
      Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"]
      Condition = { ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = ["arn:aws:logs:eu-west-1:111122223333:log-group:/aws/eks/test/cluster"] } }
    }) && length(jsondecode(aws_kms_key.this.policy).Statement) == 2
    error_message = aws_kms_key.this.policy
  }
}

run "refuses_an_alias_that_cannot_be" {
  command = plan
  module { source = "./modules/key" }
  variables { name = "Alias/Test" }
  expect_failures = [var.name]
}

run "images_are_immutable_and_tagged_ones_stay" {
  command = plan
  module { source = "./modules/registry" }
  assert {
    condition     = [for r in aws_ecr_repository.this : r.name] == ["test/jobs", "test/operator", "test/train"]
    error_message = "one repository for each image"
  }
  assert {
    condition = alltrue([for r in aws_ecr_repository.this : r.image_tag_mutability == "IMMUTABLE" && r.image_scanning_configuration[0].scan_on_push &&
    r.encryption_configuration[0].encryption_type == "KMS" && !r.force_delete])
    error_message = "immutable tags, scanning, encryption, no deletion of full repositories"
  }
  assert {
    condition     = alltrue(flatten([for p in aws_ecr_lifecycle_policy.this : [for rule in jsondecode(p.policy).rules : rule.selection.tagStatus == "untagged"]]))
    error_message = "a tagged image may be the one a suspended run needs"
  }
}

run "docker_hub_is_asked_once_with_an_account" {
  command = plan
  module { source = "./modules/registry" }
  variables { docker_hub_secret_arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:ecr-pullthroughcache/hub-AbCdEf" }
  assert {
    condition     = [for rule in aws_ecr_pull_through_cache_rule.docker_hub : "${rule.ecr_repository_prefix} ${rule.upstream_registry_url} ${rule.credential_arn}"] == ["test/docker-hub registry-1.docker.io ${var.docker_hub_secret_arn}"] && output.pulls_through == ["test/docker-hub"]
    error_message = "the cache of Docker Hub"
  }
}

run "without_an_account_there_is_no_cache" {
  command = plan
  module { source = "./modules/registry" }
  assert {
    condition     = output.pulls_through == []
    error_message = "ECR asks Docker Hub with an account only"
  }
}

run "refuses_a_secret_that_ecr_does_not_take" {
  command = plan
  module { source = "./modules/registry" }
  variables { docker_hub_secret_arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:hub-AbCdEf" }
  expect_failures = [var.docker_hub_secret_arn]
}

run "refuses_to_leave_out_an_image_of_the_chart" {
  command = plan
  module { source = "./modules/registry" }
  variables { images = ["operator", "jobs"] }
  expect_failures = [var.images]
}

run "refuses_image_names_in_capitals" {
  command = plan
  module { source = "./modules/registry" }
  variables { images = ["operator", "jobs", "train", "Extra"] }
  expect_failures = [var.images]
}

run "refuses_to_keep_untagged_images_for_ever" {
  command = plan
  module { source = "./modules/registry" }
  variables { untagged_days = 0 }
  expect_failures = [var.untagged_days]
}

run "budgets_follow_the_tags" {
  command = plan
  module { source = "./modules/budget" }
  variables {
    monthly_usd_by_moaa = { "alignment/llama-8b" = 400 }
    activate_cost_tags  = true
  }
  assert {
    condition = { for name, b in aws_budgets_budget.this : name => flatten([for f in b.cost_filter : f.values]) } == {
      test = ["user:moaa:installation$test"], test-alignment-llama-8b = ["user:moaa:run$alignment/llama-8b"]
    }
    error_message = "filters"
  }
  assert {
    condition = alltrue([for b in aws_budgets_budget.this : toset([for n in b.notification : "${n.notification_type} ${n.threshold}"]) == toset(["ACTUAL 80", "FORECASTED 100"]) &&
    alltrue([for n in b.notification : n.subscriber_email_addresses == toset(["ops@example.com"])])])
    error_message = "mail at 80 % spent and at 100 % forecast"
  }
  assert {
    condition     = keys(aws_ce_cost_allocation_tag.this) == ["moaa:component", "moaa:installation", "moaa:run"]
    error_message = "tags that split the bill"
  }
}

run "cost_tags_wait_for_their_switch" {
  command = plan
  module { source = "./modules/budget" }
  assert {
    condition     = length(aws_ce_cost_allocation_tag.this) == 0 && length(aws_budgets_budget.this) == 1
    error_message = "only the paying account may activate tags"
  }
}

run "refuses_a_budget_of_nothing_for_nobody" {
  command = plan
  module { source = "./modules/budget" }
  variables {
    monthly_usd = 0
    emails      = []
  }
  expect_failures = [var.monthly_usd, var.emails]
}

run "refuses_an_address_that_is_none" {
  command = plan
  module { source = "./modules/budget" }
  variables { emails = ["ops"] }
  expect_failures = [var.emails]
}

run "refuses_budgets_of_odd_moaas" {
  command = plan
  module { source = "./modules/budget" }
  variables { monthly_usd_by_moaa = { "Not A Name" = -1 } }
  expect_failures = [var.monthly_usd_by_moaa]
}
