# Who may do what: every policy decoded and compared statement by statement with what is written here a second time.
mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
}

variables {
  name         = "test"
  cluster_name = "test"
  region       = "eu-west-1"
  account_id   = "111122223333"
  bucket_name  = "example-moaa-store"
  key_arn      = "arn:aws:kms:eu-west-1:111122223333:key/store"
  namespaces   = { team = { prefix = "teams/a" }, other = { prefix = "other" } }
}

run "one_role_a_component_and_none_for_the_operator" {
  command = plan
  module { source = "./modules/identity" }
  assert {
    condition = ({ for key, a in aws_eks_pod_identity_association.this : key => "${a.namespace}:${a.service_account}" } == {
      "team/jobs"              = "team:moaa-run"
      "team/serving"           = "team:moaa-serve"
      "other/jobs"             = "other:moaa-run"
      "other/serving"          = "other:moaa-serve"
      "kube-system/autoscaler" = "kube-system:cluster-autoscaler"
    })
    error_message = "bindings: ${jsonencode(keys(aws_eks_pod_identity_association.this))}"
  }
  assert {
    condition     = toset(keys(aws_iam_role_policy.this)) == toset(keys(aws_iam_role.this))
    error_message = "every role has exactly one policy"
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.this : length(role.name) <= 64])
    error_message = "IAM refuses role names of more than 64 characters"
  }
}

run "roles_trust_one_service_account_of_one_cluster" {
  command = plan
  module { source = "./modules/identity" }
  assert {
    condition = alltrue([for key, role in aws_iam_role.this : jsonencode(jsondecode(role.assume_role_policy).Statement) == jsonencode([{
      Sid       = "PodIdentity", Effect = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { StringEquals = {
        "aws:RequestTag/eks-cluster-name"           = "test"
        "aws:RequestTag/kubernetes-namespace"       = aws_eks_pod_identity_association.this[key].namespace
        "aws:RequestTag/kubernetes-service-account" = aws_eks_pod_identity_association.this[key].service_account
      } }
    }])])
    error_message = "a role can be assumed by something else"
  }
}

run "no_wildcard_actions_and_no_wildcard_resources" {
  command = plan
  module { source = "./modules/identity" }
  assert {
    condition = alltrue(flatten([for policy in aws_iam_role_policy.this : [for s in jsondecode(policy.policy).Statement :
    s.Effect == "Allow" && alltrue([for action in flatten([s.Action]) : !strcontains(action, "*")]) && !contains(keys(s), "NotAction") && !contains(keys(s), "NotResource")]]))
    error_message = "an action holds a wildcard"
  }
  assert {
    # Look: describe calls of EC2 and Auto Scaling know no resources (modules/identity/autoscaler.tf).
    condition = alltrue(flatten([for key, policy in aws_iam_role_policy.this : [for s in jsondecode(policy.policy).Statement :
    [for resource in flatten([s.Resource]) : resource != "*" || (key == "kube-system/autoscaler" && s.Sid == "Look")]]]))
    error_message = "a statement reaches every resource"
  }
  assert {
    # In S3 every wildcard comes after bucket and prefix, and never is the whole bucket.
    condition = alltrue(flatten([for policy in aws_iam_role_policy.this : [for s in jsondecode(policy.policy).Statement :
    [for resource in flatten([s.Resource]) : !startswith(resource, "arn:aws:s3:") || can(regex("^arn:aws:s3:::example-moaa-store(/[a-z0-9]+/.*)?$", resource))]]]))
    error_message = "a statement reaches objects outside the prefixes"
  }
  assert {
    condition = alltrue(flatten([for policy in aws_iam_role_policy.this : [for s in jsondecode(policy.policy).Statement :
    [for action in flatten([s.Action]) : !can(regex("^(iam|sts|kms:(Put|Create(Grant|Key)|Schedule|Disable)|s3:(Put(Bucket|Object(Acl|Tagging|Retention))|DeleteObjectVersion|DeleteBucket|BypassGovernance))", action))]]]))
    error_message = "a run could change rights, keys, tags or versions"
  }
}

# What tests/unit/test_s3_policies.py asks its questions of, so that they are about what Terraform makes.
run "policies_are_the_ones_that_are_simulated" {
  command = plan
  module { source = "./modules/identity" }
  assert {
    condition     = aws_iam_role_policy.this["team/jobs"].policy == jsonencode(jsondecode(file("tests/rendered/jobs.json")))
    error_message = "tests/rendered/jobs.json is not what is rendered: ${aws_iam_role_policy.this["team/jobs"].policy}"
  }
  assert {
    condition     = aws_iam_role_policy.this["team/serving"].policy == jsonencode(jsondecode(file("tests/rendered/serving.json")))
    error_message = "tests/rendered/serving.json is not what is rendered: ${aws_iam_role_policy.this["team/serving"].policy}"
  }
  assert {
    condition     = aws_iam_role.this["team/jobs"].assume_role_policy == jsonencode(jsondecode(file("tests/rendered/jobs-trust.json")))
    error_message = "tests/rendered/jobs-trust.json is not what is rendered: ${aws_iam_role.this["team/jobs"].assume_role_policy}"
  }
  assert {
    condition     = aws_iam_role.this["team/serving"].assume_role_policy == jsonencode(jsondecode(file("tests/rendered/serving-trust.json")))
    error_message = "tests/rendered/serving-trust.json is not what is rendered: ${aws_iam_role.this["team/serving"].assume_role_policy}"
  }
}

run "no_namespace_reaches_another" {
  command = plan
  module { source = "./modules/identity" }
  assert {
    condition     = !strcontains(aws_iam_role_policy.this["other/jobs"].policy, "teams/a") && !strcontains(aws_iam_role_policy.this["other/serving"].policy, "teams/a")
    error_message = "other reaches teams/a"
  }
  assert {
    condition     = !strcontains(aws_iam_role_policy.this["team/jobs"].policy, "example-moaa-store/other") && !strcontains(aws_iam_role_policy.this["team/serving"].policy, "example-moaa-store/other")
    error_message = "team reaches other"
  }
}

run "autoscaler_changes_this_cluster_only" {
  command = plan
  module { source = "./modules/identity" }
  assert {
    condition     = alltrue([for action in jsondecode(aws_iam_role_policy.this["kube-system/autoscaler"].policy).Statement[0].Action : can(regex("^(autoscaling:Describe|ec2:Describe|ec2:GetInstanceTypes)", action))])
    error_message = "what may be done to every resource must only read"
  }
  assert {
    condition = jsonencode(slice(jsondecode(aws_iam_role_policy.this["kube-system/autoscaler"].policy).Statement, 1, 3)) == jsonencode([
      {
        Sid      = "LookAtNodeGroups", Effect = "Allow", Action = "eks:DescribeNodegroup"
        Resource = "arn:aws:eks:eu-west-1:111122223333:nodegroup/test/*"
      },
      {
        Sid       = "ScaleThisCluster", Effect = "Allow", Action = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
        Resource  = "arn:aws:autoscaling:eu-west-1:111122223333:autoScalingGroup:*:autoScalingGroupName/*"
        Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/test" = "owned" } }
      },
    ])
    error_message = aws_iam_role_policy.this["kube-system/autoscaler"].policy
  }
}

run "service_accounts_can_be_named" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "a", service_account = "runner", serving_service_account = "server" } } }
  assert {
    condition     = aws_eks_pod_identity_association.this["team/jobs"].service_account == "runner" && aws_eks_pod_identity_association.this["team/serving"].service_account == "server"
    error_message = "given service accounts are not bound"
  }
}

run "refuses_no_namespace" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = {} }
  expect_failures = [var.namespaces]
}

run "refuses_a_wildcard_in_a_prefix" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "*" } } }
  expect_failures = [var.namespaces]
}

run "refuses_a_policy_variable_in_a_prefix" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "a/$${aws:username}" } } }
  expect_failures = [var.namespaces]
}

run "refuses_an_empty_prefix" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "" } } }
  expect_failures = [var.namespaces]
}

run "refuses_a_prefix_inside_another" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "teams" }, other = { prefix = "teams/a" } } }
  expect_failures = [var.namespaces]
}

run "refuses_two_namespaces_with_one_prefix" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "a" }, other = { prefix = "a" } } }
  expect_failures = [var.namespaces]
}

run "refuses_a_prefix_within_the_weights" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "weights/team" } } }
  expect_failures = [var.namespaces]
}

run "accepts_prefixes_that_only_look_alike" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "team" }, other = { prefix = "team2" }, third = { prefix = "weights-of-third" } } }
  assert {
    condition     = length(aws_iam_role.this) == 7
    error_message = "three namespaces and the autoscaler make seven roles"
  }
}

run "refuses_kube_system" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { kube-system = { prefix = "a" } } }
  expect_failures = [var.namespaces]
}

run "refuses_a_namespace_that_is_no_dns_label" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { "Team_A" = { prefix = "a" } } }
  expect_failures = [var.namespaces]
}

run "refuses_one_account_for_jobs_and_servers" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "a", service_account = "moaa", serving_service_account = "moaa" } } }
  expect_failures = [var.namespaces]
}

run "refuses_the_default_service_account" {
  command = plan
  module { source = "./modules/identity" }
  variables { namespaces = { team = { prefix = "a", service_account = "default" } } }
  expect_failures = [var.namespaces]
}

run "refuses_wildcards_in_shared_prefixes" {
  command = plan
  module { source = "./modules/identity" }
  variables {
    weights_prefix       = "we*ghts"
    shared_read_prefixes = ["data/"]
  }
  expect_failures = [var.weights_prefix, var.shared_read_prefixes]
}

run "refuses_a_long_name" {
  command = plan
  module { source = "./modules/identity" }
  variables { name = "a-name-of-more-than-24-letters" }
  expect_failures = [var.name]
}
