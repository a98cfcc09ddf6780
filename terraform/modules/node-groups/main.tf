# Managed node groups from one map: system, inference, training. Each has a launch template; what a group's capacity,
# network and disks need is decided in launch-template.tf.
locals {
  capacity_types = { OnDemand = "ON_DEMAND", Reservation = "ON_DEMAND", Spot = "SPOT", CapacityBlock = "CAPACITY_BLOCK" }

  labels = { for name, g in var.groups : name => merge(
    { "moaa.dev/role" = lower(g.role), "moaa.dev/node-group" = name },
    # By this label the autoscaler knows that a node which is Ready, but whose device plugin has not announced its GPUs
    # yet, is not finished. Without it, it takes the node for one without GPUs and starts another, at every scale-up. The
    # value only splits limits by type (--gpu-total). Of a group without nodes it learns labels from eks:DescribeNodegroup.
    g.gpus == 0 ? {} : { "k8s.amazonaws.com/accelerator" = "nvidia" },
    g.moaa == null ? {} : { "moaa.dev/only" = replace(g.moaa, "/", ".") },
  ) }

  # GPU nodes take only pods that ask for them: role keeps servers off training nodes, `only` other MoAAs.
  taints = { for name, g in var.groups : name => merge(
    g.gpus == 0 ? {} : { "nvidia.com/gpu" = "present" },
    g.role == "System" ? {} : { "moaa.dev/role" = lower(g.role) },
    g.moaa == null ? {} : { "moaa.dev/only" = replace(g.moaa, "/", ".") },
  ) }

  # `moaa:run` is what splits the bill. Nodes several MoAAs share say so; their split is by pod (see README).
  tags = { for name, g in var.groups : name => merge(var.tags, {
    "moaa:component" = lower(g.role)
    "moaa:run"       = coalesce(g.moaa, "shared")
  }) }
}

resource "aws_eks_node_group" "this" {
  for_each        = var.groups
  cluster_name    = var.cluster_name
  node_group_name = each.key
  node_role_arn   = aws_iam_role.node.arn
  # Without it a group stays at the version it was made with, until the control plane is too far ahead.
  version       = var.kubernetes_version
  subnet_ids    = each.value.zone == null ? values(var.subnet_ids) : [var.subnet_ids[each.value.zone]]
  ami_type      = each.value.gpus > 0 ? "AL2023_x86_64_NVIDIA" : "AL2023_x86_64_STANDARD"
  capacity_type = local.capacity_types[each.value.capacity]
  # EKS wants the type of a capacity block in the launch template, and nowhere twice.
  instance_types = each.value.capacity == "CapacityBlock" ? null : each.value.instance_types

  launch_template {
    id      = aws_launch_template.this[each.key].id
    version = aws_launch_template.this[each.key].latest_version
  }

  scaling_config {
    min_size     = each.value.min_nodes
    desired_size = each.value.min_nodes
    max_size     = each.value.max_nodes
  }

  update_config {
    max_unavailable = 1
  }

  # A node whose kubelet is gone while its machine passes EC2's checks would keep its pods for ever: Kubernetes takes
  # nobody's word that they have ended, and the scaling group sees a healthy instance. EKS replaces such a node.
  node_repair_config {
    enabled = true
  }

  labels = local.labels[each.key]

  dynamic "taint" {
    for_each = local.taints[each.key]
    content {
      key    = taint.key
      value  = taint.value
      effect = "NO_SCHEDULE"
    }
  }

  tags       = local.tags[each.key]
  depends_on = [aws_iam_role_policy_attachment.node]

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # the autoscaler's
  }
}

# What the autoscaler cannot learn about a group with no node in it: resources that device plugins announce.
locals {
  scale_from_zero = merge(flatten([for name, g in var.groups : [
    g.gpus == 0 ? {} : { "${name}/nvidia.com/gpu" = { group = name, resource = "nvidia.com/gpu", count = g.gpus } },
    g.efa_interfaces == 0 ? {} : { "${name}/vpc.amazonaws.com/efa" = { group = name, resource = "vpc.amazonaws.com/efa", count = g.efa_interfaces } },
  ]])...)
}

resource "aws_autoscaling_group_tag" "scale_from_zero" {
  for_each               = local.scale_from_zero
  autoscaling_group_name = aws_eks_node_group.this[each.value.group].resources[0].autoscaling_groups[0].name
  tag {
    key                 = "k8s.io/cluster-autoscaler/node-template/resources/${each.value.resource}"
    value               = tostring(each.value.count)
    propagate_at_launch = false
  }
}
