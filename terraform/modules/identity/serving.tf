# Model servers of one namespace: read weights that were put there, and students that finished stages made. No write.
locals {
  serving = { for ns, n in var.namespaces : ns => [
    {
      Sid       = "ListWeightsAndStages"
      Effect    = "Allow"
      Action    = "s3:ListBucket"
      Resource  = local.bucket_arn
      Condition = { StringLike = { "s3:prefix" = ["${var.weights_prefix}/*", "${n.prefix}/stages/*"] } }
    },
    {
      # As for jobs: without it a missing object looks like a forbidden one.
      Sid       = "TellMissingFromForbidden"
      Effect    = "Allow"
      Action    = "s3:ListBucket"
      Resource  = local.bucket_arn
      Condition = { Null = { "s3:prefix" = "true" } }
    },
    {
      Sid    = "Read"
      Effect = "Allow"
      Action = "s3:GetObject"
      Resource = [
        "${local.bucket_arn}/${var.weights_prefix}/*",
        "${local.prefix_arns[ns]}/stages/*/out/*",
        "${local.prefix_arns[ns]}/stages/*/manifest.json", # names a student's files and their checksums
      ]
    },
    {
      Sid       = "DecryptThroughS3"
      Effect    = "Allow"
      Action    = "kms:Decrypt"
      Resource  = var.key_arn
      Condition = local.key_only_through_s3
    },
  ] }
}
