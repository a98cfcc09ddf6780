# The control plane: closed by default, Secrets encrypted, administrators named.
mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
}

variables {
  name                 = "test"
  account_id           = "111122223333"
  kubernetes_version   = "1.35"
  subnet_ids           = ["subnet-a", "subnet-b"]
  vpc_cidr             = "10.0.0.0/16"
  service_cidr         = "172.20.0.0/16"
  admin_principal_arns = ["arn:aws:iam::111122223333:role/admin"]
  secrets_key_arn      = "arn:aws:kms:eu-west-1:111122223333:key/secrets"
  log_group            = "/aws/eks/test/cluster"
  log_key_arn          = "arn:aws:kms:eu-west-1:111122223333:key/logs"
}

run "private_encrypted_and_logged" {
  command = plan
  module { source = "./modules/cluster" }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "the API server is open although no network was named"
  }
  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == var.secrets_key_arn && aws_eks_cluster.this.encryption_config[0].resources == toset(["secrets"])
    error_message = "Secrets are not encrypted with our key"
  }
  assert {
    condition     = aws_eks_cluster.this.enabled_cluster_log_types == toset(["api", "audit", "authenticator", "controllerManager", "scheduler"])
    error_message = "a kind of log is missing"
  }
  assert {
    condition     = aws_cloudwatch_log_group.control_plane.kms_key_id == var.log_key_arn && aws_cloudwatch_log_group.control_plane.retention_in_days == 90 && aws_cloudwatch_log_group.control_plane.name == "/aws/eks/test/cluster"
    error_message = "logs need the key, an end, and EKS's name"
  }
  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API" && !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions
    error_message = "only named principals administer"
  }
  assert {
    condition     = keys(aws_eks_access_policy_association.admin) == ["arn:aws:iam::111122223333:role/admin"]
    error_message = "administrators"
  }
  assert {
    condition     = toset(concat(keys(aws_eks_addon.before_nodes), [aws_eks_addon.vpc_cni.addon_name, aws_eks_addon.coredns.addon_name, aws_eks_addon.node_monitoring.addon_name], aws_eks_addon.ebs[*].addon_name)) == toset(["eks-pod-identity-agent", "kube-proxy", "vpc-cni", "coredns", "eks-node-monitoring-agent"])
    error_message = "add-ons"
  }
  assert {
    condition     = jsondecode(aws_eks_addon.vpc_cni.configuration_values).enableNetworkPolicy == "true"
    error_message = "network policies would be accepted and do nothing"
  }
}

run "pays_no_extended_support_unasked" {
  command = plan
  module { source = "./modules/cluster" }
  assert {
    condition     = [for policy in aws_eks_cluster.this.upgrade_policy : policy.support_type] == ["STANDARD"] && output.version == "1.35"
    error_message = "extended support costs six times as much and begins by itself"
  }
}

run "extended_support_when_asked" {
  command = plan
  module { source = "./modules/cluster" }
  variables { support = "Extended" }
  assert {
    condition     = [for policy in aws_eks_cluster.this.upgrade_policy : policy.support_type] == ["EXTENDED"]
    error_message = "support"
  }
}

run "refuses_other_support" {
  command = plan
  module { source = "./modules/cluster" }
  variables { support = "STANDARD" }
  expect_failures = [var.support]
}

run "ebs_when_asked_with_a_role_of_its_own" {
  command = plan
  module { source = "./modules/cluster" }
  variables { ebs = true }
  assert {
    condition     = aws_eks_addon.ebs[0].addon_name == "aws-ebs-csi-driver" && [for a in aws_eks_addon.ebs[0].pod_identity_association : a.service_account] == ["ebs-csi-controller-sa"]
    error_message = "the driver"
  }
  assert {
    condition     = jsondecode(aws_iam_role.ebs[0].assume_role_policy).Statement[0].Condition.StringEquals["aws:RequestTag/kubernetes-service-account"] == "ebs-csi-controller-sa" && aws_iam_role_policy_attachment.ebs[0].policy_arn == "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
    error_message = aws_iam_role.ebs[0].assume_role_policy
  }
}

run "roles_trust_their_service_only" {
  command = plan
  module { source = "./modules/cluster" }
  assert {
    condition = jsonencode(jsondecode(aws_iam_role.cluster.assume_role_policy).Statement) == jsonencode([{
      Sid       = "Eks", Effect = "Allow", Principal = { Service = "eks.amazonaws.com" }, Action = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = "111122223333" } }
    }])
    error_message = aws_iam_role.cluster.assume_role_policy
  }
  assert {
    condition = jsonencode(jsondecode(aws_iam_role.vpc_cni.assume_role_policy).Statement) == jsonencode([{
      Sid    = "PodIdentity", Effect = "Allow", Principal = { Service = "pods.eks.amazonaws.com" }
      Action = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { StringEquals = {
        "aws:RequestTag/eks-cluster-name"           = "test"
        "aws:RequestTag/kubernetes-namespace"       = "kube-system"
        "aws:RequestTag/kubernetes-service-account" = "aws-node"
      } }
    }])
    error_message = aws_iam_role.vpc_cni.assume_role_policy
  }
  assert {
    condition     = [aws_iam_role_policy_attachment.cluster.policy_arn, aws_iam_role_policy_attachment.vpc_cni.policy_arn] == ["arn:aws:iam::aws:policy/AmazonEKSClusterPolicy", "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"]
    error_message = "AWS's own policies for these two, and no other"
  }
}

run "public_endpoint_for_named_networks" {
  command = plan
  module { source = "./modules/cluster" }
  variables { public_endpoint_cidrs = ["203.0.113.0/24"] }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "only the named network"
  }
}

run "refuses_the_whole_internet" {
  command = plan
  module { source = "./modules/cluster" }
  variables { public_endpoint_cidrs = ["0.0.0.0/0"] }
  expect_failures = [var.public_endpoint_cidrs]
}

run "refuses_half_the_internet" {
  command = plan
  module { source = "./modules/cluster" }
  variables { public_endpoint_cidrs = ["0.0.0.0/1", "128.0.0.0/1"] }
  expect_failures = [var.public_endpoint_cidrs]
}

run "refuses_services_within_the_vpc" {
  command = plan
  module { source = "./modules/cluster" }
  variables { service_cidr = "10.0.128.0/20" }
  expect_failures = [var.service_cidr]
}

run "refuses_services_around_the_vpc" {
  command = plan
  module { source = "./modules/cluster" }
  variables { service_cidr = "10.0.0.0/12" }
  expect_failures = [var.service_cidr]
}

run "refuses_a_cluster_without_administrator" {
  command = plan
  module { source = "./modules/cluster" }
  variables { admin_principal_arns = [] }
  expect_failures = [var.admin_principal_arns]
}

run "refuses_everybody_as_administrator" {
  command = plan
  module { source = "./modules/cluster" }
  variables { admin_principal_arns = ["arn:aws:iam::111122223333:root"] }
  expect_failures = [var.admin_principal_arns]
}

run "refuses_an_old_kubernetes" {
  command = plan
  module { source = "./modules/cluster" }
  variables { kubernetes_version = "1.27" }
  expect_failures = [var.kubernetes_version]
}

run "refuses_secrets_without_key_and_one_subnet_and_odd_retention" {
  command = plan
  module { source = "./modules/cluster" }
  variables {
    secrets_key_arn    = ""
    subnet_ids         = ["subnet-a"]
    log_retention_days = 7
  }
  expect_failures = [var.secrets_key_arn, var.subnet_ids, var.log_retention_days]
}
