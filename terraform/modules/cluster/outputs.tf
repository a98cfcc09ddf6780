output "name" {
  value = aws_eks_cluster.this.name
}

output "name_for_nodes" {
  description = "The name, known once nodes can become Ready."
  value       = aws_eks_cluster.this.name
  depends_on  = [aws_eks_addon.vpc_cni]
}

output "version" {
  description = "Of the control plane; nodes have the same."
  value       = aws_eks_cluster.this.version
}

output "endpoint" {
  value = aws_eks_cluster.this.endpoint
}

output "security_group_id" {
  description = "The group EKS gives to control plane and nodes."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}
