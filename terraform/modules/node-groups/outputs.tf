output "scheduling" {
  description = "For the chart, by group: what a pod needs to land there."
  value = { for name, g in var.groups : name => {
    role         = lower(g.role)
    moaa         = g.moaa
    nodeSelector = { for key, value in local.labels[name] : key => value if contains(["moaa.dev/role", "moaa.dev/only"], key) }
    tolerations = [for key, value in local.taints[name] : {
      key = key, operator = "Equal", value = value, effect = "NoSchedule"
    }]
    gpus          = g.gpus
    efaInterfaces = g.efa_interfaces
    spot          = g.capacity == "Spot"
  } }
}
