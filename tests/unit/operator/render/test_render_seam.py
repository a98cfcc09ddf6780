"""Rendering and control together, and manifests against the API server's own models."""

from typing import Any

import pytest
from kubernetes.client import V1ConfigMap, V1Deployment, V1Job, V1PodTemplateSpec, V1Service
from pydantic import ValidationError

from moaa.api import MoAA
from moaa.contract.checks import check_job
from moaa.weights.served import server_of
from moaa_operator import render
from moaa_operator.decide.renderer import Renderer
from moaa_operator.kube.owner import Role
from tests.operator_helpers import Cluster
from tests.render_world import OWNER, RESOURCE, bound, job_of, pod_templates, restricted, results

RENDERER: Renderer = render.bind
"""The type checker compares every signature."""
MODELS: dict[str, Any] = {"Deployment": V1Deployment, "Job": V1Job, "Service": V1Service, "ConfigMap": V1ConfigMap}
MOAA = MoAA.model_validate(RESOURCE)


def manifests() -> list[dict[str, Any]]:
    found = results(MOAA)
    served = [server_of(name, MOAA, found) for name in ("big", "small", "claimed", "@i1-sft")]
    question = check_job(MOAA, found, run=OWNER.run)
    children = bound().servers([s for s in served if s])
    for stage, shards in (("i0-resolve", None), ("i1-generate", 3), ("i1-sft", None)):
        job = job_of(stage, MOAA)
        children += bound().stage(job, attempt=1, shards=shards)
        children += bound().finalise(job, attempt=1)
    children += bound().check(question, Role.INSPECT, attempt=1)
    return children + bound().check(question, Role.PREFLIGHT, attempt=1)


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
    return Cluster(render=render.bind)


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
