# Who may touch what, by EKS Pod Identity: one role for each component of each run namespace, bound to one service
# account. The operator has none: it never reads the store. Statements are in jobs.tf, serving.tf and autoscaler.tf.
locals {
  bucket_arn = "arn:${var.partition}:s3:::${var.bucket_name}"

  # Every way through S3 of using the key; the key cannot be used directly. With bucket keys the context is the
  # bucket, without (an object copied in) the object.
  key_only_through_s3 = {
    StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" }
    StringLike   = { "kms:EncryptionContext:aws:s3:arn" = [local.bucket_arn, "${local.bucket_arn}/*"] }
  }

  subjects = merge(
    { for ns, n in var.namespaces : "${ns}/jobs" => {
      namespace = ns, service_account = n.service_account, policy = local.jobs[ns]
    } },
    { for ns, n in var.namespaces : "${ns}/serving" => {
      namespace = ns, service_account = n.serving_service_account, policy = local.serving[ns]
    } },
    { "kube-system/autoscaler" = {
      namespace = "kube-system", service_account = var.autoscaler_service_account, policy = local.autoscaler
    } },
  )
}

resource "aws_iam_role" "this" {
  for_each    = local.subjects
  name        = "${var.name}-${replace(each.key, "/", "-")}"
  description = "${each.value.namespace}/${each.value.service_account} in ${var.cluster_name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "PodIdentity"
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      # The agent tags every session with who asks, so an association made by mistake elsewhere gives nothing.
      Condition = { StringEquals = {
        "aws:RequestTag/eks-cluster-name"           = var.cluster_name
        "aws:RequestTag/kubernetes-namespace"       = each.value.namespace
        "aws:RequestTag/kubernetes-service-account" = each.value.service_account
      } }
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy" "this" {
  for_each = local.subjects
  name     = "own-part"
  role     = aws_iam_role.this[each.key].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value.policy })
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = local.subjects
  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.this[each.key].arn
  tags            = var.tags
}
