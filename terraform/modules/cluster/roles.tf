resource "aws_iam_role" "cluster" {
  name = "${var.name}-control-plane"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Eks"
      Effect    = "Allow"
      Principal = { Service = "eks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

# The agent tags every session with who asks; a pod elsewhere cannot assume a role even if an association says so.
locals {
  trust = { for account in ["aws-node", "ebs-csi-controller-sa"] : account => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "PodIdentity"
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { StringEquals = {
        "aws:RequestTag/eks-cluster-name"           = var.name
        "aws:RequestTag/kubernetes-namespace"       = "kube-system"
        "aws:RequestTag/kubernetes-service-account" = account
      } }
    }]
  }) }
}

resource "aws_iam_role" "vpc_cni" {
  name               = "${var.name}-vpc-cni"
  assume_role_policy = local.trust["aws-node"]
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "vpc_cni" {
  role       = aws_iam_role.vpc_cni.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/AmazonEKS_CNI_Policy"
}

resource "aws_iam_role" "ebs" {
  count              = var.ebs ? 1 : 0
  name               = "${var.name}-ebs-csi"
  assume_role_policy = local.trust["ebs-csi-controller-sa"]
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "ebs" {
  count      = var.ebs ? 1 : 0
  role       = aws_iam_role.ebs[0].name
  policy_arn = "arn:${var.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}
