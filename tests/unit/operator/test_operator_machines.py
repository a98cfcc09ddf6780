"""Machines that never come and machines that stop answering, in the decision about a run."""

from datetime import datetime, timedelta

import pytest

from moaa_operator.decide.outcomes import LEAVING_GRACE
from tests.operator_helpers import SHORT, Cluster, Object, pod_of, stamp, unplaced, until, until_servers

NO_GPU = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
LABELS = {"ray.io/cluster": "c"}


def training(cluster: Cluster, **status: str) -> Object:
    item = until(cluster, "i1-sft")
    item["status"] = {"rayClusterName": "c", **status}
    return item


@pytest.mark.parametrize(
    "status",
    [{"jobDeploymentStatus": "Initializing"}, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}],
    ids=["before it began", "after it lost a worker"],
)
def test_a_training_without_machines_gives_back_those_it_has_and_has_not_failed(status: dict[str, str]) -> None:
    cluster = Cluster(**SHORT)
    pauses = []
    for releases in range(1, 8):  # more often than an attempt may fail
        item = training(cluster, **status)
        pod_of(cluster, item, {"phase": "Running"}, "-head", **{"ray.io/node-type": "head"}, **LABELS)
        pod_of(cluster, item, unplaced(cluster, NO_GPU), **LABELS)
        cluster.settle()
        cluster.wait(59 * 60)
        desired = cluster.settle()
        assert [item["metadata"]["labels"]["moaa.dev/role"] for item in cluster.of("RayJob")] == ["stage"]
        assert desired.requeue_after_s is not None
        assert desired.requeue_after_s <= 60
        cluster.wait(60)
        cluster.settle()
        assert cluster.of("RayJob") == []
        entry = cluster.entry("i1-sft")
        assert (entry["failures"], entry["releases"]) == (0, 1 if "jobStatus" in status else releases)
        assert NO_GPU in entry["message"]
        assert "found no machines for all its pods in 60 minutes" in entry["message"]
        assert cluster.condition("Succeeded")["reason"] == "NoMachine"  # type: ignore[index]
        pauses.append((datetime.fromisoformat(entry["retryAfter"]) - cluster.now) / timedelta(minutes=30))
        cluster.wait(240 * 60)
    # What a part of the pods holds does nothing: it is held ever more seldom, but not where work was going on.
    halves = [1] * 7 if "jobStatus" in status else [1, 2, 4, 8, 8, 8, 8]
    assert all(half / 2 <= pause < half for half, pause in zip(halves, pauses, strict=True))
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_pod_that_cannot_end_does_not_hold_its_stage_up_for_ever() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    pod = pod_of(cluster, item, {"phase": "Running"})
    item["status"] = {"active": 0, "terminating": 1}
    pod["metadata"]["deletionTimestamp"] = stamp(cluster.now)
    desired = cluster.settle()
    assert cluster.entry("i1-generate")["failures"] == 0
    assert desired.requeue_after_s is not None
    cluster.wait((LEAVING_GRACE - timedelta(seconds=1)).total_seconds())
    cluster.settle()
    assert cluster.entry("i1-generate")["failures"] == 0
    cluster.wait(1)
    cluster.settle()
    entry = cluster.entry("i1-generate")
    assert (entry["failures"], entry["reason"]) == (1, "NodeUnreachable")
    assert "its node does not answer" in entry["message"]
    cluster.wait(60)
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert len([name for name in cluster.created if "i1-generate-s" in name]) == 2


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_and_waits_to_be_removed_is_no_matter(phase: str) -> None:
    cluster = Cluster(**SHORT)
    pod = pod_of(cluster, until(cluster, "i1-generate"), {"phase": phase})
    pod["metadata"]["deletionTimestamp"] = stamp(cluster.now)
    cluster.settle()
    cluster.wait(3600)
    cluster.settle()
    assert cluster.entry("i1-generate")["failures"] == 0


def test_a_check_of_the_store_on_a_machine_that_does_not_answer_is_made_again() -> None:
    cluster = Cluster(**SHORT)
    cluster.settle()
    [check] = cluster.running()
    pod_of(cluster, check, {"phase": "Running"})["metadata"]["deletionTimestamp"] = stamp(cluster.now)
    cluster.wait(LEAVING_GRACE.total_seconds())
    cluster.settle()
    assert cluster.entry("preflight")["reason"] == "NodeUnreachable"
    cluster.wait(60)
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_servers_that_a_stage_gave_back_are_not_asked_for_by_another_at_once() -> None:
    cluster = Cluster()
    until_servers(cluster)
    for item in cluster.of("Deployment"):
        cluster.server_pod(item, **unplaced(cluster, NO_GPU))
    cluster.wait(61 * 60)
    cluster.step()
    released = [e["stage"] for e in cluster.status["attempts"] if e["releases"]]
    assert len(released) == 1
    cluster.settle()
    assert cluster.of("Deployment") == []
    cluster.wait(31 * 60)
    cluster.settle()
    assert cluster.of("Deployment") != []
