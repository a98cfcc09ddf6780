# The bucket: closed, encrypted, versioned; its policy statement by statement; what may ever be deleted.
mock_provider "aws" {}

variables {
  bucket_name = "example-moaa-store"
  account_id  = "111122223333"
  key_arn     = "arn:aws:kms:eu-west-1:111122223333:key/store"
}

run "bucket_is_closed_encrypted_and_versioned" {
  command = plan
  module { source = "./modules/storage" }
  assert {
    condition = (aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy &&
    aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets)
    error_message = "the bucket is open to the public"
  }
  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs must be off"
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "versions are not kept"
  }
  assert {
    condition = alltrue([for rule in aws_s3_bucket_server_side_encryption_configuration.this.rule : rule.bucket_key_enabled &&
    rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms" && rule.apply_server_side_encryption_by_default[0].kms_master_key_id == var.key_arn])
    error_message = "objects must be encrypted with our key"
  }
  assert {
    condition     = aws_s3_bucket.this.force_destroy == false
    error_message = "terraform destroy would delete every run"
  }
  assert {
    condition     = lookup(aws_s3_bucket.this.tags, "moaa:key", "") == var.key_arn
    error_message = "without a reference from the bucket, terraform destroy deletes the key of a bucket that it has to keep"
  }
}

run "policy_denies_and_grants_nothing" {
  command = plan
  module { source = "./modules/storage" }
  assert {
    condition     = alltrue([for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s.Effect == "Deny" && s.Principal == "*" && length(s.Condition) > 0])
    error_message = "a bucket policy that allows anything is a second place where rights are granted"
  }
  assert {
    condition     = [for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s.Sid] == ["TlsOnly", "Tls12OrLater", "ThisAccountOnly", "NoOtherEncryption", "NoOtherKey", "NeverReplaced"]
    error_message = "a statement came or went; check it below"
  }
}

run "policy_is_the_one_that_is_simulated" {
  command = plan
  module { source = "./modules/storage" }
  assert {
    condition     = aws_s3_bucket_policy.this.policy == jsonencode(jsondecode(file("tests/rendered/bucket.json")))
    error_message = "tests/rendered/bucket.json is not what is rendered: ${aws_s3_bucket_policy.this.policy}"
  }
}

run "nothing_current_expires_without_its_tag" {
  command = apply # what a rule leaves out is known only then
  module { source = "./modules/storage" }
  assert {
    # A rule may delete current objects only where it is filtered by a tag with a key and a value.
    condition = alltrue(flatten([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : [for e in rule.expiration :
      e.expired_object_delete_marker == true || try(length(rule.filter[0].tag[0].key) > 0 && length(rule.filter[0].tag[0].value) > 0, false)
    ]]))
    error_message = "a lifecycle rule deletes current objects by age: suspended runs would lose their stages"
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : length(rule.transition) == 0 && length(rule.noncurrent_version_transition) == 0])
    error_message = "objects in archive classes cannot be read when a run goes on"
  }
  assert {
    condition = { for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.id => rule.status } == {
      aborted-uploads = "Enabled", old-versions = "Enabled", empty-delete-markers = "Enabled", tagged-after-manifest = "Enabled"
    }
    error_message = "rules: ${jsonencode([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.id])}"
  }
  assert {
    condition = (aws_s3_bucket_lifecycle_configuration.this.rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 7 &&
      aws_s3_bucket_lifecycle_configuration.this.rule[1].noncurrent_version_expiration[0].noncurrent_days == 30 &&
    aws_s3_bucket_lifecycle_configuration.this.rule[3].expiration[0].days == 7)
    error_message = "days differ from the variables' defaults"
  }
}

run "refuses_a_missing_key" {
  command = plan
  module { source = "./modules/storage" }
  variables { key_arn = "" }
  expect_failures = [var.key_arn]
}

run "refuses_an_alias_of_aws_as_key" {
  command = plan
  module { source = "./modules/storage" }
  variables { key_arn = "alias/aws/s3" }
  expect_failures = [var.key_arn]
}

run "refuses_a_dot_in_the_bucket_name" {
  command = plan
  module { source = "./modules/storage" }
  variables { bucket_name = "example.moaa" }
  expect_failures = [var.bucket_name]
}

run "refuses_a_wrong_account" {
  command = plan
  module { source = "./modules/storage" }
  variables { account_id = "*" }
  expect_failures = [var.account_id]
}

run "refuses_to_abort_uploads_of_today" {
  command = plan
  module { source = "./modules/storage" }
  variables { abort_upload_days = 1 }
  expect_failures = [var.abort_upload_days]
}

run "refuses_to_forget_versions_within_a_week" {
  command = plan
  module { source = "./modules/storage" }
  variables { noncurrent_days = 1 }
  expect_failures = [var.noncurrent_days]
}

run "refuses_zero_tagged_days" {
  command = plan
  module { source = "./modules/storage" }
  variables { tagged_days = 0 }
  expect_failures = [var.tagged_days]
}

run "refuses_an_empty_expiry_tag" {
  command = plan
  module { source = "./modules/storage" }
  variables { expiry_tag = { key = "", value = "" } }
  expect_failures = [var.expiry_tag]
}
