"""The decision about one run, as tables: what happens in the cluster, and what the operator makes of it."""

import json

import pytest

from moaa.api.status import MAX_STAGES
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.ready import World, decide
from moaa.plan.stage import Kind, StageJob, StageResult
from moaa_operator.memory import bounded, hold
from tests.operator_helpers import SETTINGS, Cluster, Object, stamp
from tests.plan_helpers import finish, resource

STAGES = [
    "i0-resolve", "i0-stage-data", "i0-evaluate", "i1-generate", "i1-sft", "i1-evaluate-sft", "i1-sample", "i1-judge",
    "i1-dpo", "i1-evaluate-dpo", "i1-promote",
]  # fmt: skip
SHORT = {"spec__training__dpo": None, "spec__data__preference": [], "spec__judge": None, "spec__evaluation": None}
"""resolve, stage-data, generate, sft, promote."""


def until(cluster: Cluster, stage: str, *, role: str = "stage") -> Object:
    """Everything goes well until the stage's Job of this role exists."""
    for _ in range(60):
        cluster.settle()
        cluster.servers_answer()
        found = [*cluster.of("Job", role=role, stage=stage), *cluster.of("RayJob", role=role, stage=stage)]
        if found:
            return found[-1]
        for item in cluster.running():
            cluster.work(item)
    raise AssertionError(f"{stage} never came: {cluster.status}")


def test_a_run_goes_through_every_stage_and_leaves_no_server() -> None:
    cluster = Cluster()
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert cluster.done == STAGES
    assert cluster.of("Deployment") == cluster.of("Service") == []
    assert len(set(cluster.created)) == len(cluster.created)


def test_the_newest_students_score_is_shown_and_a_closed_iteration_keeps_its_own() -> None:
    cluster = Cluster()
    shown: list[tuple[str, str | None]] = []
    while cluster.phase != "Succeeded":
        cluster.settle()
        measured = [stage for stage in cluster.done if "-evaluate" in stage]
        shown += [(stage, cluster.status.get("score")) for stage in measured[len(shown) :]]
        cluster.servers_answer()
        cluster.work_all()
    assert shown == [(s, score(s)) for s in ("i0-evaluate", "i1-evaluate-sft", "i1-evaluate-dpo")]
    assert [(h["stage"], h["score"]) for h in cluster.status["history"]] == [("i1-dpo", score("i1-evaluate-dpo"))]


def score(stage: str) -> str:
    """As `finish` makes it up."""
    return f"{sum(map(ord, stage)) % 100}.0 ± 2.1"


def test_nothing_starts_before_the_store_has_passed() -> None:
    cluster = Cluster()
    cluster.settle()
    assert [item["metadata"]["labels"]["moaa.dev/role"] for item in cluster.running()] == ["preflight"]
    storage = cluster.condition("StorageReady")
    assert storage is not None
    assert storage["status"] == "Unknown"


def test_a_store_that_fails_its_preflight_is_asked_again_with_growing_delays() -> None:
    cluster = Cluster()
    error = json.dumps({"error": "s3://bucket: no such bucket; create it", "permanent": False})
    delays: list[float] = []
    for _ in range(5):
        cluster.settle()
        cluster.end(cluster.running()[0], code=1, message=error)
        desired = cluster.settle()
        assert desired.requeue_after_s is not None
        delays.append(desired.requeue_after_s)
        cluster.wait(desired.requeue_after_s)
    storage, stalled = cluster.condition("StorageReady"), cluster.condition("Stalled")
    assert storage is not None
    assert stalled is not None
    assert (storage["status"], storage["message"]) == ("False", "s3://bucket: no such bucket; create it")
    assert stalled["status"] == "True"
    assert "no such bucket" in stalled["message"]
    assert delays[0] < delays[1] < delays[2]
    assert max(delays) <= SETTINGS.retry_max_s
    cluster.run()
    assert cluster.phase == "Succeeded"


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


def until_servers(cluster: Cluster) -> None:
    for _ in range(20):
        cluster.settle()
        if cluster.of("Deployment"):
            return
        cluster.work_all()
    raise AssertionError("no server came")


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


def test_an_edit_stops_the_running_attempt_and_starts_the_other_one() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    mixture = {"layers": [{"proposers": [{"model": "a", "temperature": "0.1"}]}], "aggregator": {"model": "agg"}}
    cluster.edit(spec__mixture=mixture, **SHORT)
    cluster.settle()
    assert ("Job", item["metadata"]["name"]) not in cluster.objects
    other = until(cluster, "i1-generate")
    fingerprint = "moaa.dev/fingerprint"
    assert other["metadata"]["annotations"][fingerprint] != item["metadata"]["annotations"][fingerprint]
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert cluster.done == ["i0-resolve", "i0-stage-data", "i1-generate", "i1-sft", "i1-promote"]


def test_an_edit_is_told_with_all_it_repeats_until_that_is_done_again() -> None:
    cluster = Cluster(spec__evaluation=None)
    item = until(cluster, "i1-sample")
    assert cluster.condition("Repeating") is None
    mixture = {
        "layers": [{"proposers": [{"model": "a"}, {"model": "b"}]}],
        "aggregator": {"model": "agg", "temperature": "0.5"},
    }
    changes: Object = {"spec__evaluation": None, "spec__mixture": mixture}
    cluster.edit(**changes)
    cluster.settle()
    assert ("Job", item["metadata"]["name"]) not in cluster.objects
    condition = cluster.condition("Repeating")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("True", "Edited")
    assert condition["message"] == (
        "i1-generate: mixture.aggregator.temperature 0.7 → 0.5; i1-sft: its input comes anew from i1-generate; "
        "i1-sample: its input comes anew from i1-sft"
    )
    while "i1-generate" not in cluster.done:
        cluster.servers_answer()
        cluster.work_all()
        cluster.settle()
    assert [entry["stage"] for entry in cluster.status["repeating"]] == ["i1-sft", "i1-sample"]
    until(cluster, "i1-sft")
    cluster.edit(spec__training__sft={"epochs": "9"}, **changes)
    cluster.settle()
    told = {entry["stage"]: entry["why"] for entry in cluster.status["repeating"]}
    assert told["i1-sft"] == "training.epochs 6 → 9"
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert cluster.condition("Repeating") is None
    assert cluster.status["repeating"] == []


def test_an_edit_that_is_taken_back_repeats_nothing_that_was_done() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-sft")
    cluster.edit(**{**SHORT, "spec__mixture__aggregator__temperature": "0.5"})
    cluster.settle()
    assert cluster.condition("Repeating") is not None
    cluster.edit(**SHORT)
    made = list(cluster.created)
    while "i1-generate" not in cluster.done:
        cluster.settle()
        cluster.work_all()
    assert {name.split("-")[1] for name in cluster.created[len(made) :]} == {"inspect"}
    # The training under way was stopped, and begins again.
    assert [entry["stage"] for entry in cluster.status["repeating"]] == ["i1-sft"]


def test_an_edit_that_changes_no_fingerprint_stops_nothing() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    cluster.edit(spec__failures={"retries": 9}, **SHORT)
    cluster.settle()
    assert ("Job", item["metadata"]["name"]) in cluster.objects
    assert cluster.entry("i1-generate")["attempt"] == 1


def test_suspend_leaves_nothing_that_holds_a_machine_and_resume_goes_on() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    cluster.edit(spec__suspend=True, **SHORT)
    desired = cluster.settle()
    assert cluster.running() == cluster.of("Deployment") == cluster.of("Service") == []
    assert cluster.phase == "Suspended"
    assert cluster.entry("i1-generate")["failures"] == 0
    assert desired.requeue_after_s == SETTINGS.resync_idle_s
    cluster.edit(spec__suspend=False, **SHORT)
    item = until(cluster, "i1-generate")
    assert item["metadata"]["annotations"]["moaa.dev/attempt"] == "2"
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_run_that_was_deleted_and_applied_again_takes_what_the_store_has() -> None:
    first = Cluster()
    first.run()
    again = Cluster()
    again.manifests = first.manifests
    again.run()
    assert again.done == STAGES
    kinds = {name.removeprefix("small-").rsplit("-", 2)[0] for name in again.created}
    assert kinds == {"preflight", "i0-resolve", "i0-stage-data", "inspect"}


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


def test_without_kuberay_training_waits_and_says_so() -> None:
    cluster = Cluster(has_kuberay=False, **SHORT)
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
    cluster.has_kuberay = True
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_training_that_says_it_runs_while_its_head_was_replaced_is_tried_again() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-sft")
    begun = {"rayJobInfo": {"startTime": stamp(cluster.now)}}
    item["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "c", **begun}
    head_of(cluster, item)
    cluster.settle()
    training = cluster.condition("Training")
    assert training is not None
    assert training["status"] == "True"
    cluster.wait(600)
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


def head_of(cluster: Cluster, item: Object) -> None:
    """A Ray head made now."""
    name = f"{item['metadata']['name']}-head"
    labels = {"ray.io/cluster": "c", "ray.io/node-type": "head"}
    owned = [{"uid": item["metadata"]["uid"]}]
    meta = {"name": name, "namespace": "team", "labels": labels, "ownerReferences": owned, "uid": name}
    made = {"creationTimestamp": stamp(cluster.now)}
    cluster.objects["Pod", name] = {"kind": "Pod", "metadata": {**meta, **made}, "status": {"phase": "Running"}}


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


def test_a_refused_resource_starts_nothing_and_says_what_is_wrong() -> None:
    cluster = Cluster()
    cluster.document["spec"]["student"] = "nobody"
    cluster.settle()
    accepted = cluster.condition("Accepted")
    assert accepted is not None
    assert accepted["status"] == "False"
    assert "spec.student" in accepted["message"]
    assert cluster.objects == {}


def test_what_only_one_machine_can_carry_out_is_refused_before_anything_is_made() -> None:
    cluster = Cluster(spec__storage__uri="file:///runs", spec__data__sft__0__source="file:///sft.jsonl")
    cluster.settle()
    accepted, stalled = cluster.condition("Accepted"), cluster.condition("Stalled")
    assert accepted is not None
    assert stalled is not None
    assert (accepted["status"], stalled["status"]) == ("False", "True")
    assert "spec.storage.uri" in accepted["message"]
    assert "use s3:// on Kubernetes" in accepted["message"]
    assert "spec.data.sft[0].source" in accepted["message"]
    assert cluster.objects == {}


def test_an_edit_to_what_no_cluster_can_carry_out_starts_nothing_new_and_stops_nothing() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    before = set(cluster.objects)
    cluster.edit(**{**SHORT, "spec__data__sft": [{"source": "file:///sft.jsonl"}]})
    cluster.settle()
    assert set(cluster.objects) == before
    assert ("Job", item["metadata"]["name"]) in cluster.objects
    assert cluster.entry("i1-generate")["attempt"] == 1


def test_a_deleted_run_is_left_to_kubernetes() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    cluster.document["metadata"]["deletionTimestamp"] = stamp(cluster.now)
    desired = cluster.decide()
    assert (desired.apply, desired.create, desired.delete, desired.requeue_after_s) == ((), (), (), None)


def test_children_of_an_earlier_run_of_the_name_are_nobodys() -> None:
    cluster = Cluster(**SHORT)
    until(cluster, "i1-generate")
    cluster.document["metadata"]["uid"] = "uid-2"
    del cluster.document["status"]
    assert cluster.observed().children == ()
    assert cluster.decide().delete == ()


def test_an_equal_look_changes_nothing() -> None:
    cluster = Cluster()
    until(cluster, "i1-generate")
    cluster.settle()
    first = cluster.decide()
    assert (first.create, first.delete, first.apply) == ((), (), ())
    assert cluster.decide() == first
    assert first.status == cluster.observed().status


def test_many_iterations_keep_a_bounded_status() -> None:
    owner = resource(
        spec__training__dpo=None, spec__judge=None, spec__evaluation=None, spec__iterations=80,
        spec__data={"sft": [{"source": "file:///sft.jsonl", "limit": 1}], "preference": []},
    )  # fmt: skip
    results: dict[str, StageResult] = {}
    for stage in build(owner).stages.values():
        identity = identify(stage, owner, results)
        assert identity is not None
        results[stage.id] = finish(identity, owner)
        if stage.kind is Kind.PROMOTE and stage.iteration in (1, 40, 79):
            kept = {result.stage: result for result in bounded(results)}
            assert len(kept) <= MAX_STAGES
            graph, held, aside = hold(owner, kept)
            assert aside == {}
            assert held == kept
            ready = decide(graph, owner, World(held)).start
            assert [i.stage.id for i in ready] == [f"i{stage.iteration + 1}-generate"]


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
