output "vpc_id" {
  value = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnet of every zone, by zone."
  value       = { for zone, subnet in aws_subnet.private : zone => subnet.id }
}

output "private_cidrs" {
  value = local.private
}

output "public_cidrs" {
  value = local.public
}
