"""Where pods go, and under which account, by the installation's settings."""

import json
from typing import Any

import pytest

from moaa.weights.served import server_of
from moaa_operator.kube.owner import HASH_ANNOTATION, Role
from moaa_operator.settings import Dedicated, NodeRole, Scheduling, Settings
from tests.render_world import (
    MOAA,
    SETTINGS,
    bound,
    changed,
    find,
    job_of,
    pod_templates,
    results,
)

GPU = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def placed(role: str, moaa: str = "") -> dict[str, Any]:
    taint = {"key": "moaa.dev/role", "operator": "Equal", "value": role, "effect": "NoSchedule"}
    only = {"key": "moaa.dev/only", "operator": "Equal", "value": moaa, "effect": "NoSchedule"}
    selector = {"moaa.dev/role": role, **({"moaa.dev/only": moaa} if moaa else {})}
    return {"nodeSelector": selector, "tolerations": [GPU, taint, *([only] if moaa else [])]}


def roles_of(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Selector and tolerations of each role's pods."""
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    children = [
        *bound(MOAA, settings).servers([model]),
        *bound(MOAA, settings).stage(job_of("i1-sft", MOAA), attempt=1, shards=None),
        *bound(MOAA, settings).check(job_of("i0-resolve", MOAA), Role.PREFLIGHT, attempt=1),
    ]
    templates = {t["spec"]["containers"][0]["name"]: t["spec"] for c in children for t in pod_templates(c)}
    return {name: (spec.get("nodeSelector"), spec.get("tolerations")) for name, spec in templates.items()}


def test_pods_go_to_the_nodes_of_their_role_and_a_runs_own_nodes_come_first() -> None:
    shared = {role: placed(role) for role in ("inference", "training")} | {"system": {"nodeSelector": {"pool": "s"}}}
    demo = {"namespace": "team", "moaa": "demo"}
    own = {**demo, "role": "training", "nodeGroup": "big", **placed("training", "demo")}
    other = {**demo, "moaa": "another", "role": "inference", **placed("inference", "another")}
    namesake = {**demo, "namespace": "others", "role": "inference", **placed("inference", "namesake")}
    settings = Settings.model_validate({"scheduling": shared, "dedicated": [own, other, namesake]})
    found = roles_of(settings)
    system = ({"pool": "s"}, None)
    assert found["job"] == found["ray-head"] == found["ray-job-submitter"] == system
    assert found["vllm"] == tuple(placed("inference").values())
    assert found["ray-worker"] == tuple(placed("training", "demo").values())
    nowhere = roles_of(Settings())
    assert nowhere["vllm"] == nowhere["ray-worker"] == (None, [GPU])


def test_the_resources_template_is_merged_over_where_the_operator_puts_a_pod() -> None:
    template = {"spec": {"nodeSelector": {"zone": "a", "moaa.dev/role": "mine"}, "tolerations": [{"key": "mine"}]}}
    resource = changed("spec.models.0.serving.template", template)
    model = server_of("big", resource, results(resource))
    assert model is not None
    settings = Settings.model_validate({"scheduling": {"inference": placed("inference")}})
    (pod,) = pod_templates(find(bound(resource, settings).servers([model]), "Deployment"))
    assert pod["spec"]["nodeSelector"] == {"zone": "a", "moaa.dev/role": "mine"}
    assert pod["spec"]["tolerations"] == [*placed("inference")["tolerations"], {"key": "mine"}]


def test_servers_have_an_account_of_their_own_where_the_namespace_has_one() -> None:
    settings = Settings(server_service_accounts={"team/moaa-run": "moaa-serve", "other/moaa-run": "else"})
    model = server_of("big", MOAA, results(MOAA))
    assert model is not None
    before, after = (bound(MOAA, s).servers([model]) for s in (SETTINGS, settings))
    (pod,) = pod_templates(find(after, "Deployment"))
    assert pod["spec"]["serviceAccountName"] == "moaa-serve"
    assert [m["metadata"]["annotations"][HASH_ANNOTATION] for m in before] == [
        m["metadata"]["annotations"][HASH_ANNOTATION] for m in after
    ]
    check = bound(MOAA, settings).check(job_of("i0-resolve", MOAA), Role.PREFLIGHT, attempt=1)
    (pod,) = pod_templates(find(check, "Job"))
    assert pod["spec"]["serviceAccountName"] == "moaa-run"


def test_where_pods_go_comes_from_variables_as_the_chart_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOAA_OPERATOR_SCHEDULING", json.dumps({"training": placed("training")}))
    monkeypatch.setenv(
        "MOAA_OPERATOR_DEDICATED", json.dumps([{"namespace": "team", "moaa": "demo", "role": "inference"}])
    )
    monkeypatch.setenv("MOAA_OPERATOR_SERVER_SERVICE_ACCOUNTS", json.dumps({"team/moaa-run": "moaa-serve"}))
    settings = Settings()
    assert settings.place("team", "demo", NodeRole.TRAINING).node_selector == {"moaa.dev/role": "training"}
    own = Dedicated(namespace="team", moaa="demo", role=NodeRole.INFERENCE)
    assert settings.place("team", "demo", NodeRole.INFERENCE) == own
    assert settings.place("others", "demo", NodeRole.INFERENCE) == Scheduling()
    assert settings.server_account("team", "moaa-run") == "moaa-serve"
    assert settings.server_account("other", "moaa-run") == "moaa-run"
