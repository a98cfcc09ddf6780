# Every kind of capacity, and every combination that AWS or a run would choke on.
mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
}

variables {
  name                      = "test"
  region                    = "eu-west-1"
  account_id                = "111122223333"
  cluster_name              = "test"
  kubernetes_version        = "1.35"
  vpc_id                    = "vpc-1"
  cluster_security_group_id = "sg-cluster"
  subnet_ids                = { eu-west-1a = "subnet-a", eu-west-1b = "subnet-b" }
  tags                      = { "moaa:installation" = "test", "moaa:run" = "shared" }
  system                    = { role = "System", instance_types = ["m7i.large"], min_nodes = 1, max_nodes = 2 }
  groups                    = { system = { role = "System", instance_types = ["m7i.large"], min_nodes = 1, max_nodes = 2 } }
}

run "system_runs_on_demand_and_takes_every_pod" {
  command = plan
  module { source = "./modules/node-groups" }
  assert {
    condition     = aws_eks_node_group.this["system"].capacity_type == "ON_DEMAND" && aws_eks_node_group.this["system"].ami_type == "AL2023_x86_64_STANDARD"
    error_message = "system nodes"
  }
  assert {
    condition     = [for r in aws_eks_node_group.this["system"].node_repair_config : r.enabled] == [true]
    error_message = "a node that is not Ready while its machine runs would keep its pods for ever"
  }
  assert {
    condition     = length(aws_eks_node_group.this["system"].taint) == 0 && aws_eks_node_group.this["system"].labels == tomap({ "moaa.dev/role" = "system", "moaa.dev/node-group" = "system" })
    error_message = "CoreDNS has no tolerations of ours; system nodes must have no taint"
  }
  assert {
    condition = ([for m in aws_launch_template.this["system"].metadata_options : [m.http_tokens, m.http_put_response_hop_limit]] == [["required", 1]] &&
    aws_launch_template.this["system"].block_device_mappings[0].ebs[0].encrypted == "true")
    error_message = "IMDSv2 with one hop and encrypted disks are for every node"
  }
  assert {
    condition     = aws_eks_node_group.this["system"].version == "1.35"
    error_message = "nodes that do not follow the control plane are left behind by it"
  }
  assert {
    condition     = length(aws_iam_role_policy.pull_through) == 0
    error_message = "without a cache of images a node may pull, nothing else"
  }
  assert {
    condition     = toset([for a in aws_iam_role_policy_attachment.node : a.policy_arn]) == toset(["arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy", "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"])
    error_message = "a node may join and pull, nothing else"
  }
  assert {
    condition     = jsondecode(aws_iam_role.node.assume_role_policy).Statement[0].Principal == { Service = "ec2.amazonaws.com" } && length(jsondecode(aws_iam_role.node.assume_role_policy).Statement) == 1
    error_message = "only EC2 takes the node's role"
  }
}

run "nodes_may_fill_the_named_caches_of_images" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { pulls_through = ["test/docker-hub"] }
  assert {
    condition = jsonencode(jsondecode(aws_iam_role_policy.pull_through[0].policy).Statement) == jsonencode([{
      Sid      = "PullThrough", Effect = "Allow", Action = ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"]
      Resource = ["arn:aws:ecr:eu-west-1:111122223333:repository/test/docker-hub/*"]
    }])
    error_message = aws_iam_role_policy.pull_through[0].policy
  }
}

run "inference_on_spot" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, serve = { role = "Inference", capacity = "Spot", instance_types = ["g6.12xlarge", "g5.12xlarge"], gpus = 4, max_nodes = 8 } } }
  assert {
    condition     = aws_eks_node_group.this["serve"].capacity_type == "SPOT" && length(aws_eks_node_group.this["serve"].instance_types) == 2 && aws_eks_node_group.this["serve"].ami_type == "AL2023_x86_64_NVIDIA"
    error_message = "spot"
  }
  assert {
    condition     = aws_eks_node_group.this["serve"].scaling_config[0].min_size == 0 && aws_eks_node_group.this["serve"].scaling_config[0].desired_size == 0
    error_message = "idle inference must cost nothing"
  }
  assert {
    condition     = { for t in aws_eks_node_group.this["serve"].taint : t.key => "${t.value}:${t.effect}" } == { "nvidia.com/gpu" = "present:NO_SCHEDULE", "moaa.dev/role" = "inference:NO_SCHEDULE" }
    error_message = "GPU nodes take only pods that ask for them"
  }
  assert {
    condition     = aws_autoscaling_group_tag.scale_from_zero["serve/nvidia.com/gpu"].tag[0].value == "4" && aws_autoscaling_group_tag.scale_from_zero["serve/nvidia.com/gpu"].tag[0].key == "k8s.io/cluster-autoscaler/node-template/resources/nvidia.com/gpu"
    error_message = "the autoscaler cannot know the GPUs of a group without nodes"
  }
  assert {
    condition     = aws_eks_node_group.this["serve"].labels == tomap({ "moaa.dev/role" = "inference", "moaa.dev/node-group" = "serve", "k8s.amazonaws.com/accelerator" = "nvidia" })
    error_message = "without the label of GPU nodes the autoscaler starts machines beside those whose device plugin is not up yet"
  }
  assert {
    condition     = output.scheduling.serve.nodeSelector == { "moaa.dev/role" = "inference" }
    error_message = "pods select nodes by our labels only"
  }
  assert {
    condition     = length(aws_eks_node_group.this["serve"].subnet_ids) == 2
    error_message = "without zone, all zones"
  }
}

run "inference_on_demand" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, serve = { role = "Inference", instance_types = ["p5.48xlarge"], gpus = 8, min_nodes = 1, max_nodes = 2, local_nvme = true } } }
  assert {
    condition     = aws_eks_node_group.this["serve"].capacity_type == "ON_DEMAND" && aws_eks_node_group.this["serve"].scaling_config[0].min_size == 1
    error_message = "on demand with one warm node"
  }
  assert {
    condition     = strcontains(base64decode(aws_launch_template.this["serve"].user_data), "strategy: RAID0") && aws_launch_template.this["system"].user_data == null
    error_message = "local disks are joined where asked for, and only there"
  }
}

run "training_with_efa_and_placement_group" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, train = { role = "Training", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 8, efa_interfaces = 32, zone = "eu-west-1b", placement_group = true } } }
  assert {
    condition     = jsonencode([for i in aws_launch_template.this["train"].network_interfaces : i.network_card_index]) == jsonencode(range(32))
    error_message = "one interface for each of 32 cards"
  }
  assert {
    condition = alltrue([for n, i in aws_launch_template.this["train"].network_interfaces :
    i.interface_type == (n == 0 ? "efa" : "efa-only") && i.device_index == (n == 0 ? 0 : 1)])
    error_message = "the first interface carries IP, the others EFA only"
  }
  assert {
    condition     = aws_launch_template.this["train"].vpc_security_group_ids == null
    error_message = "security groups belong to the interfaces when there are any"
  }
  assert {
    condition     = aws_placement_group.this["train"].strategy == "cluster" && aws_launch_template.this["train"].placement[0].group_name == "test-train"
    error_message = "placement group"
  }
  assert {
    condition     = aws_eks_node_group.this["train"].subnet_ids == toset(["subnet-b"]) && aws_eks_node_group.this["train"].scaling_config[0].desired_size == 0
    error_message = "one zone, and zero nodes when idle"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.efa["train"].ip_protocol == "-1" && aws_vpc_security_group_egress_rule.efa["train"].ip_protocol == "-1" && aws_vpc_security_group_ingress_rule.efa["train"].cidr_ipv4 == null
    error_message = "EFA needs all traffic within its group, and only there"
  }
  assert {
    condition     = aws_autoscaling_group_tag.scale_from_zero["train/vpc.amazonaws.com/efa"].tag[0].value == "32"
    error_message = "the autoscaler cannot know the EFA devices of a group without nodes"
  }
  assert {
    condition     = length(output.scheduling.train.tolerations) == 2 && output.scheduling.train.efaInterfaces == 32
    error_message = jsonencode(output.scheduling.train)
  }
}

run "training_on_a_capacity_block" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, train = { role = "Training", capacity = "CapacityBlock", reservation_id = "cr-0123456789abcdef0", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 4, zone = "eu-west-1a" } } }
  assert {
    condition     = aws_eks_node_group.this["train"].capacity_type == "CAPACITY_BLOCK" && aws_launch_template.this["train"].instance_market_options[0].market_type == "capacity-block"
    error_message = "capacity block"
  }
  assert {
    condition     = aws_launch_template.this["train"].capacity_reservation_specification[0].capacity_reservation_target[0].capacity_reservation_id == "cr-0123456789abcdef0"
    error_message = "the block is not named"
  }
  assert {
    condition     = aws_launch_template.this["train"].instance_type == "p5.48xlarge" && length(aws_placement_group.this) == 0
    error_message = "the type belongs into the launch template, and no placement group"
  }
}

run "training_on_a_reservation_in_its_placement_group" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, train = { role = "Training", capacity = "Reservation", reservation_id = "cr-0123456789abcdef0", instance_types = ["p4d.24xlarge"], gpus = 8, max_nodes = 4, zone = "eu-west-1a", efa_interfaces = 4, placement_group_name = "ours" } } }
  assert {
    condition     = aws_eks_node_group.this["train"].capacity_type == "ON_DEMAND" && length(aws_launch_template.this["train"].instance_market_options) == 0
    error_message = "a reservation is on-demand capacity"
  }
  assert {
    condition     = aws_launch_template.this["train"].placement[0].group_name == "ours" && length(aws_placement_group.this) == 0
    error_message = "the given placement group"
  }
}

run "training_on_spot_when_acknowledged" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, train = { role = "Training", capacity = "Spot", checkpoints_acknowledged = true, instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1 } } }
  assert {
    condition     = aws_eks_node_group.this["train"].capacity_type == "SPOT"
    error_message = "spot"
  }
}

run "nodes_of_one_moaa_carry_its_name_on_the_bill" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, own = { role = "Inference", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1, moaa = "alignment/llama-8b" } } }
  assert {
    condition = alltrue([for s in aws_launch_template.this["own"].tag_specifications :
    s.tags["moaa:run"] == "alignment/llama-8b" && s.tags["moaa:component"] == "inference" && s.tags["moaa:installation"] == "test"])
    error_message = "machines, disks and interfaces must carry the run's tag"
  }
  assert {
    condition     = toset([for s in aws_launch_template.this["own"].tag_specifications : s.resource_type]) == toset(["instance", "volume", "network-interface"])
    error_message = "what is on the bill must be tagged"
  }
  assert {
    condition     = aws_launch_template.this["system"].tag_specifications[0].tags["moaa:run"] == "shared"
    error_message = "shared nodes say so"
  }
  assert {
    condition     = contains([for t in aws_eks_node_group.this["own"].taint : "${t.key}=${t.value}"], "moaa.dev/only=alignment.llama-8b") && output.scheduling.own.nodeSelector["moaa.dev/only"] == "alignment.llama-8b"
    error_message = "other MoAAs must stay away"
  }
}

run "refuses_spot_for_training_without_checkpoints_acknowledged" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", capacity = "Spot", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_training_that_never_reaches_zero" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", instance_types = ["g6.12xlarge"], gpus = 4, min_nodes = 1, max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_an_unknown_role" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Judge", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_an_unknown_capacity" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Inference", capacity = "Cheap", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_a_system_group_on_spot" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "System", capacity = "Spot", instance_types = ["m7i.large"], max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_more_minimum_than_maximum" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Inference", instance_types = ["g6.12xlarge"], gpus = 4, min_nodes = 3, max_nodes = 2 } } }
  expect_failures = [var.groups]
}

run "refuses_inference_without_gpus" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Inference", instance_types = ["m7i.large"], max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_a_disk_too_small_for_images" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Inference", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1, disk_gib = 20 } } }
  expect_failures = [var.groups]
}

run "refuses_a_family_instead_of_a_type" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Inference", instance_types = ["g6"], gpus = 4, max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_several_types_on_demand" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Inference", instance_types = ["g6.12xlarge", "p5.48xlarge"], gpus = 4, max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_a_capacity_block_without_id" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", capacity = "CapacityBlock", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 1, zone = "eu-west-1a" } } }
  expect_failures = [var.groups]
}

run "refuses_a_reservation_id_on_demand" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", reservation_id = "cr-0123456789abcdef0", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 1, zone = "eu-west-1a" } } }
  expect_failures = [var.groups]
}

run "refuses_a_malformed_reservation_id" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", capacity = "Reservation", reservation_id = "cb-1", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 1, zone = "eu-west-1a" } } }
  expect_failures = [var.groups]
}

run "refuses_efa_over_several_zones" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 2, efa_interfaces = 32 } } }
  expect_failures = [var.groups]
}

run "refuses_an_unknown_zone" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 2, zone = "eu-west-1z" } } }
  expect_failures = [var.groups]
}

run "refuses_more_efa_interfaces_than_any_machine_has" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 2, zone = "eu-west-1a", efa_interfaces = 33 } } }
  expect_failures = [var.groups]
}

run "refuses_a_new_and_an_old_placement_group" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 2, zone = "eu-west-1a", placement_group = true, placement_group_name = "ours" } } }
  expect_failures = [var.groups]
}

run "refuses_a_new_placement_group_for_reserved_capacity" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", capacity = "Reservation", reservation_id = "cr-0123456789abcdef0", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 2, zone = "eu-west-1a", placement_group = true } } }
  expect_failures = [var.groups]
}

run "refuses_a_placement_group_for_a_capacity_block" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Training", capacity = "CapacityBlock", reservation_id = "cr-0123456789abcdef0", instance_types = ["p5.48xlarge"], gpus = 8, max_nodes = 2, zone = "eu-west-1a", placement_group_name = "ours" } } }
  expect_failures = [var.groups]
}

run "refuses_a_moaa_name_that_cannot_be" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { system = var.system, bad = { role = "Inference", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1, moaa = "A_very_long_name_that_no_resource_has" } } }
  expect_failures = [var.groups]
}

run "refuses_to_live_without_system_nodes" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { serve = { role = "Inference", instance_types = ["g6.12xlarge"], gpus = 4, max_nodes = 1 } } }
  expect_failures = [var.groups]
}

run "refuses_a_group_name_that_is_too_long" {
  command = plan
  module { source = "./modules/node-groups" }
  variables { groups = { a-name-of-more-than-20-letters = var.system } }
  expect_failures = [var.groups]
}
