# Jobs and Ray workers of one namespace: its prefix of the store, and the shared prefixes to read.
# A trailing "*" in a resource is a key prefix; prefixes are checked to hold no wildcard themselves.
locals {
  prefix_arns = { for ns, n in var.namespaces : ns => "${local.bucket_arn}/${n.prefix}" }
  shared_arns = [for prefix in var.shared_read_prefixes : "${local.bucket_arn}/${prefix}/*"]

  # Arrow, by which Ray Train writes checkpoints, puts an empty folder object for every parent of a folder it makes:
  # for prefix team/a the keys "team/" and "team/a/". Seen in its requests (pyarrow 26).
  folder_markers = { for ns, n in var.namespaces : ns => [
    for i in range(length(split("/", n.prefix))) :
    "${local.bucket_arn}/${join("/", slice(split("/", n.prefix), 0, i + 1))}/"
  ] }

  jobs = { for ns, n in var.namespaces : ns => [
    {
      Sid      = "ListOwnAndShared"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = local.bucket_arn
      Condition = { StringLike = {
        "s3:prefix" = [for prefix in concat([n.prefix], var.shared_read_prefixes) : "${prefix}/*"]
      } }
    },
    {
      # HeadBucket, which Arrow asks first; and S3 answers "not found" for a missing key only to who may list, else
      # "forbidden", and then no stage could learn that it has not run. The price: key names, never contents, of the
      # whole bucket can be listed by leaving the prefix out. Tenants whose names are secret need their own bucket.
      Sid       = "TellMissingFromForbidden"
      Effect    = "Allow"
      Action    = "s3:ListBucket"
      Resource  = local.bucket_arn
      Condition = { Null = { "s3:prefix" = "true" } }
    },
    {
      Sid      = "Read"
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = concat([for part in ["stages", "runs", "preflight"] : "${local.prefix_arns[ns]}/${part}/*"], local.shared_arns)
    },
    {
      # Multipart uploads are PutObject too; a failed one is aborted, a broken one looked at.
      Sid      = "Write"
      Effect   = "Allow"
      Action   = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
      Resource = [for part in ["stages", "runs", "preflight"] : "${local.prefix_arns[ns]}/${part}/*"]
    },
    {
      Sid      = "FolderMarkers"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = local.folder_markers[ns]
    },
    {
      # Compacted ledger segments, checkpoints that newer ones replace, the preflight's probe. Nothing else is ever
      # deleted: not manifests, not outputs. Versions stay (no DeleteObjectVersion), so it can be undone.
      Sid    = "RemoveScratch"
      Effect = "Allow"
      Action = "s3:DeleteObject"
      Resource = [
        for part in ["stages/*/ledger/*", "stages/*/checkpoints/*", "preflight/*"] : "${local.prefix_arns[ns]}/${part}"
      ]
    },
    {
      Sid       = "EncryptAndDecryptThroughS3"
      Effect    = "Allow"
      Action    = ["kms:GenerateDataKey", "kms:Decrypt"] # Decrypt also to complete uploads in parts
      Resource  = var.key_arn
      Condition = local.key_only_through_s3
    },
  ] }
}
