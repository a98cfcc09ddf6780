locals {
  # AL2023 nodes read this besides what EKS adds itself.
  nvme_user_data = <<-EOT
    MIME-Version: 1.0
    Content-Type: multipart/mixed; boundary="BOUNDARY"

    --BOUNDARY
    Content-Type: application/node.eks.aws

    apiVersion: node.eks.aws/v1alpha1
    kind: NodeConfig
    spec:
      instance:
        localStorage:
          strategy: RAID0

    --BOUNDARY--
  EOT

  efa_groups = { for name, g in var.groups : name => g if g.efa_interfaces > 0 }
}

resource "aws_placement_group" "this" {
  for_each = { for name, g in var.groups : name => g if g.placement_group }
  name     = "${var.name}-${each.key}"
  strategy = "cluster"
  tags     = local.tags[each.key]
}

resource "aws_launch_template" "this" {
  for_each  = var.groups
  name      = "${var.name}-${each.key}"
  user_data = each.value.local_nvme ? base64encode(local.nvme_user_data) : null
  tags      = local.tags[each.key]

  # With EFA the groups belong to the interfaces below; naming them twice is refused.
  vpc_security_group_ids = each.value.efa_interfaces > 0 ? null : [var.cluster_security_group_id]
  instance_type          = each.value.capacity == "CapacityBlock" ? each.value.instance_types[0] : null

  # IMDSv2, one hop: a pod's packet dies on the way, so no pod can borrow the node's role.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = each.value.disk_gib
      throughput            = each.value.gpus > 0 ? 500 : 125 # MiB/s; images with CUDA are 10 GB and more
      encrypted             = true
      delete_on_termination = true
    }
  }

  # One interface for each network card. The first carries IP as well, the others only EFA and so take no address.
  dynamic "network_interfaces" {
    for_each = range(each.value.efa_interfaces)
    content {
      network_card_index    = network_interfaces.value
      device_index          = network_interfaces.value == 0 ? 0 : 1
      interface_type        = network_interfaces.value == 0 ? "efa" : "efa-only"
      security_groups       = [var.cluster_security_group_id, aws_security_group.efa[each.key].id]
      delete_on_termination = true
    }
  }

  dynamic "placement" {
    for_each = each.value.placement_group || each.value.placement_group_name != null ? [1] : []
    content {
      group_name = each.value.placement_group ? aws_placement_group.this[each.key].name : each.value.placement_group_name
    }
  }

  dynamic "capacity_reservation_specification" {
    for_each = each.value.reservation_id == null ? [] : [each.value.reservation_id]
    content {
      capacity_reservation_target {
        capacity_reservation_id = capacity_reservation_specification.value
      }
    }
  }

  dynamic "instance_market_options" {
    for_each = each.value.capacity == "CapacityBlock" ? [1] : []
    content {
      market_type = "capacity-block"
    }
  }

  # Tags of a node group do not reach its machines; these do, and the bill is made of them.
  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]
    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags[each.key], { Name = "${var.name}-${each.key}" })
    }
  }
}

# EFA bypasses IP; AWS lets it through only where one security group allows itself everything, in and out.
resource "aws_security_group" "efa" {
  for_each    = local.efa_groups
  name        = "${var.name}-${each.key}-efa"
  description = "EFA traffic among the nodes of ${each.key}"
  vpc_id      = var.vpc_id
  tags        = local.tags[each.key]
}

resource "aws_vpc_security_group_ingress_rule" "efa" {
  for_each                     = local.efa_groups
  security_group_id            = aws_security_group.efa[each.key].id
  referenced_security_group_id = aws_security_group.efa[each.key].id
  ip_protocol                  = "-1"
  description                  = "among these nodes"
  tags                         = local.tags[each.key]
}

resource "aws_vpc_security_group_egress_rule" "efa" {
  for_each                     = local.efa_groups
  security_group_id            = aws_security_group.efa[each.key].id
  referenced_security_group_id = aws_security_group.efa[each.key].id
  ip_protocol                  = "-1"
  description                  = "among these nodes"
  tags                         = local.tags[each.key]
}
