# In two steps: a node is Ready only with a CNI, and CoreDNS runs only on Ready nodes.
resource "aws_eks_addon" "before_nodes" {
  for_each                    = toset(["eks-pod-identity-agent", "kube-proxy"])
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.value
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = var.tags
}

resource "aws_eks_addon" "vpc_cni" {
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = "vpc-cni"
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  # Without it a NetworkPolicy is accepted and does nothing.
  configuration_values = jsonencode({ enableNetworkPolicy = "true" })

  # Its own role, so that the nodes' role, within reach of every hostNetwork pod, cannot change network interfaces.
  pod_identity_association {
    role_arn        = aws_iam_role.vpc_cni.arn
    service_account = "aws-node"
  }
  tags       = var.tags
  depends_on = [aws_iam_role_policy_attachment.vpc_cni, aws_eks_addon.before_nodes]
}

resource "aws_eks_addon" "coredns" {
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = "coredns"
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = var.tags
  depends_on                  = [aws_eks_addon.vpc_cni] # and on nodes, for which AWS waits: it is made beside them
}

# Tells node_repair_config what a kubelet does not: failing GPUs (XID), networks and disks.
resource "aws_eks_addon" "node_monitoring" {
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = "eks-node-monitoring-agent"
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = var.tags
  depends_on                  = [aws_eks_addon.vpc_cni]
}

resource "aws_eks_addon" "ebs" {
  count                       = var.ebs ? 1 : 0
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = "aws-ebs-csi-driver"
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  pod_identity_association {
    role_arn        = aws_iam_role.ebs[0].arn
    service_account = "ebs-csi-controller-sa"
  }
  tags       = var.tags
  depends_on = [aws_iam_role_policy_attachment.ebs, aws_eks_addon.vpc_cni]
}
