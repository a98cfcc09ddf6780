"""What a stranger reads at typical moments: phase and reason in the table, cause and remedy in the conditions."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.operator_helpers import SHORT, Cluster, pod_of, stamp, unplaced, until, until_servers

Object = dict[str, Any]
NO_GPU = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
NO_MEMORY = "0/4 nodes are available: 4 Insufficient memory."
ROWS = (
    "i1-generate: 30 of 1000 rows failed (context-length: 30), more than spec.failures.maxFraction 0.01 allows; mend it"
)


def waiting(cluster: Cluster, reason: str, words: str, **last: Any) -> Object:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(cluster.now)}
    state = {"waiting": {"reason": reason, "message": words}}
    container = {"name": "job", "image": "registry/x:9", "restartCount": 1, "state": state, "lastState": last}
    return {"phase": "Pending", "conditions": [placed], "containerStatuses": [container]}


def a_server_without_gpu(cluster: Cluster) -> None:
    until_servers(cluster)
    cluster.server_pod(cluster.of("Deployment")[0], **unplaced(cluster, NO_GPU))


def servers_given_back(cluster: Cluster) -> None:
    a_server_without_gpu(cluster)
    cluster.settle()
    cluster.wait(3600)


def a_server_without_image(cluster: Cluster) -> None:
    until_servers(cluster)
    cluster.server_pod(cluster.of("Deployment")[0], **waiting(cluster, "ErrImagePull", "not found"))


def some_servers_answer(cluster: Cluster) -> None:
    until_servers(cluster)
    cluster.of("Deployment")[0]["status"] = {"observedGeneration": 1, "readyReplicas": 1}


def a_server_that_dies(cluster: Cluster) -> None:
    until_servers(cluster)
    ended = {"exitCode": 1, "message": "ValueError: no such quantization"}
    status = waiting(cluster, "CrashLoopBackOff", "back-off 40s", terminated=ended)
    cluster.server_pod(cluster.of("Deployment")[0], **status)


def a_job_without_image(cluster: Cluster) -> None:
    pod_of(cluster, until(cluster, "i1-generate"), waiting(cluster, "ImagePullBackOff", "Back-off pulling"))


def a_job_without_secret(cluster: Cluster) -> None:
    words = 'secret "hub" not found'
    pod_of(cluster, until(cluster, "i1-generate"), waiting(cluster, "CreateContainerConfigError", words))


def a_job_without_machine(cluster: Cluster) -> None:
    pod_of(cluster, until(cluster, "i1-generate"), unplaced(cluster, NO_MEMORY))


def a_training_without_gpu(cluster: Cluster) -> None:
    item = until(cluster, "i1-sft")
    item["status"] = {"jobDeploymentStatus": "Initializing", "rayClusterName": "c"}
    pod_of(cluster, item, unplaced(cluster, NO_GPU), **{"ray.io/cluster": "c"})


def a_training_in_a_queue(cluster: Cluster) -> None:
    until(cluster, "i1-sft")["spec"] = {"suspend": True}


def a_store_that_refuses(cluster: Cluster) -> None:
    cluster.settle()
    error = "s3://bucket: AccessDenied; check storage.secret"
    cluster.end(cluster.running()[0], code=1, message=json.dumps({"error": error, "permanent": False}))


def rows_that_fail(cluster: Cluster) -> None:
    item = until(cluster, "i1-generate")
    cluster.end(item, code=64, message=json.dumps({"error": ROWS, "permanent": True}), reason="PodFailurePolicy")


def a_crash(cluster: Cluster) -> None:
    cluster.end(until(cluster, "i1-generate"), code=1, message="RuntimeError: boom")


def suspended(cluster: Cluster) -> None:
    until(cluster, "i1-generate")
    cluster.edit(spec__suspend=True, **SHORT)


def all_well(cluster: Cluster) -> None:
    until(cluster, "i1-generate")


@pytest.mark.parametrize(
    ("happens", "phase", "reason", "is_stalled", "words"),
    [
        (a_server_without_gpu, "Waiting", "GPUsUnavailable", False, NO_GPU),
        (servers_given_back, "Waiting", "NoMachine", False, "i1-generate tries again at 01:"),
        (a_server_without_image, "Waiting", "ImagePullBackOff", True, "image registry/x:9: not found. Check the image"),
        (some_servers_answer, "Waiting", "WaitingForServers", False, "1 of 3 servers answer; the server of"),
        (a_server_that_dies, "Waiting", "CrashLoopBackOff", True, "no such quantization"),
        (a_job_without_image, "Waiting", "ImagePullBackOff", True, "imagePullSecrets"),
        (a_job_without_secret, "Waiting", "CreateContainerConfigError", True, '"hub" not found. Create the Secret'),
        (a_job_without_machine, "Waiting", "Unschedulable", False, NO_MEMORY),
        (a_training_without_gpu, "Waiting", "GPUsUnavailable", False, "i1-sft: pod small-i1-sft-s1"),
        (a_training_in_a_queue, "Waiting", "Queued", False, "its queue has not admitted it yet"),
        (a_store_that_refuses, "Pending", "StorageNotReady", True, "check storage.secret"),
        (rows_that_fail, "Failed", "StageFailed", True, ROWS),
        (a_crash, "Waiting", "Retrying", False, "RuntimeError: boom"),
        (suspended, "Suspended", "Suspended", False, "spec.suspend"),
        (all_well, "Running", "Generating", False, "i1-generate attempt 1: 0/1 shards"),
    ],
)  # fmt: skip
def test_what_a_stranger_reads(
    happens: Callable[[Cluster], None], phase: str, reason: str, is_stalled: bool, words: str
) -> None:
    cluster = Cluster(**SHORT)
    happens(cluster)
    cluster.settle()
    succeeded, stalled = cluster.condition("Succeeded"), cluster.condition("Stalled")
    assert succeeded is not None
    assert stalled is not None
    assert (cluster.phase, succeeded["reason"]) == (phase, reason)
    assert words in succeeded["message"]
    assert (stalled["status"] == "True") is is_stalled
    if is_stalled:
        assert words in stalled["message"]


def test_what_the_kubelet_calls_a_missing_image_changes_nothing() -> None:
    """It alternates between two words for as long as the image is missing."""
    cluster = Cluster(**SHORT)
    a_server_without_image(cluster)
    cluster.settle()
    first = cluster.condition("Stalled")
    cluster.server_pod(cluster.of("Deployment")[0], **waiting(cluster, "ImagePullBackOff", "Back-off: not found"))
    cluster.settle()
    second = cluster.condition("Stalled")
    assert first is not None
    assert second is not None
    assert first["reason"] == second["reason"]


def test_shards_that_find_no_machine_do_not_hide_those_that_work() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    pod_of(cluster, item, {"phase": "Running"})
    other = {**item, "metadata": {**item["metadata"], "name": "other"}}
    pod_of(cluster, other, unplaced(cluster, NO_MEMORY))
    cluster.settle()
    succeeded = cluster.condition("Succeeded")
    assert succeeded is not None
    assert succeeded["reason"] == "Generating"
