output "role_arns" {
  description = "By <namespace>/<component>."
  value       = { for key, role in aws_iam_role.this : key => role.arn }
}
