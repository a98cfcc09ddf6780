"""What a cluster will not let be made: in the words that Kubernetes 1.35 and KubeRay use, told with a remedy."""

import json
from typing import Any

import pytest

from moaa_operator.decide.reconcile import Desired, reconcile
from moaa_operator.kube import rejections
from moaa_operator.kube.objects import Problem
from moaa_operator.observe.observed import Observed
from tests.operator_helpers import OWNER, SHORT, Cluster, until, until_servers

Object = dict[str, Any]
QUOTA = (
    'Error creating: pods "x-{}" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8, used: '
    "requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8"
)


@pytest.mark.parametrize(
    ("words", "status", "reason", "remedy"),
    [
        (QUOTA.format("a"), 0, "QuotaExceeded", "kubectl describe resourcequota"),
        (
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes (volume "v")',
            403, "PodSecurity", "pod template",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 4Gi',
            403, "LimitRange", "kubectl describe limitrange",
        ),
        (
            'pods "x" is forbidden: error looking up service account team/x: serviceaccount "x" not found',
            403, "ServiceAccountMissing", "runNamespaces",
        ),
        (
            'jobs.batch "x" is forbidden: unable to create new content in namespace x because it is being terminated',
            403, "NamespaceTerminating", "deleted",
        ),
        ('pods "x" is forbidden: no PriorityClass with name high was found', 403, "PriorityClassMissing", "Create"),
        ('admission webhook "v.kyverno.svc" denied the request: no', 400, "AdmissionDenied", "rule of this cluster"),
        (
            'jobs.batch is forbidden: User "system:serviceaccount:moaa:operator" cannot create resource "jobs"',
            403, "NotAuthorized", "runNamespaces",
        ),
        ('namespaces "team" not found', 404, "NamespaceMissing", "Create the namespace"),
        ('Job.batch "x" is invalid: spec.template.spec.containers[0].env: Duplicate', 422, "Invalid", "pod template"),
        (
            'failed to create typed patch object (team/x; apps/v1, Kind=Deployment): .spec.template.spec.tolerations: '
            'expected list, got &{map[]}', 500, "Invalid", "pod template",
        ),
    ],
)  # fmt: skip
def test_words_of_the_cluster_get_a_reason_and_a_remedy(words: str, status: int, reason: str, remedy: str) -> None:
    found = rejections.problem("Job team/x", words, status=status)
    assert found.reason == reason
    assert found.message.startswith("Job team/x cannot be made: ")
    assert remedy in found.message
    assert found.reason in rejections.REASONS


def test_another_try_under_another_name_is_the_same_problem() -> None:
    assert rejections.problem("x", QUOTA.format("abc12")) == rejections.problem("x", QUOTA.format("zyx98"))


def test_words_nobody_knows_are_told_as_they_are() -> None:
    assert rejections.problem("x", "odd", reason="Strange") == Problem("Strange", "x cannot be made: odd")


class Denying(Cluster):
    """A cluster whose API server refuses some kinds, as the controller tells the decision."""

    def __init__(self, *kinds: str, **changes: Any) -> None:
        super().__init__(**changes)
        self.kinds = kinds

    def decide(self) -> Desired:
        first = super().decide()
        wanted = [m for m in (*first.apply, *first.create) if m["kind"] in self.kinds]
        refusals = {(m["kind"], m["metadata"]["name"]): Problem("QuotaExceeded", "quota") for m in wanted}
        if not refusals:
            return first
        observed = Observed(**{**vars(self.observed()), "refusals": refusals})
        return reconcile(observed, now=self.now, settings=self.settings, render=self.render)

    def _make(self, manifest: Object) -> None:
        if manifest["kind"] not in self.kinds:
            super()._make(manifest)


def told(cluster: Cluster) -> dict[str, str]:
    """Reasons by condition."""
    return {c["type"]: c["reason"] for c in cluster.status["conditions"]}


def test_a_job_that_may_not_be_made_is_told_until_it_may() -> None:
    cluster = Denying("Job", **SHORT)
    for _ in range(3):
        assert cluster.settle().is_refused
        assert told(cluster) | {"Stalled": "QuotaExceeded", "Succeeded": "QuotaExceeded"} == told(cluster)
        cluster.wait(60)
    cluster.kinds = ()
    assert not cluster.settle().is_refused
    assert told(cluster)["Stalled"] == "Progressing"
    assert cluster.entry("preflight")["attempt"] == 1
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_training_that_may_not_be_made_says_why() -> None:
    cluster = Denying("RayJob", **SHORT)
    for _ in range(20):
        cluster.settle()
        cluster.servers_answer()
        cluster.work_all()
    assert told(cluster)["Training"] == "QuotaExceeded"
    cluster.kinds = ()
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_servers_that_may_not_be_made_hold_the_others_no_longer_than_those_without_a_machine() -> None:
    cluster = Denying("Deployment", **SHORT)
    for _ in range(20):
        cluster.settle()
        cluster.work_all()
    assert told(cluster)["ServersReady"] == "QuotaExceeded"
    assert cluster.entry("i1-generate")["step"] == "Servers"
    cluster.wait(60 * 60)
    cluster.settle()
    entry = cluster.entry("i1-generate")
    assert (entry["releases"], entry["failures"]) == (1, 0)
    cluster.kinds = ()
    cluster.wait(30 * 60)
    cluster.run()
    assert cluster.phase == "Succeeded"


def said(about: Object, words: str, *, second: int = 0, reason: str = "FailedCreate") -> Object:
    return {
        "kind": "Event", "type": "Warning", "reason": reason, "message": words,
        "metadata": {"name": f"e{second}", "namespace": OWNER.namespace, "ownerReferences": []},
        "involvedObject": {"uid": about["metadata"]["uid"]}, "lastTimestamp": f"2026-01-01T00:00:{second:02}Z",
    }  # fmt: skip


@pytest.mark.parametrize("stage", ["i0-resolve", "i1-sft"])
def test_a_job_whose_pods_cannot_be_made_says_why_in_its_controllers_words(stage: str) -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, stage)
    desired = cluster.settle()
    assert desired.requeue_after_s is not None
    assert desired.requeue_after_s < 5
    events = [said(item, "an older one"), said(item, QUOTA.format("b"), second=9)]
    cluster.objects |= {("Event", e["metadata"]["name"]): e for e in events}
    cluster.settle()
    stalled = cluster.condition("Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "QuotaExceeded")
    assert item["metadata"]["name"] in stalled["message"]
    assert "exceeded quota: gpus" in stalled["message"]
    before = json.dumps(cluster.status)
    again = said(item, QUOTA.format("other"), second=20)
    cluster.objects["Event", "e20"] = again
    cluster.settle()
    assert json.dumps(cluster.status) == before
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_ray_cluster_whose_pods_cannot_be_made_says_why() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-sft")
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateHeadPod", "message": QUOTA}
    item["status"] = {"jobDeploymentStatus": "Initializing", "rayClusterStatus": {"conditions": [refused]}}
    cluster.settle()
    assert (told(cluster)["Training"], told(cluster)["Stalled"]) == ("QuotaExceeded", "QuotaExceeded")


def test_a_server_whose_pods_cannot_be_made_says_why() -> None:
    cluster = Cluster(**SHORT)
    until_servers(cluster)
    words = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}
    cluster.of("Deployment")[0]["status"] = {"conditions": [condition]}
    cluster.settle()
    assert (told(cluster)["ServersReady"], told(cluster)["Stalled"]) == ("PodSecurity", "PodSecurity")
