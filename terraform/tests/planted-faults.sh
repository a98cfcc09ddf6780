#!/usr/bin/env bash
# Proves that the tests see what they are for: plants one fault at a time in a copy and expects the named test to fail,
# by an assertion or a missing refusal and not by a syntax error. Needs an initialised ../.terraform (see ../check.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

export TF_DATA_DIR=$PWD/.terraform # installed providers and modules; module paths in it are relative
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
planted=0

# plant WHAT FILE PERL-EXPRESSION TEST-FILE RUN
plant() {
  local what=$1 file=$2 expression=$3 test=tests/$4.tftest.hcl run=$5 copy=$work/copy
  rm -rf "$copy" && mkdir "$copy"
  cp -r ./*.tf .terraform.lock.hcl modules examples tests "$copy"
  perl -0pi -e "$expression" "$copy/$file"
  if cmp -s "$file" "$copy/$file"; then
    echo "planted-faults: $what: the expression changed nothing in $file; adapt it to the file" >&2
    exit 1
  fi
  # The test file's head (mocks and variables) and this one run.
  awk -v run="\"$run\"" 'BEGIN { keep = 1 } /^run / { keep = ($2 == run) } keep' "$test" >"$copy/$test"
  if ! grep -q "^run \"$run\"" "$copy/$test"; then
    echo "planted-faults: $what: $test has no run $run" >&2
    exit 1
  fi
  if (cd "$copy" && terraform test -no-color -filter="$test" >"$work/log" 2>&1); then
    echo "planted-faults: NOT SEEN: $what ($test, $run)" >&2
    exit 1
  fi
  if ! grep -Eq 'Test assertion failed|Missing expected failure' "$work/log"; then
    echo "planted-faults: $what: the test failed for another reason:" >&2
    cat "$work/log" >&2
    exit 1
  fi
  planted=$((planted + 1))
  echo "seen: $what"
}

plant "a public bucket" modules/storage/main.tf \
  's/block_public_policy\s+= true/block_public_policy = false/' storage bucket_is_closed_encrypted_and_versioned
plant "a bucket policy that allows" modules/storage/policy.tf \
  's/"Deny"/"Allow"/' storage policy_denies_and_grants_nothing
plant "plain HTTP" modules/storage/policy.tf \
  's/"aws:SecureTransport" = "false"/"aws:SecureTransport" = "true"/' storage policy_statement_by_statement
plant "objects without our key" modules/storage/main.tf \
  's/sse_algorithm\s+= "aws:kms"/sse_algorithm = "AES256"/' storage bucket_is_closed_encrypted_and_versioned
plant "expiry by age" modules/storage/lifecycle.tf \
  's/(id\s+= "old-versions"\n.*\n\s+filter \{\}\n)/$1 expiration {\n days = 30\n }\n/' storage nothing_current_expires_without_its_tag
plant "Action s3:*" modules/identity/jobs.tf \
  's/"s3:GetObject"/"s3:*"/' identity no_wildcard_actions_and_no_wildcard_resources
plant "a statement for the whole bucket" modules/identity/jobs.tf \
  's/Resource = local.folder_markers\[ns\]/Resource = ["\${local.bucket_arn}\/*"]/' identity no_wildcard_actions_and_no_wildcard_resources
plant "servers that write" modules/identity/serving.tf \
  's/Action = "s3:GetObject"/Action = ["s3:GetObject", "s3:PutObject"]/' identity serving_reads_and_never_writes
plant "a role any pod may take" modules/identity/main.tf \
  's/"aws:RequestTag\/kubernetes-namespace"\s+= .*\n//' identity roles_trust_one_service_account_of_one_cluster
plant "disks without encryption" modules/node-groups/launch-template.tf \
  's/encrypted\s+= true/encrypted = false/' node_groups system_runs_on_demand_and_takes_every_pod
plant "Secrets without our key" modules/cluster/main.tf \
  's/resources = \["secrets"\]/resources = []/' cluster private_encrypted_and_logged
plant "overlapping networks accepted" modules/network/variables.tf \
  's/i >= j \|\|/true ||/' network refuses_overlapping_cidrs
plant "spot for training without a word about checkpoints" modules/node-groups/variables.tf \
  's/\|\| g\.checkpoints_acknowledged/|| true/' node_groups refuses_spot_for_training_without_checkpoints_acknowledged
plant "an API server open to all" modules/cluster/variables.tf \
  's/>= 8, false/>= 0, false/' cluster refuses_the_whole_internet
plant "a value that the chart does not know" outputs.tf \
  's/weightsUri = /weightsUrl = /' root chart_values_are_ready

echo "planted-faults: $planted of $planted seen"
