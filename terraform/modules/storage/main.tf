# The bucket of the store: private, versioned, encrypted with our key. Every rule that deletes anything is in
# lifecycle.tf; who may do what is in policy.tf and, for each component, in ../identity.
locals {
  # Written out and not taken from the resource, so that policies are known, and can be checked, before anything exists.
  bucket_arn = "arn:${var.partition}:s3:::${var.bucket_name}"
}

# No force_destroy: a bucket that holds runs cannot be destroyed by `terraform destroy`. The tag makes the bucket depend on
# its key: else a destroy that rightly stops at the bucket would have given the key up for deletion, and every run with it.
resource "aws_s3_bucket" "this" {
  bucket        = var.bucket_name
  force_destroy = false
  tags          = merge(var.tags, { "moaa:key" = var.key_arn })
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# ACLs off: the policies are the only grants there are.
resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# A deleted or replaced object can be brought back for `noncurrent_days`.
resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    bucket_key_enabled = true # one KMS request for many objects: ledgers are many small ones
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.key_arn
    }
  }
}
