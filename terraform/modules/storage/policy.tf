# The bucket's policy only denies: rights are granted by the roles in ../identity. "*" as principal or action therefore
# takes away from everybody, account administrators included, and gives nothing to anybody.
locals {
  all = [local.bucket_arn, "${local.bucket_arn}/*"]

  # Keys that the store only ever creates (put-if-absent): manifests, fencing tokens, shards, ledger segments. A
  # writer that forgot `If-None-Match` would replace what others rely on; S3 refuses it, whatever the code does.
  created_once = [for key in ["manifest.json", "attempts/*", "shards/*", "ledger/*"] : "${local.bucket_arn}/*/stages/*/${key}"]

  statements = [
    {
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = local.all
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    },
    {
      Sid       = "Tls12OrLater"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = local.all
      Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
    },
    {
      # AWS services that act for us (none does today) are not principals of an account.
      Sid       = "ThisAccountOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = local.all
      Condition = {
        StringNotEquals = { "aws:PrincipalAccount" = var.account_id }
        Bool            = { "aws:PrincipalIsAWSService" = "false" }
      }
    },
    {
      # Without the header the bucket's default applies. Null is needed because StringNotEquals is true for a missing key.
      Sid       = "NoOtherEncryption"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutObject"
      Resource  = "${local.bucket_arn}/*"
      Condition = {
        StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
        Null            = { "s3:x-amz-server-side-encryption" = "false" }
      }
    },
    {
      Sid       = "NoOtherKey"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutObject"
      Resource  = "${local.bucket_arn}/*"
      Condition = {
        StringNotEquals = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = var.key_arn }
        Null            = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" }
      }
    },
    {
      # ObjectCreationOperation exempts the start and the parts of an upload, which cannot carry the header.
      Sid       = "NeverReplaced"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutObject"
      Resource  = local.created_once
      Condition = {
        Null = { "s3:if-none-match" = "true" }
        Bool = { "s3:ObjectCreationOperation" = "true" }
      }
    },
  ]
}

resource "aws_s3_bucket_policy" "this" {
  bucket     = aws_s3_bucket.this.id
  policy     = jsonencode({ Version = "2012-10-17", Statement = local.statements })
  depends_on = [aws_s3_bucket_public_access_block.this] # two changes of one bucket at once are refused with 409
}
