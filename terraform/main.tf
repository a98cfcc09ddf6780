# One installation of MoAA in one region: network, cluster, nodes, store, identities, images, budget. What a variable
# may be is checked by the module that uses it. No Helm or Kubernetes provider: they need a cluster before they can plan.
data "aws_caller_identity" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id

  # Names are fixed here because keys and policies name log groups before they exist.
  control_plane_logs = "/aws/eks/${var.name}/cluster" # EKS's choice
  flow_logs          = "/moaa/${var.name}/flow"

  # `moaa:run` is set to a MoAA's name on nodes that are its own; everything else is shared.
  tags = merge(var.tags, {
    "moaa:installation" = var.name
    "moaa:run"          = "shared"
  })
  component_tags = { for component in ["network", "cluster", "storage", "identity", "registry", "budget"] :
  component => merge(local.tags, { "moaa:component" = component }) }
}

module "storage_key" {
  source      = "./modules/key"
  name        = "${var.name}-store"
  description = "Objects in ${var.bucket_name}"
  region      = var.region
  partition   = var.partition
  account_id  = local.account_id
  tags        = local.component_tags.storage
}

module "secrets_key" {
  source      = "./modules/key"
  name        = "${var.name}-secrets"
  description = "Kubernetes Secrets of ${var.name}"
  region      = var.region
  partition   = var.partition
  account_id  = local.account_id
  tags        = local.component_tags.cluster
}

module "logs_key" {
  source      = "./modules/key"
  name        = "${var.name}-logs"
  description = "Log groups of ${var.name}"
  region      = var.region
  partition   = var.partition
  account_id  = local.account_id
  log_groups  = [local.control_plane_logs, local.flow_logs]
  tags        = local.component_tags.cluster
}

module "network" {
  source              = "./modules/network"
  name                = var.name
  region              = var.region
  partition           = var.partition
  account_id          = local.account_id
  vpc_cidr            = var.vpc_cidr
  zones               = var.zones
  private_cidrs       = var.private_cidrs
  public_cidrs        = var.public_cidrs
  nat                 = var.nat
  interface_endpoints = var.interface_endpoints
  flow_log_group      = local.flow_logs
  log_retention_days  = var.log_retention_days
  log_key_arn         = module.logs_key.arn
  tags                = local.component_tags.network
}

module "cluster" {
  source                = "./modules/cluster"
  name                  = var.name
  partition             = var.partition
  account_id            = local.account_id
  kubernetes_version    = var.kubernetes_version
  support               = var.support
  ebs                   = var.ebs
  subnet_ids            = values(module.network.private_subnet_ids)
  vpc_cidr              = var.vpc_cidr
  service_cidr          = var.service_cidr
  public_endpoint_cidrs = var.public_endpoint_cidrs
  admin_principal_arns  = var.admin_principal_arns
  secrets_key_arn       = module.secrets_key.arn
  log_group             = local.control_plane_logs
  log_key_arn           = module.logs_key.arn
  log_retention_days    = var.log_retention_days
  tags                  = local.component_tags.cluster
}

module "node_groups" {
  source                    = "./modules/node-groups"
  name                      = var.name
  partition                 = var.partition
  region                    = var.region
  account_id                = local.account_id
  cluster_name              = module.cluster.name_for_nodes
  kubernetes_version        = module.cluster.version
  pulls_through             = module.registry.pulls_through
  cluster_security_group_id = module.cluster.security_group_id
  vpc_id                    = module.network.vpc_id
  subnet_ids                = module.network.private_subnet_ids
  groups                    = var.node_groups
  tags                      = local.tags # the component is the group's role
}

module "storage" {
  source            = "./modules/storage"
  bucket_name       = var.bucket_name
  partition         = var.partition
  account_id        = local.account_id
  key_arn           = module.storage_key.arn
  abort_upload_days = var.abort_upload_days
  noncurrent_days   = var.noncurrent_days
  tagged_days       = var.tagged_days
  tags              = local.component_tags.storage
}

module "identity" {
  source         = "./modules/identity"
  name           = var.name
  region         = var.region
  partition      = var.partition
  account_id     = local.account_id
  cluster_name   = module.cluster.name
  bucket_name    = module.storage.bucket_name
  key_arn        = module.storage_key.arn
  namespaces     = var.run_namespaces
  weights_prefix = var.weights_prefix
  # Weights are read by jobs too: the student's tokenizer and base weights in training.
  shared_read_prefixes = distinct(concat([var.weights_prefix], var.data_prefixes))
  tags                 = local.component_tags.identity
}

module "registry" {
  source                = "./modules/registry"
  name                  = var.name
  images                = var.images
  docker_hub_secret_arn = var.docker_hub_secret_arn
  tags                  = local.component_tags.registry
}

module "budget" {
  source              = "./modules/budget"
  name                = var.name
  monthly_usd         = var.monthly_usd
  monthly_usd_by_moaa = var.monthly_usd_by_moaa
  emails              = var.budget_emails
  activate_cost_tags  = var.activate_cost_tags
  tags                = local.component_tags.budget
}
