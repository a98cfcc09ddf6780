# What every node may do: join the cluster and pull images. Nothing about S3: pods have their own roles.
resource "aws_iam_role" "node" {
  name = "${var.name}-node"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Ec2"
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.node.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/${each.value}"
}

# Whoever asks first has ECR make the repository and fetch the image.
resource "aws_iam_role_policy" "pull_through" {
  count = length(var.pulls_through) > 0 ? 1 : 0
  name  = "pull-through"
  role  = aws_iam_role.node.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "PullThrough"
      Effect   = "Allow"
      Action   = ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"]
      Resource = [for prefix in var.pulls_through : "arn:${var.partition}:ecr:${var.region}:${var.account_id}:repository/${prefix}/*"]
    }]
  })
}
