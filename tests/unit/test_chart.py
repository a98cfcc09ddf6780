"""What the files of the chart say by themselves; tests/integration/test_chart_rendered.py renders them."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client.metrics_core import Metric

from moaa.api.status import CostLeft, MoAAStatus, RunCost
from moaa_operator.kube.api import Api, Traffic
from moaa_operator.kube.informer import Informer
from moaa_operator.kube.kinds import CHILDREN
from moaa_operator.kube.queue import Backoff
from moaa_operator.settings import Settings
from moaa_operator.tell.metrics import Metrics
from tests.operator_helpers import SHORT, Cluster
from tests.unit.operator.test_operator_metrics import follow

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "moaa"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
DERIVED = {
    "jobs_image", "train_image", "vllm_image", "vllm_cpu_image", "image_pull_policy", "image_pull_secrets",
    "job_priority_class", "server_priority_class", "training_priority_class", "watch_namespaces", "namespace",
    "server_service_accounts", "scheduling", "dedicated", "leader_election", "lease_name", "log_level", "log_format",
    "network_peers", "allowed",
}  # fmt: skip
"""Settings that follow from other values."""
FIXED = {"health_host", "health_port", "metrics_port"}
"""Settings that the chart leaves alone: its ports are their defaults."""


def problems(values: object) -> list[str]:
    validator = jsonschema.Draft7Validator(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(values)]


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object with declared fields, at any depth."""
    inner = [*schema.get("properties", {}).values(), *schema.get("definitions", {}).values()]
    inner += [schema["items"]] if "items" in schema else []
    return [*([schema] if "properties" in schema else []), *(found for one in inner for found in objects(one))]


def test_the_values_keep_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert problems(VALUES) == []


def test_the_schema_is_strict_everywhere() -> None:
    found = objects(SCHEMA)
    assert len(found) > 20
    assert [one for one in found if one.get("additionalProperties") is not False] == []


def test_every_value_of_the_schema_stands_in_the_values() -> None:
    assert set(SCHEMA["properties"]) - set(VALUES) == {"global"}


def test_the_readme_names_every_value() -> None:
    told = set(re.findall(r"`(\w+)(?:\[\])?(?:\.\*)?`", (CHART / "README.md").read_text()))
    assert set(VALUES) - told == set()


def test_every_setting_of_the_operator_can_be_set_and_no_other() -> None:
    own = {camel(name) for name in Settings.model_fields if name not in DERIVED | FIXED}
    assert set(SCHEMA["properties"]["settings"]["properties"]) == own


def test_the_ports_are_those_of_the_operator() -> None:
    settings = Settings()
    template = (CHART / "templates" / "deployment.yaml").read_text()
    ports = dict(re.findall(r"name: (\w+), containerPort: (\d+)", template))
    assert ports == {"metrics": str(settings.metrics_port), "health": str(settings.health_port)}


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"opertor": {}}, "opertor"),
        ({"operator": {"replicas": "2"}}, "$.operator.replicas"),
        ({"operator": {"replicas": 9}}, "$.operator.replicas"),
        ({"operator": {"logLevel": "info"}}, "$.operator.logLevel"),
        ({"operator": {"serviceAccount": {"annotations": {"a": True}}}}, "annotations.a"),
        ({"images": {"jobs": {"tag": "1"}}}, "'repository' is a required property"),
        ({"images": {"jobs": {"repository": "moaa", "digest": "sha256:short"}}}, "$.images.jobs.digest"),
        ({"images": {"jobs": {"repository": "moaa", "tag": "a b"}}}, "$.images.jobs.tag"),
        ({"images": {"vllmGpu": {"repository": "moaa"}}}, "vllmGpu"),
        ({"imagePullPolicy": "always"}, "$.imagePullPolicy"),
        ({"imagePullSecrets": ["registry"]}, "$.imagePullSecrets[0]"),
        ({"settings": {"jobCPU": "1"}}, "jobCPU"),
        ({"settings": {"jobCpu": 1}}, "$.settings.jobCpu"),
        ({"settings": {"jobMemory": "4 GiB"}}, "$.settings.jobMemory"),
        ({"settings": {"workers": 0}}, "$.settings.workers"),
        ({"settings": {"retryS": 0}}, "$.settings.retryS"),
        ({"admissionPolicy": {"actions": []}}, "$.admissionPolicy.actions"),
        ({"admissionPolicy": {"actions": ["Refuse"]}}, "$.admissionPolicy.actions[0]"),
        ({"runNamespaces": ["alignment"]}, "$.runNamespaces[0]"),
        ({"runNamespaces": [{"create": True}]}, "'name' is a required property"),
        ({"runNamespaces": [{"name": "Alignment"}]}, "$.runNamespaces[0].name"),
        ({"runNamespaces": [{"name": "a", "podSecurity": "strict"}]}, "podSecurity"),
        ({"runNamespaces": [{"name": "a", "storageUri": "bucket/prefix"}]}, "storageUri"),
        ({"views": [{"namespace": "runs"}]}, "'storageUri' is a required property"),
        ({"views": [{"namespace": "runs", "storageUri": "file:///data"}]}, "$.views[0].storageUri"),
        ({"views": [{"namespace": "runs", "storageUri": "s3://a", "name": "longer-than-it-fits"}]}, "views[0].name"),
        ({"views": [{"namespace": "runs", "storageUri": "s3://a", "secret": "S3"}]}, "$.views[0].secret"),
        ({"views": [{"namespace": "runs", "storageUri": "s3://a", "ingress": True}]}, "ingress"),
        ({"priorityClasses": {"jobs": {"value": 2_000_000_000}}}, "$.priorityClasses.jobs.value"),
        ({"priorityClasses": {"jobs": {"preemptionPolicy": "Always"}}}, "preemptionPolicy"),
        ({"networkPolicies": {"egress": {"apiServerPorts": [0]}}}, "apiServerPorts[0]"),
        ({"metrics": {"serviceMonitor": {"interval": "30"}}}, "interval"),
        ({"scheduling": {"inferense": {}}}, "inferense"),
        ({"crds": {"install": "yes"}}, "$.crds.install"),
        ({"clusterWide": "false"}, "$.clusterWide"),
    ],
)  # fmt: skip
def test_the_schema_refuses(values: dict[str, Any], where: str) -> None:
    found = problems(values)
    assert len(found) == 1
    assert where in found[0]


def test_what_terraform_knows_is_taken() -> None:
    known = yaml.safe_load((ROOT / "terraform" / "tests" / "chart-values.yaml").read_text())
    assert problems(known) == []
    output = (ROOT / "terraform" / "outputs.tf").read_text()
    keys = re.findall(r"^    (\w+)\s+=", output.partition("yamlencode({")[2].partition("\n  })")[0], re.MULTILINE)
    assert set(known) == set(keys), "terraform/tests/root.tftest.hcl compares the values"


def collected() -> list[Metric]:
    """Every metric of an operator that watches and has seen a run."""
    api: Api = object()  # type: ignore[assignment]  # nothing is sent before `start`
    informers = [Informer(api, kind, None, on_change=lambda *_: None, backoff=Backoff(1.0, 1.0)) for kind in CHILDREN]
    metrics = Metrics()
    metrics.watch(informers, lambda: 0, Traffic())
    metrics.reconciled("ok", 0.1)
    cost = RunCost(gpu_hours="1.00", left=CostLeft(gpu_hours="2.00"))
    metrics.observed(("runs", "llama"), MoAAStatus(cost=cost))
    follow(Cluster(**SHORT), metrics, 40)
    return list(metrics.registry.collect())


@pytest.mark.parametrize("file", ["rules.yaml", "dashboard.json"])
def test_every_metric_in_use_exists_with_its_labels(file: str) -> None:
    samples = [sample for metric in collected() for sample in metric.samples]
    text = (CHART / "files" / file).read_text().replace('\\"', '"')
    used = set(re.findall(r"\bmoaa_(?:operator|run)_\w+", text))
    assert len(used) >= 5
    assert used - {sample.name for sample in samples} == set()
    labels = {label for sample in samples for label in sample.labels}
    by = {name.strip() for names in re.findall(r"\bby \(([^)]*)\)", text) for name in names.split(",")}
    assert by - labels == set()
    told = set(re.findall(r"\$labels\.(\w+)|\{\{(\w+)\}\}", text))
    assert {a or b for a, b in told} - labels == set()


def test_alerts_and_panels_about_a_run_name_it() -> None:
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["groups"][0]["rules"]
    about_runs = [rule for rule in rules if "moaa_run_" in rule["expr"]]
    assert len(about_runs) >= 3
    for rule in about_runs:
        assert "{{ $labels.run_namespace }}/{{ $labels.run }}" in rule["annotations"]["summary"]
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    targets = [target for panel in panels for target in panel["targets"] if "moaa_run_" in target["expr"]]
    assert len(targets) >= 4
    assert all("{{run_namespace}}/{{run}}" in target["legendFormat"] for target in targets)
    assert all("$namespace" in target["expr"] and "$run" in target["expr"] for target in targets)


def test_the_dashboard_is_one() -> None:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 8
    assert all(panel["targets"] and panel["title"] for panel in panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) == 23


def test_every_alert_says_what_to_do() -> None:
    rules = [
        rule
        for group in yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["groups"]
        for rule in group["rules"]
    ]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    assert all(rule["annotations"]["summary"] and rule["annotations"]["description"] for rule in rules)
    assert {rule["labels"]["severity"] for rule in rules} <= {"warning", "critical"}
