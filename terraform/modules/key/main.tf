# One customer managed key with rotation. Used once for the store, once for Kubernetes Secrets, once for logs, so that
# the right to read one is never the right to read another.
locals {
  administration = {
    Sid       = "AccountPoliciesDecide"
    Effect    = "Allow"
    Principal = { AWS = "arn:${var.partition}:iam::${var.account_id}:root" }
    # AWS's own default statement. Without it IAM policies have no effect on the key and losing its one administrator
    # loses the data. In a key policy the resource "*" means this key.
    Action   = "kms:*"
    Resource = "*"
  }

  # CloudWatch Logs encrypts as a service; the context ties it to the named log groups of this account.
  logs = {
    Sid       = "LogGroups"
    Effect    = "Allow"
    Principal = { Service = "logs.${var.region}.amazonaws.com" }
    Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"]
    Resource  = "*"
    Condition = {
      ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = [
        for name in var.log_groups : "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:${name}"
      ] }
    }
  }
}

resource "aws_kms_key" "this" {
  description             = var.description
  enable_key_rotation     = true
  deletion_window_in_days = 30 # the longest: a deleted key takes every run with it
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.administration], [for statement in [local.logs] : statement if length(var.log_groups) > 0])
  })
  tags = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}
