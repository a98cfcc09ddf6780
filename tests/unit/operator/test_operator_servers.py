"""A stage's servers in the decision about a run: all up before it starts, given back together, in turn."""

import json

import pytest

from moaa.contract.job import StageJob
from tests.operator_helpers import SETTINGS, SHORT, Cluster, Object, stamp, until, until_servers


def test_a_stage_starts_when_all_its_servers_answer_and_is_told_where() -> None:
    cluster = Cluster(**SHORT)
    until_servers(cluster)
    assert {d["metadata"]["annotations"]["moaa.dev/model"] for d in cluster.of("Deployment")} == {"a", "b", "agg"}
    first, *others = cluster.of("Deployment")
    first["status"] = {"observedGeneration": 1, "readyReplicas": 1}
    cluster.settle()
    assert cluster.of("Job", stage="i1-generate") == []
    for item in others:
        item["status"] = {"observedGeneration": 1, "readyReplicas": 1}
    cluster.settle()
    job = cluster.job_of(cluster.of("Job", stage="i1-generate")[0])
    assert isinstance(job, StageJob)
    assert set(job.endpoints) == {"a", "b", "agg"}
    services = {s["metadata"]["name"] for s in cluster.of("Service")}
    assert {url.split("//")[1].split(".")[0] for urls in job.endpoints.values() for url in urls} == services


def test_servers_that_find_no_machine_are_all_released_and_come_back_at_another_moment() -> None:
    cluster = Cluster(**SHORT)
    until_servers(cluster)
    first, *others = cluster.of("Deployment")
    for item in others:
        item["status"] = {"observedGeneration": 1, "readyReplicas": 1}
    words = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    cluster.server_pod(first, conditions=[{**waiting, "lastTransitionTime": stamp(cluster.now)}])
    desired = cluster.settle()
    ready = cluster.condition("ServersReady")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "GPUsUnavailable")
    assert words in ready["message"]
    assert desired.requeue_after_s is not None
    assert desired.requeue_after_s <= SETTINGS.resync_active_s
    cluster.wait(59 * 60)
    cluster.settle()
    assert len(cluster.of("Deployment")) == 3
    cluster.wait(60)
    cluster.settle()
    assert cluster.of("Deployment") == []
    entry = cluster.entry("i1-generate")
    assert (entry["failures"], entry["releases"]) == (0, 1)
    assert words in entry["message"]
    cluster.wait(30 * 60)
    cluster.settle()
    assert len(cluster.of("Deployment")) == 3


@pytest.mark.parametrize(
    ("statuses", "reason", "minutes"),
    [
        pytest.param(
            {"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"exitCode": 1, "message": "ValueError: no such quantization"}}},
            "CrashLoopBackOff", 1, id="a server that keeps dying",
        ),
        pytest.param(
            {"restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
            "ImagePullBackOff", 32, id="an image that is not there",
        ),
        pytest.param({"restartCount": 0, "state": {"running": {}}}, "StartupTimeout", 32, id="a server that hangs"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_start_fails_the_attempt(statuses: Object, reason: str, minutes: int) -> None:
    cluster = Cluster(**SHORT)
    until_servers(cluster)
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(cluster.now)}
    pod = {"conditions": [scheduled], "containerStatuses": [{"name": "vllm", **statuses}]}
    cluster.server_pod(cluster.of("Deployment")[0], **pod)
    cluster.wait(60 * minutes)
    cluster.settle()
    entry = cluster.entry("i1-generate")
    assert (entry["failures"], entry["reason"]) == (1, reason)
    assert cluster.of("Deployment") == []


def test_servers_go_before_training_and_those_two_stages_need_stay() -> None:
    cluster = Cluster()
    until(cluster, "i1-sft")
    cluster.settle()
    assert cluster.of("Deployment") == []
    until(cluster, "i1-sample")
    up = {d["metadata"]["annotations"]["moaa.dev/model"] for d in cluster.of("Deployment")}
    assert "@i1-sft" in up
    created = {d["metadata"]["uid"] for d in cluster.of("Deployment")}
    until(cluster, "i1-judge")
    kept = {d["metadata"]["annotations"]["moaa.dev/model"]: d["metadata"]["uid"] for d in cluster.of("Deployment")}
    assert {"a", "b", "agg"} <= set(kept)
    assert {uid for model, uid in kept.items() if model == "eva"} <= created


def test_in_turn_serves_one_model_at_a_time_until_no_row_waits() -> None:
    cluster = Cluster(spec__serving={"schedule": "InTurn"}, **SHORT)
    turns: list[str] = []
    waiting = {"a": 10}
    for model, rows in (("a", {"b": 10}), ("b", {"agg": 10}), ("agg", None)):
        item = until(cluster, "i1-generate")
        job = cluster.job_of(item)
        assert list(job.endpoints) == [model]
        turns.append(model)
        assert len(cluster.of("Deployment")) == 1
        if rows is not None:
            waiting = rows
            answer = json.dumps({"waiting": waiting, "calls": 10})
            cluster.end(item, code=75, message=answer, reason="FailedIndexes")
    assert turns == ["a", "b", "agg"]
    assert cluster.entry("i1-generate")["failures"] == 0
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_in_turn_gives_up_when_a_whole_cycle_sends_no_call() -> None:
    cluster = Cluster(spec__serving={"schedule": "InTurn"}, **SHORT)
    for _ in range(3):
        item = until(cluster, "i1-generate")
        cluster.end(item, code=75, message=json.dumps({"waiting": {"a": 3}, "calls": 0}))
        cluster.settle()
    entry = cluster.entry("i1-generate")
    assert (entry["isPermanent"], entry["reason"]) == (True, "RowsStuck")


SILENT = json.dumps({"error": "model 'a': no server answered for 10 minutes", "permanent": False, "servers": True})


def uids(cluster: Cluster) -> set[str]:
    return {item["metadata"]["uid"] for item in cluster.of("Deployment")}


@pytest.mark.parametrize("silent", [True, False], ids=["its servers were silent", "its own fault"])
def test_servers_that_a_stage_failed_on_are_made_anew(silent: bool) -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    before = uids(cluster)
    cluster.end(item, code=1, message=SILENT if silent else json.dumps({"error": "it broke", "permanent": False}))
    cluster.settle()
    assert cluster.entry("i1-generate")["failures"] == 1
    assert uids(cluster) == (set() if silent else before)
    cluster.wait(60)
    until(cluster, "i1-generate")
    assert bool(uids(cluster) & before) is not silent
    cluster.run()
    assert cluster.phase == "Succeeded"
