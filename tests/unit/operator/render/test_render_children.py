"""What holds for every kind of child."""

import json

import pytest

from moaa.weights.served import server_of
from moaa_operator.kube.kueue import QUEUE_LABEL
from moaa_operator.kube.owner import HASH_ANNOTATION, QUEUE_ANNOTATION, ROLE_LABEL, RUN_LABEL, Role
from tests.render_world import (
    MOAA,
    OWNER,
    SETTINGS,
    bound,
    environment,
    everything,
    job_of,
    pod_templates,
    restricted,
    results,
)


def test_every_pod_is_restricted() -> None:
    templates = [template for manifest in everything() for template in pod_templates(manifest)]
    assert len(templates) >= 16
    assert [objection for template in templates for objection in restricted(template)] == []


def test_every_pod_has_the_runs_account_without_its_token_and_writes_only_where_it_may() -> None:
    for manifest in everything():
        for template in pod_templates(manifest):
            spec = template["spec"]
            assert spec["serviceAccountName"] == "moaa-run"
            assert spec["automountServiceAccountToken"] is False
            assert spec["enableServiceLinks"] is False
            assert spec["imagePullSecrets"] == [{"name": "regcred"}]
            assert template["metadata"]["labels"][RUN_LABEL] == "demo"
            for one in [*spec["containers"], *spec.get("initContainers", [])]:
                mounted = {mount["mountPath"] for mount in one["volumeMounts"]}
                assert {"/tmp", "/home/moaa"} <= mounted
                assert environment(one)["HOME"] == "/home/moaa"
                named = {volume["name"] for volume in spec["volumes"]}
                assert {mount["name"] for mount in one["volumeMounts"]} <= named


def test_every_child_is_owned_labelled_hashed_and_in_its_namespace() -> None:
    for manifest in everything():
        about = manifest["metadata"]
        assert about["namespace"] == "team"
        assert about["ownerReferences"] == [dict(OWNER.reference)]
        assert about["labels"][RUN_LABEL] == "demo"
        assert about["labels"][ROLE_LABEL] in set(Role)
        assert len(about["annotations"][HASH_ANNOTATION]) == 64


def test_what_holds_machines_joins_the_queue_of_the_resource_and_nothing_else_does() -> None:
    for manifest in everything():
        about = manifest["metadata"]
        queues = about["labels"].get(QUEUE_LABEL), about["annotations"].get(QUEUE_ANNOTATION)
        assert queues == (("gpus", "gpus") if list(pod_templates(manifest)) else (None, None))
        assert not any(QUEUE_LABEL in template["metadata"]["labels"] for template in pod_templates(manifest))


def test_a_scheduler_of_the_installation_places_every_pod() -> None:
    settings = SETTINGS.model_copy(update={"scheduler_name": "volcano"})
    rendered = bound(MOAA, settings)
    served = [one for name in ("big", "small") if (one := server_of(name, MOAA, results(MOAA))) is not None]
    made = [*rendered.servers(served), *rendered.stage(job_of("i1-sft", MOAA), attempt=1, shards=None)]
    templates = [template for manifest in made for template in pod_templates(manifest)]
    assert [template["spec"]["schedulerName"] for template in templates] == ["volcano"] * 5


def test_names_are_unique_among_children_of_a_kind() -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in everything()]
    assert len(set(names)) == len(names)


def test_no_secret_value_reaches_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MOAA_SECRET_HUB_TOKEN", "MOAA_SECRET_X_K")
    for variable in variables:
        monkeypatch.setenv(variable, "SENTINEL")
    assert "SENTINEL" not in json.dumps(everything())


def test_rendering_twice_gives_the_same() -> None:
    assert everything() == everything()
