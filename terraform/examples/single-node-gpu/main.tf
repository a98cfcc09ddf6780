# The smallest installation that runs a whole loop (examples/first.yaml): one system node, which has to hold a Ray head of
# 2 CPUs and 8 GiB beside the operator, and one GPU node at a time. Servers leave before training starts, so of the two
# GPU groups only one has a node; both are at zero when nothing runs.
module "moaa" {
  source = "../.."

  name        = "moaa-small"
  region      = var.region
  zones       = ["${var.region}a", "${var.region}b"] # EKS refuses fewer
  nat         = "Single"
  bucket_name = var.bucket_name

  admin_principal_arns  = var.admin_principal_arns
  public_endpoint_cidrs = var.office_cidrs

  node_groups = {
    system    = { role = "System", instance_types = ["m7i.xlarge"], min_nodes = 1, max_nodes = 2 }
    inference = { role = "Inference", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1, disk_gib = 500 }
    training  = { role = "Training", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1, disk_gib = 500 }
  }

  run_namespaces = { moaa = { prefix = "moaa" } }

  monthly_usd   = 500
  budget_emails = var.budget_emails
}
