# Outputs wait for the policy: nothing is written before what protects it is there.
output "bucket_name" {
  value      = var.bucket_name
  depends_on = [aws_s3_bucket_policy.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

output "bucket_arn" {
  value = local.bucket_arn
}
