variable "name" {
  type = string
}

variable "cluster_name" {
  type = string
}

variable "kubernetes_version" {
  description = "Of the control plane: nodes follow it."
  type        = string
}

variable "pulls_through" {
  description = "Prefixes of this account's registry whose images ECR fetches from elsewhere when a node first asks."
  type        = list(string)
  default     = []
}

variable "account_id" {
  type = string
}

variable "region" {
  type = string
}

variable "partition" {
  type    = string
  default = "aws"
}

variable "vpc_id" {
  type = string
}

variable "cluster_security_group_id" {
  type = string
}

variable "subnet_ids" {
  description = "Private subnet of every zone, by zone."
  type        = map(string)
}

variable "tags" {
  type    = map(string)
  default = {}
}

variable "groups" {
  description = <<-EOT
    Node groups by name.
    - role: System (operator, KubeRay, CoreDNS), Inference (vLLM) or Training (Ray workers).
    - instance_types: one, or for Spot several that the same pods fit on.
    - capacity: OnDemand, Spot, Reservation (an open-ended capacity reservation) or CapacityBlock.
    - min_nodes, max_nodes: bounds; the autoscaler moves between them. Training always starts at 0.
    - gpus: of one node; 0 only for System.
    - disk_gib: root volume: images, and weights unless local_nvme is set.
    - local_nvme: join the instance's own disks into one and keep pods' data there.
    - efa_interfaces: of one node, 0 without (32 on p5.48xlarge, 4 on p4d.24xlarge). Needs one zone.
    - zone: the only zone to use; null: all. Reservations, capacity blocks and EFA are bound to one.
    - placement_group: make a cluster placement group, so that nodes stand near each other.
    - placement_group_name: use an existing one; a reservation made inside a placement group needs it.
    - reservation_id: of the capacity reservation or capacity block.
    - checkpoints_acknowledged: true says: a spot interruption throws training back to its last checkpoint, we know.
    - moaa: "<namespace>/<name>": only this MoAA's pods run here, and its pods of the group's role run nowhere else: with Inference all of its
      model servers, so the groups that name it must hold as many GPUs as its largest stage (moaa plan), or it waits for
      ever. The nodes' cost carries both. null: shared.
  EOT
  type = map(object({
    role                     = string
    instance_types           = list(string)
    capacity                 = optional(string, "OnDemand")
    min_nodes                = optional(number, 0)
    max_nodes                = number
    gpus                     = optional(number, 0)
    disk_gib                 = optional(number, 200)
    local_nvme               = optional(bool, false)
    efa_interfaces           = optional(number, 0)
    zone                     = optional(string)
    placement_group          = optional(bool, false)
    placement_group_name     = optional(string)
    reservation_id           = optional(string)
    checkpoints_acknowledged = optional(bool, false)
    moaa                     = optional(string)
  }))

  validation {
    condition     = alltrue([for name, _ in var.groups : can(regex("^[a-z][a-z0-9-]{1,19}$", name))])
    error_message = "groups: names must be 2 to 20 lower-case letters, digits or hyphens: ${join(", ", keys(var.groups))}."
  }
  validation {
    condition     = alltrue([for g in var.groups : contains(["System", "Inference", "Training"], g.role)])
    error_message = "groups: role must be System, Inference or Training."
  }
  validation {
    condition     = alltrue([for g in var.groups : contains(["OnDemand", "Spot", "Reservation", "CapacityBlock"], g.capacity)])
    error_message = "groups: capacity must be OnDemand, Spot, Reservation or CapacityBlock."
  }
  validation {
    condition     = anytrue([for g in var.groups : g.role == "System" && g.min_nodes >= 1])
    error_message = "groups: one group of role System needs min_nodes of at least 1; what wakes the others runs there."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.role != "System" || (g.capacity == "OnDemand" && g.gpus == 0 && g.moaa == null)])
    error_message = "groups: role System must be OnDemand, without gpus and shared; the operator runs there for all."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.min_nodes >= 0 && g.max_nodes >= 1 && g.max_nodes <= 200 && g.min_nodes <= g.max_nodes])
    error_message = "groups: 0 <= min_nodes <= max_nodes and 1 <= max_nodes <= 200 must hold."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.role != "Training" || g.min_nodes == 0])
    error_message = "groups: role Training needs min_nodes 0; idle training nodes cost and do nothing."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.role == "System" || (g.gpus >= 1 && g.gpus <= 16)])
    error_message = "groups: roles Inference and Training need gpus of one node, 1 to 16; the autoscaler plans with it."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.disk_gib >= 50 && g.disk_gib <= 16384])
    error_message = "groups: disk_gib must be 50 to 16384."
  }
  validation {
    condition = alltrue([for g in var.groups : length(g.instance_types) >= 1 && length(g.instance_types) <= 20 &&
    alltrue([for t in g.instance_types : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", t))])])
    error_message = "groups: instance_types must be 1 to 20 types such as p5.48xlarge."
  }
  validation {
    condition     = alltrue([for g in var.groups : length(g.instance_types) == 1 || (g.capacity == "Spot" && g.efa_interfaces == 0)])
    error_message = "groups: more than one instance type only with Spot and without EFA; elsewhere nodes must be alike."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.role != "Training" || g.capacity != "Spot" || g.checkpoints_acknowledged])
    error_message = "groups: Spot for Training loses what was computed since the last checkpoint at every interruption; set checkpoints_acknowledged = true if that is meant."
  }
  validation {
    condition     = alltrue([for g in var.groups : contains(["Reservation", "CapacityBlock"], g.capacity) == (g.reservation_id != null)])
    error_message = "groups: capacity Reservation and CapacityBlock need reservation_id, the others refuse it."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.reservation_id == null || can(regex("^cr-[0-9a-f]{8,17}$", g.reservation_id))])
    error_message = "groups: reservation_id must look like cr-0123456789abcdef0."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.zone != null || (g.efa_interfaces == 0 && g.reservation_id == null && !g.placement_group && g.placement_group_name == null)])
    error_message = "groups: EFA, reservations, capacity blocks and placement groups are bound to one zone; set zone."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.zone == null || contains(keys(var.subnet_ids), coalesce(g.zone, "-"))])
    error_message = "groups: zone must be one of ${join(", ", keys(var.subnet_ids))}."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.efa_interfaces >= 0 && g.efa_interfaces <= 32 && (g.role != "System" || g.efa_interfaces == 0)])
    error_message = "groups: efa_interfaces must be 0 to 32, and 0 for System."
  }
  validation {
    condition     = alltrue([for g in var.groups : !(g.placement_group && g.placement_group_name != null)])
    error_message = "groups: give placement_group = true (make one) or placement_group_name (use that one), not both."
  }
  validation {
    condition     = alltrue([for g in var.groups : !(g.placement_group && contains(["Reservation", "CapacityBlock"], g.capacity))])
    error_message = "groups: a new placement_group does not fit capacity that exists already; capacity blocks stand together anyway, for a reservation give the placement_group_name it was made in."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.capacity != "CapacityBlock" || g.placement_group_name == null])
    error_message = "groups: CapacityBlock takes no placement_group_name; its nodes stand together anyway."
  }
  validation {
    condition     = alltrue([for g in var.groups : g.moaa == null || (can(regex("^.{1,63}$", g.moaa)) && can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z]([a-z0-9-]{0,22}[a-z0-9])?$", g.moaa)))])
    error_message = "groups: moaa must be <namespace>/<name> of a MoAA resource, the name at most 24 characters and both at most 63."
  }
}
