# Model servers on spot machines, at a third of the price or less: a call that an interruption loses is sent again,
# what was answered is in the ledger. Several types that the same pods fit on (4 GPUs of 24 or 48 GB each) make
# capacity likely. Training stays on demand: there an interruption costs all work since the last checkpoint.
module "moaa" {
  source = "../.."

  name        = "moaa-spot"
  region      = var.region
  zones       = [for letter in ["a", "b", "c"] : "${var.region}${letter}"]
  nat         = "Single"
  bucket_name = var.bucket_name

  admin_principal_arns  = var.admin_principal_arns
  public_endpoint_cidrs = var.office_cidrs

  node_groups = {
    system = { role = "System", instance_types = ["m7i.xlarge"], min_nodes = 1, max_nodes = 3 }
    inference = {
      role           = "Inference"
      capacity       = "Spot"
      instance_types = ["g6.12xlarge", "g5.12xlarge", "g6e.12xlarge"]
      gpus           = 4
      max_nodes      = 8
      disk_gib       = 500
    }
    training = { role = "Training", instance_types = ["g6e.12xlarge"], gpus = 4, max_nodes = 1, disk_gib = 500 }
  }

  run_namespaces = { moaa = { prefix = "moaa" } }

  monthly_usd   = 5000
  budget_emails = var.budget_emails
}
