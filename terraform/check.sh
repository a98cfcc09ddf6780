#!/usr/bin/env bash
# Everything that can be checked without an AWS account: format, schema, lint, policies, tests, and that the tests see
# planted faults.
# TF_PLUGIN_DIR: folder with the AWS provider, when it is not to be downloaded.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v terraform >/dev/null; then
  echo "terraform/check.sh: terraform is not installed; version 1.11 or later is needed (tests override mocks in plans)" >&2
  exit 1
fi

CHECKOV=checkov@3.3.30
export TF_DATA_DIR=$PWD/.terraform # where the planted faults look for providers and modules, too

step() {
  local name=$1 start
  shift
  start=$(date +%s)
  echo "== $name"
  "$@"
  echo "== $name took $(($(date +%s) - start)) s"
}

# Both where they can be had: Go builds the one, uv runs the other.
lint() {
  local tflint
  if tflint=$(cd .. && python3 -m tests.tools tflint); then
    "$tflint" --recursive --config "$PWD/.tflint.hcl" --format compact
  else
    echo "tflint cannot be had: not run"
  fi
}

scan() {
  local uv
  uv=$(command -v uv || echo ../.tools/uv/bin/uv)
  if "$uv" tool run --quiet "$CHECKOV" --version >/dev/null; then
    "$uv" tool run --quiet "$CHECKOV" --config-file .checkov.yaml --directory .
  else
    echo "checkov cannot be had: not run"
  fi
}

init=(terraform init -backend=false -input=false -no-color)
if [[ -n ${TF_PLUGIN_DIR:-} ]]; then
  init+=("-plugin-dir=$TF_PLUGIN_DIR")
fi

step fmt terraform fmt -check -diff -recursive
step init "${init[@]}"
step validate terraform validate -no-color # with the tests' modules: each module and example as a root
step tflint lint
step checkov scan
step test terraform test -no-color
step planted-faults tests/planted-faults.sh
