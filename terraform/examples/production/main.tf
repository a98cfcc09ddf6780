# Three zones, a NAT gateway in each, two teams that cannot reach each other's runs, and 8-GPU nodes with EFA for
# training: bought ahead as a capacity block when its id is given, else on demand in a placement group. EFA is used only
# with an image for training that holds its libraries; ours does not (docs/install.md, "EFA").
locals {
  zones = [for letter in ["a", "b", "c"] : "${var.region}${letter}"]

  training = {
    role           = "Training"
    instance_types = ["p5.48xlarge"]
    gpus           = 8
    max_nodes      = 8
    efa_interfaces = 32
    zone           = coalesce(var.training_zone, local.zones[0])
    local_nvme     = true # ZeRO offload and checkpoints on their way
    disk_gib       = 300

    capacity        = var.capacity_block_id == null ? "OnDemand" : "CapacityBlock"
    reservation_id  = var.capacity_block_id
    placement_group = var.capacity_block_id == null
  }
}

module "moaa" {
  source = "../.."

  name        = "moaa-prod"
  region      = var.region
  zones       = local.zones
  nat         = "PerZone"
  bucket_name = var.bucket_name

  admin_principal_arns  = var.admin_principal_arns
  public_endpoint_cidrs = var.office_cidrs
  log_retention_days    = 365
  noncurrent_days       = 90

  node_groups = {
    system    = { role = "System", instance_types = ["m7i.xlarge"], min_nodes = 2, max_nodes = 4 }
    inference = { role = "Inference", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 6, local_nvme = true, disk_gib = 300 }
    training  = local.training
    # All servers of the MoAA llama-8b (examples/paper-llama-8b.yaml) and nobody else's, so that its cost stands alone on
    # the bill. It needs 31 GPUs at once (docs/capacity.md), four machines when its seven servers are packed. They would
    # rather be, but nothing forces the scheduler, so there may be one for each. Its training takes the shared nodes.
    llama-8b = { role = "Inference", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 7, local_nvme = true, disk_gib = 300, moaa = "alignment/llama-8b" }
  }

  run_namespaces = {
    alignment = { prefix = "alignment" }
    research  = { prefix = "teams/research" }
  }

  monthly_usd         = 200000
  monthly_usd_by_moaa = { "alignment/llama-8b" = 40000 }
  budget_emails       = var.budget_emails
}
