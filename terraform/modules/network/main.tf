# A VPC over two or more zones: private subnets for every node, public ones only for NAT gateways and load balancers.
# Weights and checkpoints reach S3 through a gateway endpoint: it costs nothing, a NAT gateway charges for each GB.
locals {
  count = length(var.zones)

  # Of a /16: private /19 (8,187 addresses; with the VPC CNI every pod takes one), public /24 in the last eighth.
  private_cidrs = var.private_cidrs != null ? var.private_cidrs : [for i in range(local.count) : cidrsubnet(var.vpc_cidr, 3, i)]
  public_cidrs  = var.public_cidrs != null ? var.public_cidrs : [for i in range(local.count) : cidrsubnet(var.vpc_cidr, 8, 224 + i)]

  private = { for i, zone in var.zones : zone => local.private_cidrs[i] }
  public  = { for i, zone in var.zones : zone => local.public_cidrs[i] }

  nat_zones = toset(var.nat == "PerZone" ? var.zones : [var.zones[0]])
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true # EKS refuses VPCs without
  tags                 = merge(var.tags, { Name = var.name })
}

# Whatever is started without a security group gets the default one; it lets nothing through.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-closed" })
}

resource "aws_subnet" "private" {
  for_each          = local.private
  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = each.value
  tags              = merge(var.tags, { Name = "${var.name}-private-${each.key}", "kubernetes.io/role/internal-elb" = "1" })
}

resource "aws_subnet" "public" {
  for_each                = local.public
  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = each.value
  map_public_ip_on_launch = false # nothing is started here that should be reachable by accident
  tags                    = merge(var.tags, { Name = "${var.name}-public-${each.key}", "kubernetes.io/role/elb" = "1" })
}
