# The EKS control plane, who administers it, and the add-ons nodes need before they can be Ready.
resource "aws_cloudwatch_log_group" "control_plane" {
  name              = var.log_group # EKS writes to this very name and would create it without key and retention
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_key_arn
  tags              = var.tags
}

resource "aws_eks_cluster" "this" {
  name     = var.name
  role_arn = aws_iam_role.cluster.arn
  version  = var.kubernetes_version

  # Extended support is AWS's default, at six times the price of an hour, and begins without a word. Standard: at its end
  # AWS upgrades the control plane instead, and the nodes follow with the next apply.
  upgrade_policy {
    support_type = upper(var.support)
  }

  # The default self-managed CNI would run with the node's role; ours comes as an add-on with its own.
  bootstrap_self_managed_addons = false
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  access_config {
    authentication_mode                         = "API" # no aws-auth ConfigMap that a pod could edit
    bootstrap_cluster_creator_admin_permissions = false # who created the cluster is an accident; admins are named
  }

  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.public_endpoint_cidrs) > 0
    public_access_cidrs     = length(var.public_endpoint_cidrs) > 0 ? var.public_endpoint_cidrs : null
  }

  # Hub tokens and API keys of foreign endpoints are Kubernetes Secrets.
  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = var.secrets_key_arn
    }
  }

  kubernetes_network_config {
    service_ipv4_cidr = var.service_cidr
  }

  tags       = var.tags
  depends_on = [aws_iam_role_policy_attachment.cluster, aws_cloudwatch_log_group.control_plane]
}

resource "aws_eks_access_entry" "admin" {
  for_each      = toset(var.admin_principal_arns)
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value
  tags          = var.tags
}

resource "aws_eks_access_policy_association" "admin" {
  for_each      = toset(var.admin_principal_arns)
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.admin[each.key].principal_arn
  policy_arn    = "arn:${var.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
  access_scope {
    type = "cluster"
  }
}
