output "names" {
  value = sort(keys(aws_budgets_budget.this))
}
