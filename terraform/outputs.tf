# `terraform output -raw chart_values > values.yaml` is everything the chart must know about this installation.
locals {
  # Docker Hub's images have no host in front. With a cache of it, they come from there.
  is_cached  = length(module.registry.pulls_through) > 0 && !can(regex("^[^/]*[.:][^/]*/", var.vllm_image))
  registry   = split("/", module.registry.repositories["jobs"])[0]
  vllm_image = local.is_cached ? "${local.registry}/${module.registry.pulls_through[0]}/${var.vllm_image}" : var.vllm_image

  training_gpus = distinct([for g in module.node_groups.scheduling : g.gpus if g.role == "training"])
}

output "chart_values" {
  description = "Values of the Helm chart, YAML. settings.trainingWorkersPerPod only where all training nodes have the same number of GPUs; else it is yours to set."
  value = yamlencode({
    region = var.region
    images = merge(
      { for image, repository in module.registry.repositories : image => { repository = repository } },
      { vllm = { repository = local.vllm_image } },
    )
    # A pod of workers fills a machine, so that they share its NVLink. Machines of different sizes have no such number.
    settings = { for gpus in local.training_gpus : "trainingWorkersPerPod" => gpus if length(local.training_gpus) == 1 }
    runNamespaces = [for ns, n in var.run_namespaces : {
      name                      = ns
      create                    = n.create
      storageUri                = "s3://${var.bucket_name}/${n.prefix}"
      serviceAccountName        = n.service_account
      servingServiceAccountName = n.serving_service_account
    }]
    weightsUri = "s3://${var.bucket_name}/${var.weights_prefix}"
    # What pods of a role need to land on its shared nodes: one selector and the union of tolerations.
    scheduling = { for role in ["system", "inference", "training"] : role => {
      nodeSelector = { "moaa.dev/role" = role }
      tolerations  = distinct(flatten([for g in module.node_groups.scheduling : g.tolerations if g.role == role && g.moaa == null]))
    } }
    # Nodes that belong to one MoAA: its pods need this instead.
    dedicated = [for name, g in module.node_groups.scheduling : {
      namespace = split("/", g.moaa)[0], moaa = split("/", g.moaa)[1], role = g.role, nodeGroup = name, nodeSelector = g.nodeSelector, tolerations = g.tolerations
    } if g.moaa != null]
    nodeGroups = [for name, g in module.node_groups.scheduling : {
      name = name, role = g.role, gpus = g.gpus, efaInterfaces = g.efaInterfaces, spot = g.spot
    }]
  })
}

output "cluster_name" {
  value = module.cluster.name
}

output "cluster_endpoint" {
  value = module.cluster.endpoint
}

output "bucket_name" {
  value = module.storage.bucket_name
}

output "repositories" {
  description = "Where to push images, by name."
  value       = module.registry.repositories
}

output "role_arns" {
  description = "Roles of service accounts, by <namespace>/<component>."
  value       = module.identity.role_arns
}

output "budgets" {
  value = module.budget.names
}
