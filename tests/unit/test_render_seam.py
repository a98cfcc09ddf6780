"""Rendering and control together, and manifests against the API server's own models."""

from typing import Any, cast

import pytest
from kubernetes.client import V1ConfigMap, V1Deployment, V1Job, V1PodTemplateSpec, V1Service
from pydantic import ValidationError

from moaa.api import MoAA
from moaa.contract.checks import check_job
from moaa_operator import render
from moaa_operator.decide.renderer import Renderer
from moaa_operator.decide.served import server_of
from tests.operator_helpers import Cluster, FakeRender
from tests.render_world import OWNER, RESOURCE, SETTINGS, job_of, pod_templates, restricted, results

RENDERER: Renderer = render
"""The type checker compares every signature."""
MODELS: dict[str, Any] = {"Deployment": V1Deployment, "Job": V1Job, "Service": V1Service, "ConfigMap": V1ConfigMap}
MOAA = MoAA.model_validate(RESOURCE)


def manifests() -> list[dict[str, Any]]:
    found = results(MOAA)
    served = [server_of(name, MOAA, found) for name in ("big", "small", "claimed", "@i1-sft")]
    question = check_job(MOAA, found, run=OWNER.run)
    children = render.servers([s for s in served if s], MOAA, OWNER, SETTINGS)
    for stage, shards in (("i0-resolve", None), ("i1-generate", 3), ("i1-sft", None)):
        job = job_of(stage, MOAA)
        children += render.stage_children(job, MOAA, OWNER, attempt=1, shards=shards, settings=SETTINGS)
        children += render.finalise_children(job, MOAA, OWNER, attempt=1, settings=SETTINGS)
    children += render.inspect_children(question, MOAA, OWNER, attempt=1, settings=SETTINGS)
    return children + render.preflight_children(question, MOAA, OWNER, attempt=1, settings=SETTINGS)


def test_every_field_is_one_that_kubernetes_has() -> None:
    for manifest in manifests():
        model = MODELS.get(manifest["kind"])
        if model is not None:
            model.model_validate(manifest, strict=True)
        for template in pod_templates(manifest):
            V1PodTemplateSpec.model_validate(template, strict=True)


def test_a_misspelt_field_would_be_noticed() -> None:
    job = next(m for m in manifests() if m["kind"] == "Job")
    job["spec"]["podReplacmentPolicy"] = "Failed"
    with pytest.raises(ValidationError, match="podReplacmentPolicy"):
        V1Job.model_validate(job, strict=True)


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.render = cast(FakeRender, render)
    return made


def test_a_whole_run_goes_through_with_real_manifests(cluster: Cluster) -> None:
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert cluster.of("Deployment") == cluster.of("Service") == []
    assert len(set(cluster.created)) == len(cluster.created)


def test_pods_stay_restricted_whatever_control_asks_for(cluster: Cluster) -> None:
    for _ in range(6):
        cluster.settle()
        for manifest in list(cluster.objects.values()):
            assert [objection for pod in pod_templates(manifest) for objection in restricted(pod)] == []
        cluster.servers_answer()
        cluster.work_all()


def test_looking_again_changes_nothing(cluster: Cluster) -> None:
    for _ in range(6):
        desired = cluster.settle()
        assert desired.apply == ()
        cluster.servers_answer()
        cluster.work_all()
