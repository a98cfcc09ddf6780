output "chart_values" {
  value = module.moaa.chart_values
}

output "cluster_name" {
  value = module.moaa.cluster_name
}

output "repositories" {
  value = module.moaa.repositories
}
