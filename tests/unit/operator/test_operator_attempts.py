"""Attempts in the decision about a run: which number is next, what counts as a failure, what is found again."""

import json
from datetime import timedelta

import pytest

from moaa.contract.job import StageJob
from tests.operator_helpers import SHORT, Cluster, Object, finished, pod_of, stamp, until, until_servers


def test_a_failed_attempt_is_tried_again_under_the_next_number_and_no_more_often_than_allowed() -> None:
    cluster = Cluster(spec__failures={"retries": 2}, **SHORT)
    for attempt in (1, 2, 3):
        item = until(cluster, "i0-resolve")
        assert item["metadata"]["annotations"]["moaa.dev/attempt"] == str(attempt)
        cluster.end(item, code=1, message=json.dumps({"error": "the Hub did not answer", "permanent": False}))
        cluster.settle()
        cluster.wait(60)
    cluster.settle()
    assert cluster.phase == "Failed"
    succeeded = cluster.condition("Succeeded")
    assert succeeded is not None
    assert "3 attempts failed, the last with: the Hub did not answer" in succeeded["message"]
    assert cluster.running() == []


def test_a_permanent_failure_is_not_tried_again_until_the_resource_is_edited() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i0-resolve")
    cluster.end(item, code=64, message=json.dumps({"error": "no such model", "permanent": True}))
    cluster.settle()
    cluster.wait(3600)
    cluster.settle()
    assert cluster.phase == "Failed"
    stalled = cluster.condition("Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "PermanentFailure")
    cluster.edit(spec__iterations=1, spec__failures={"retries": 1}, **SHORT)
    cluster.settle()
    assert [i["metadata"]["annotations"]["moaa.dev/attempt"] for i in cluster.running()] == ["2"]
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_failure_seen_after_an_edit_counts_for_what_was_edited() -> None:
    cluster = Cluster()
    cluster.step()
    cluster.work(cluster.running()[0])
    cluster.step()
    (resolve,) = cluster.running()
    cluster.end(resolve, code=64, message=json.dumps({"error": "no such thing", "permanent": True}))
    cluster.edit(spec__cost={"gpuHourUsd": "2"})
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_failure_found_after_the_status_was_lost_does_not_bar_an_edit() -> None:
    cluster = Cluster()
    cluster.step()
    cluster.work(cluster.running()[0])
    cluster.step()
    (resolve,) = cluster.running()
    cluster.end(resolve, code=64, message=json.dumps({"error": "no such thing", "permanent": True}))
    cluster.document.pop("status")
    cluster.edit(spec__cost={"gpuHourUsd": "2"})
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_lost_status_is_found_again_from_the_children() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    before = list(cluster.created)
    del cluster.document["status"]
    cluster.settle()
    cluster.work_all()
    cluster.settle()
    assert {"i0-resolve", "i0-stage-data"} <= set(cluster.done)
    assert [n for n in cluster.created if "generate-s" in n] == [n for n in before if "generate-s" in n]
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_recorded_outcome_outlives_its_job() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    for item in (*cluster.of("Job"), *cluster.of("ConfigMap")):
        if item["metadata"]["labels"].get("moaa.dev/stage") in ("i0-resolve", "i0-stage-data"):
            cluster.delete(item["kind"], item["metadata"]["name"])
    before = list(cluster.created)
    cluster.settle()
    assert cluster.created == before


def test_a_job_that_vanished_before_its_outcome_was_seen_is_made_again_under_its_name() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i0-resolve")
    cluster.delete("Job", item["metadata"]["name"])
    cluster.settle()
    assert ("Job", item["metadata"]["name"]) in cluster.objects
    assert cluster.entry("i0-resolve")["attempt"] == 1


def test_work_that_ended_while_the_status_still_waits_for_servers_is_no_failure() -> None:
    cluster = Cluster(**SHORT)
    until_servers(cluster)
    cluster.servers_answer()
    cluster.step(dies="apply")
    assert cluster.entry("i1-generate")["step"] == "Servers"
    cluster.work_all()
    cluster.step(dies="apply")
    cluster.settle()
    entry = cluster.entry("i1-generate")
    assert (entry["attempt"], entry["step"], entry["failures"]) == (1, "Finalise", 0)
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert not [name for name in cluster.created if "i1-generate-s2" in name]


def test_servers_that_go_away_under_work_the_status_does_not_know_of_yet_are_not_released() -> None:
    cluster = Cluster(**SHORT)
    until_servers(cluster)
    cluster.servers_answer()
    cluster.step(dies="apply")
    (item,) = cluster.of("Job", stage="i1-generate")
    for server in cluster.of("Deployment"):
        server["status"] = {"observedGeneration": 1}
    cluster.wait(90 * 60)
    cluster.settle()
    assert ("Job", item["metadata"]["name"]) in cluster.objects
    assert cluster.entry("i1-generate")["releases"] == 0


def test_without_kuberay_training_waits_and_says_so() -> None:
    cluster = Cluster(missing={"RayJob"}, **SHORT)
    for _ in range(20):
        cluster.settle()
        cluster.servers_answer()
        cluster.work_all()
    for kind in ("Training", "Stalled"):
        condition = cluster.condition(kind)
        assert condition is not None
        assert condition["reason"] == "KubeRayMissing"
        assert "rayjobs.ray.io" in condition["message"]
    assert cluster.phase == "Waiting"
    cluster.missing = frozenset()
    cluster.run()
    assert cluster.phase == "Succeeded"


@pytest.mark.parametrize("replaced_after_s", [0, 600])  # times have whole seconds
def test_a_training_that_says_it_runs_while_its_head_was_replaced_is_tried_again(replaced_after_s: int) -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-sft")
    head_of(cluster, item)
    cluster.wait(5)
    begun = {"rayJobInfo": {"startTime": stamp(cluster.now)}}
    item["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "c", **begun}
    cluster.settle()
    training = cluster.condition("Training")
    assert training is not None
    assert training["status"] == "True"
    cluster.wait(replaced_after_s)
    head_of(cluster, item)
    desired = cluster.settle()
    training = cluster.condition("Training")
    assert training is not None
    assert (training["status"], training["reason"]) == ("False", "HeadLost")
    assert desired.requeue_after_s is not None
    cluster.wait(119)
    cluster.settle()
    assert cluster.entry("i1-sft")["failures"] == 0
    cluster.wait(1)
    cluster.settle()
    entry = cluster.entry("i1-sft")
    assert (entry["failures"], entry["reason"], entry["isPermanent"]) == (1, "HeadLost", False)
    assert ("RayJob", item["metadata"]["name"]) not in cluster.objects
    cluster.run()
    assert cluster.phase == "Succeeded"


@pytest.mark.parametrize("clock_s", [-3600, -90, 3600], ids=["an hour late", "late", "early"])
def test_a_head_whose_nodes_clock_is_off_is_not_taken_for_another(clock_s: int) -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-sft")
    head_of(cluster, item, clock_s=clock_s)
    cluster.wait(20)
    begun = {"rayJobInfo": {"startTime": stamp(cluster.now + timedelta(seconds=clock_s))}}
    item["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "c", **begun}
    for _ in range(3):
        cluster.settle()
        training = cluster.condition("Training")
        assert training is not None
        assert training["status"] == "True"
        cluster.wait(300)
    head_of(cluster, item, clock_s=clock_s)
    cluster.settle()
    training = cluster.condition("Training")
    assert training is not None
    assert (training["status"], training["reason"]) == ("False", "HeadLost")


def head_of(cluster: Cluster, item: Object, *, clock_s: int | None = None) -> None:
    """A Ray head made now; `clock_s`: its node's clock is ahead by so much, and it says when its container started."""
    name = f"{item['metadata']['name']}-head"
    labels = {"ray.io/cluster": "c", "ray.io/node-type": "head"}
    owned = [{"kind": "RayCluster", "name": "c", "uid": item["metadata"]["uid"]}]
    meta = {"name": name, "namespace": "team", "labels": labels, "ownerReferences": owned, "uid": name}
    made = {"creationTimestamp": stamp(cluster.now)}
    status: Object = {"phase": "Running"}
    if clock_s is not None:
        running = {"startedAt": stamp(cluster.now + timedelta(seconds=clock_s))}
        status["containerStatuses"] = [{"name": "ray-head", "state": {"running": running}}]
    cluster.objects["Pod", name] = {"kind": "Pod", "metadata": {**meta, **made}, "status": status}


# Another run of equal inputs over the same store


FENCED = json.dumps({"error": "attempt 2 has taken over from attempt 1; this process stops", "permanent": False})


def overtaken(stage: str) -> tuple[Cluster, StageJob]:
    cluster = Cluster(spec__failures={"retries": 0}, **SHORT)
    item = until(cluster, stage)
    job: StageJob = cluster.job_of(item)
    cluster.end(item, code=69, message=FENCED)
    cluster.settle()
    return cluster, job


@pytest.mark.parametrize("stage", ["i1-generate", "i1-sft"])
def test_a_stage_that_another_run_took_over_waits_for_its_result_and_has_not_failed(stage: str) -> None:
    cluster, job = overtaken(stage)
    entry = cluster.entry(stage)
    assert (entry["failures"], entry["reason"], entry["isPermanent"]) == (0, "AnotherRun", False)
    succeeded = cluster.condition("Succeeded")
    assert succeeded is not None
    assert succeeded["reason"] == "AnotherRun"
    assert f"{stage} another run of equal inputs is at work on it" in succeeded["message"]
    assert cluster.running() == []
    assert cluster.of("Deployment") == []
    work = [name for name in cluster.created if stage in name]
    cluster.worked_on = {job.fingerprint}
    for _ in range(8):  # it is asked for its result every few minutes, and nothing starts
        cluster.wait(180)
        cluster.settle()
        cluster.work_all()
        cluster.settle()
        assert cluster.entry(stage)["reason"] == "AnotherRun"
    cluster.manifests[job.fingerprint] = finished(job)
    cluster.wait(180)
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert [name for name in cluster.created if stage in name] == work


def test_when_the_other_run_falls_silent_the_next_attempt_begins() -> None:
    cluster, _ = overtaken("i1-generate")
    cluster.wait(180)
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert len([name for name in cluster.created if "generate-s" in name]) == 2


def test_a_permanent_failure_counts_more_than_an_attempt_elsewhere() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    cluster.end(item, code=69, message=FENCED)
    permanent = {"exitCode": 64, "message": json.dumps({"error": "no such column", "permanent": True})}
    pod_of(cluster, item, {"containerStatuses": [{"name": "job", "state": {"terminated": permanent}}]}, "-other")
    cluster.settle()
    assert cluster.entry("i1-generate")["isPermanent"]


def test_a_training_whose_manifest_is_being_written_is_not_said_to_start() -> None:
    cluster = Cluster(**SHORT)
    cluster.work(until(cluster, "i1-sft"))
    cluster.step()
    assert cluster.entry("i1-sft")["step"] == "Finalise"
    assert cluster.condition("Training") is None
    written = cluster.document["status"]
    cluster.step()
    assert cluster.document["status"] == written, "nothing is new"
