#!/usr/bin/env bash
# Proves that the tests see what they are for: plants each fault in a copy of its module and expects the named test to
# fail on that copy, by an assertion or a missing refusal and not by a syntax error. All in one `terraform test`, since
# starting the provider takes ten times as long as a test. Needs an initialised ../.terraform (see ../check.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

terraform=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tests" "$work/.terraform"
cp ./*.tf .terraform.lock.hcl "$work"
cp -r modules "$work"
cp -r tests/rendered "$work/tests"
ln -s "$terraform/.terraform/providers" "$work/.terraform/providers"
names=()

# plant WHAT FILE PERL-EXPRESSION TEST-FILE RUN
plant() {
  local what=$1 file=$2 expression=$3 test=tests/$4.tftest.hcl run=$5 number=${#names[@]}
  local module=${file%/*} planted=planted/$number
  mkdir -p "$work/$planted"
  cp -r "$module" "$work/$planted/"
  perl -0pi -e "$expression" "$work/$planted/${file#modules/}"
  if cmp -s "$file" "$work/$planted/${file#modules/}"; then
    echo "planted-faults: $what: the expression changed nothing in $file; adapt it to the file" >&2
    exit 1
  fi
  # The test file's head (mocks and variables) and this one run, of the copy.
  awk -v run="\"$run\"" 'BEGIN { keep = 1 } /^run / { keep = ($2 == run) } keep' "$test" |
    sed "s#\"./$module\"#\"./$planted/${module#modules/}\"#" >"$work/tests/fault$number.tftest.hcl"
  if ! grep -q "^run \"$run\"" "$work/tests/fault$number.tftest.hcl"; then
    echo "planted-faults: $what: $test has no run $run" >&2
    exit 1
  fi
  names+=("$what")
}

plant "a public bucket" modules/storage/main.tf \
  's/block_public_policy\s+= true/block_public_policy = false/' storage bucket_is_closed_encrypted_and_versioned
plant "a key that goes before its bucket" modules/storage/main.tf \
  's/merge\(var.tags, \{ "moaa:key" = var.key_arn \}\)/merge(var.tags, {})/' storage bucket_is_closed_encrypted_and_versioned
plant "a bucket policy that allows" modules/storage/policy.tf \
  's/"Deny"/"Allow"/' storage policy_denies_and_grants_nothing
plant "plain HTTP" modules/storage/policy.tf \
  's/"aws:SecureTransport" = "false"/"aws:SecureTransport" = "true"/' storage policy_is_the_one_that_is_simulated
plant "objects without our key" modules/storage/main.tf \
  's/sse_algorithm\s+= "aws:kms"/sse_algorithm = "AES256"/' storage bucket_is_closed_encrypted_and_versioned
plant "expiry by age" modules/storage/lifecycle.tf \
  's/(id\s+= "old-versions"\n.*\n\s+filter \{\}\n)/$1 expiration {\n days = 30\n }\n/' storage nothing_current_expires_without_its_tag
plant "Action s3:*" modules/identity/jobs.tf \
  's/"s3:GetObject"/"s3:*"/' identity no_wildcard_actions_and_no_wildcard_resources
plant "a statement for the whole bucket" modules/identity/jobs.tf \
  's/Resource = local.folder_markers\[ns\]/Resource = ["\${local.bucket_arn}\/*"]/' identity no_wildcard_actions_and_no_wildcard_resources
plant "servers that write" modules/identity/serving.tf \
  's/Action = "s3:GetObject"/Action = ["s3:GetObject", "s3:PutObject"]/' identity policies_are_the_ones_that_are_simulated
plant "jobs that may delete outputs" modules/identity/jobs.tf \
  's/"stages\/\*\/ledger\/\*"/"stages\/*"/' identity policies_are_the_ones_that_are_simulated
plant "a role any pod may take" modules/identity/main.tf \
  's/"aws:RequestTag\/kubernetes-namespace"\s+= .*\n//' identity roles_trust_one_service_account_of_one_cluster
plant "disks without encryption" modules/node-groups/launch-template.tf \
  's/encrypted\s+= true/encrypted = false/' node_groups system_runs_on_demand_and_takes_every_pod
plant "GPU nodes the autoscaler does not know as such" modules/node-groups/main.tf \
  's/.*k8s\.amazonaws\.com\/accelerator.*\n//' node_groups inference_on_spot
plant "nodes that nobody repairs" modules/node-groups/main.tf \
  's/node_repair_config \{\n\s+enabled = true/node_repair_config {\n enabled = false/' node_groups system_runs_on_demand_and_takes_every_pod
plant "Secrets without our key" modules/cluster/main.tf \
  's/resources = \["secrets"\]/resources = []/' cluster private_encrypted_and_logged
plant "extended support unasked" modules/cluster/variables.tf \
  's/default\s+= "Standard"/default = "Extended"/' cluster pays_no_extended_support_unasked
plant "nodes that stay behind" modules/node-groups/main.tf \
  's/version\s+= var.kubernetes_version/version = "1.30"/' node_groups system_runs_on_demand_and_takes_every_pod
plant "endpoints open to all" modules/network/routes.tf \
  's/cidr_ipv4\s+= var.vpc_cidr/cidr_ipv4 = "0.0.0.0\/0"/' network endpoints_take_https_from_the_vpc_only
plant "a node that fills every repository" modules/node-groups/role.tf \
  's/repository\/\$\{prefix\}/repository/' node_groups nodes_may_fill_the_named_caches_of_images
plant "overlapping networks accepted" modules/network/variables.tf \
  's/i >= j \|\|/true ||/' network refuses_overlapping_cidrs
plant "spot for training without a word about checkpoints" modules/node-groups/variables.tf \
  's/\|\| g\.checkpoints_acknowledged/|| true/' node_groups refuses_spot_for_training_without_checkpoints_acknowledged
plant "an API server open to all" modules/cluster/variables.tf \
  's/>= 8, false/>= 0, false/' cluster refuses_the_whole_internet

cd "$work"
export TF_DATA_DIR=$work/.terraform
terraform get -no-color >log 2>&1 || { cat log >&2; exit 1; }
terraform test -json >log 2>&1 || true # each test's own result is looked at below

for number in "${!names[@]}"; do
  if ! grep -F "\"@testfile\":\"tests/fault$number.tftest.hcl\"" log | grep -F '"type":"diagnostic"' |
    grep -Eq '"summary":"(Test assertion failed|Missing expected failure)"'; then
    echo "planted-faults: NOT SEEN, or failed for another reason: ${names[$number]}" >&2
    grep -F "fault$number.tftest.hcl" log | grep -Fv -e '"progress":"running"' -e test_abstract >&2 || tail -n 5 log >&2
    exit 1
  fi
  echo "seen: ${names[$number]}"
done
echo "planted-faults: ${#names[@]} of ${#names[@]} seen"
