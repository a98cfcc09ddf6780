# Everything a person or CI runs. `make demo` and `make test` install what they need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv || echo .tools/uv/bin/uv)
PY := .venv/bin/python
WORKDIR ?= runs/tiny

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.tools/uv/bin/uv:
	python3 -m venv .tools/uv
	.tools/uv/bin/pip install --quiet "uv>=0.9,<1"

# The stamp is newer than the lock when the environment matches it.
.venv/.synced: pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	@start=$$(date +%s); $(UV) sync --quiet --locked --extra local --extra dev; touch $@; \
	echo "dependencies installed in $$(($$(date +%s) - start)) s"

.PHONY: setup
setup: .venv/.synced ## Install everything into .venv

.PHONY: demo
demo: setup ## Two full iterations with real models on this machine, then the report and its claims
	$(PY) -m examples.tiny.demo --workdir $(WORKDIR)

.PHONY: test
test: setup ## All tests: unit, then integration with real vLLM, Ray, DeepSpeed and S3
	$(PY) -m pytest tests/unit -q -n 2 --dist worksteal
	$(PY) -m pytest tests/integration -q --timeout 1200

.PHONY: unit
unit: setup ## Unit tests only
	$(PY) -m pytest tests/unit -q -n 2 --dist worksteal

.PHONY: recipes
recipes: setup ## The recipes of CONTRIBUTING.md, each followed in a copy of the tree
	$(PY) -m pytest tests/recipes -q -n 2

.PHONY: lint
lint: setup ## Format, lint, strict types, import contracts
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: terraform
terraform: ## Check the Terraform modules; TF_PLUGIN_DIR names a folder with the AWS provider when it is not to be downloaded
	terraform/check.sh

.PHONY: crd
crd: setup ## Write the CRD of the resource's classes into the chart
	.venv/bin/moaa crd > charts/moaa/files/moaas.moaa.dev.yaml

.PHONY: golden
golden: setup ## Write golden values again (tests/golden), after a change that is meant; then read the difference in git
	$(PY) -m tests.golden.write

.PHONY: format
format: setup ## Put the code in shape
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

.PHONY: images
images: ## Build the images with Docker or buildah and look at each (images/build.sh says what can be set)
	images/build.sh

.PHONY: e2e
e2e: setup ## The chart and the tiny example on the cluster of KUBECONFIG (tests/e2e/settings.py says what it needs)
	$(PY) -m tests.e2e $(E2E)

.PHONY: soak
soak: setup ## Kills of every kind against the tiny loop, then of the operator and of pods; takes three quarters of an hour
	$(PY) -m benchmarks.soak --workdir runs/soak
	$(PY) -m pytest tests/integration/test_operator_faults.py -q -k "killed_anywhere or storm" --operator-kills 50 --operator-storms 10 --timeout 3600
	if [ -d ../shared/cluster ]; then MOAA_E2E_ITERATIONS=2 E2E=--kills .ci/one-node ../shared/cluster; fi
