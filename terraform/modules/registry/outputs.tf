output "repositories" {
  description = "Address of every image without tag, by name."
  value       = { for image, repository in aws_ecr_repository.this : image => repository.repository_url }
}

output "pulls_through" {
  description = "Prefixes under which ECR fetches images from elsewhere."
  value       = [for rule in aws_ecr_pull_through_cache_rule.docker_hub : rule.ecr_repository_prefix]
}
