# Mail before the money is gone: one budget for the installation, and one for each MoAA that has nodes of its own.
# AWS computes costs a few times a day, so this is an alarm, not a brake.
locals {
  budgets = merge(
    { (var.name) = { usd = var.monthly_usd, tag = format("user:moaa:installation$%s", var.name) } },
    { for moaa, usd in var.monthly_usd_by_moaa : "${var.name}-${replace(moaa, "/", "-")}" => { usd = usd, tag = format("user:moaa:run$%s", moaa) } },
  )
}

resource "aws_budgets_budget" "this" {
  for_each     = local.budgets
  name         = each.key
  budget_type  = "COST"
  limit_amount = tostring(each.value.usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [each.value.tag]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }
    content {
      comparison_operator        = "GREATER_THAN"
      notification_type          = notification.key
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = var.emails
    }
  }

  tags = var.tags
}

# A tag counts in bills only once it is activated, which only the account that pays may do, and only after the tag has
# been seen on a resource for about a day; hence a switch, off at the first apply.
resource "aws_ce_cost_allocation_tag" "this" {
  for_each = toset(var.activate_cost_tags ? ["moaa:installation", "moaa:component", "moaa:run"] : [])
  tag_key  = each.value
  status   = "Active"
}
