output "repositories" {
  description = "Address of every image without tag, by name."
  value       = { for image, repository in aws_ecr_repository.this : image => repository.repository_url }
}
