# One repository for each image we build. A tag never changes what it names: a pod that restarts in the middle of a run
# must get the code it had.
resource "aws_ecr_repository" "this" {
  for_each             = toset(var.images)
  name                 = "${var.name}/${each.value}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = false

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS" # AWS's own key for ECR: images hold no secrets
  }

  tags = var.tags
}

# Only what no tag names goes; a tagged image may be the one a suspended run needs.
resource "aws_ecr_lifecycle_policy" "this" {
  for_each   = aws_ecr_repository.this
  repository = each.value.name
  policy = jsonencode({ rules = [{
    rulePriority = 1
    description  = "untagged layers of replaced builds"
    selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = var.untagged_days }
    action       = { type = "expire" }
  }] })
}

# An image of 10 GB for every new node: from Docker Hub it comes through the NAT gateway and counts against Docker Hub's
# limit of pulls; from ECR it comes through the gateway endpoint of S3.
resource "aws_ecr_pull_through_cache_rule" "docker_hub" {
  count                 = var.docker_hub_secret_arn == null ? 0 : 1
  ecr_repository_prefix = "${var.name}/docker-hub"
  upstream_registry_url = "registry-1.docker.io"
  credential_arn        = var.docker_hub_secret_arn
}
