# What is removed without anybody asking. A run may be suspended for months and must find everything again, so age alone
# never deletes a current object: there is no expiration without a tag, and jobs have no right to set tags.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket     = aws_s3_bucket.this.id
  depends_on = [aws_s3_bucket_versioning.this] # rules on old versions need versions

  # Parts of uploads whose process was killed: invisible, but they cost. No job goes on with another's upload.
  rule {
    id     = "aborted-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = var.abort_upload_days
    }
  }

  # Compacted ledger segments, removed checkpoints, replaced iteration records. The current version always stays.
  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }
  }

  # Markers behind which no version is left.
  rule {
    id     = "empty-delete-markers"
    status = "Enabled"
    filter {}
    expiration {
      expired_object_delete_marker = true
    }
  }

  # Set by a person or a cleaner, and only on objects of a stage whose manifest exists and does not name them.
  rule {
    id     = "tagged-after-manifest"
    status = "Enabled"
    filter {
      tag {
        key   = var.expiry_tag.key
        value = var.expiry_tag.value
      }
    }
    expiration {
      days = var.tagged_days
    }
  }
}
