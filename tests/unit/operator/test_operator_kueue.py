"""A run in a queue: it says what it waits for, holds nothing meanwhile, stops when its quota goes, and ends right."""

import random
from typing import Any

import pytest

from moaa.api.status import MoAAStatus
from moaa_operator.kube import kueue
from moaa_operator.kube.kueue import GROUP_LABEL, QUEUE_LABEL, problem
from moaa_operator.kube.objects import holds
from moaa_operator.tell.events import between
from tests.operator_helpers import SHORT, Object, until
from tests.queue_helpers import FULL, Queue

MISSING = "LocalQueue gpu doesn't exist"


def told(cluster: Queue, kind: str) -> tuple[str, str, str]:
    condition = cluster.condition(kind)
    assert condition is not None
    return condition["status"], condition["reason"], condition["message"]


def workload(*conditions: dict[str, str], **spec: Any) -> Object:
    return {"kind": "Workload", "metadata": {"name": "w"}, "spec": spec, "status": {"conditions": list(conditions)}}


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (None, "Queued", "not admitted it yet"),
        (workload(), "Queued", "not looked at it yet"),
        (workload({"type": "QuotaReserved", "status": "False", "message": FULL}), "Queued", FULL),
        (
            workload({"type": "QuotaReserved", "status": "False", "message": MISSING}),
            "QueueNotFound", "kubectl get localqueues",
        ),
        (
            workload({"type": "QuotaReserved", "status": "False", "message": f"{FULL} > maximum capacity (250m)"}),
            "QuotaTooSmall", "raise the ClusterQueue's quota",
        ),
        (
            workload({"type": "Evicted", "status": "True", "reason": "Preempted", "message": "for x"}),
            "Preempted", "lost its quota (Preempted: for x)",
        ),
        (
            workload({"type": "Evicted", "status": "True", "reason": "PodsReadyTimeout", "message": "slow"}),
            "Evicted", "PodsReadyTimeout: slow",
        ),
        (workload(active=False), "WorkloadDeactivated", "spec.active of Workload w"),
        (workload({"type": "QuotaReserved", "status": "True"}), "Queued", "admission checks: none"),
    ],
)  # fmt: skip
def test_what_waits_in_a_queue_says_why_in_kueues_words(said: Object | None, reason: str, words: str) -> None:
    found = problem("Job x", said)
    assert found.reason == reason
    assert words in found.message
    assert (reason in kueue.WAITS) is not (reason in kueue.NEEDS_A_PERSON)


def test_a_job_that_waits_for_quota_is_told_as_waiting_and_once_in_an_event() -> None:
    cluster = Queue(**SHORT)
    before = MoAAStatus()
    cluster.settle()
    desired = cluster.settle()
    assert told(cluster, "StorageReady")[:2] == ("Unknown", "Queued")
    assert FULL in told(cluster, "Succeeded")[2]
    assert told(cluster, "Stalled")[:2] == ("False", "Progressing")
    assert desired.requeue_after_s is not None
    assert desired.requeue_after_s < 5
    assert [event.reason for event in between(before, desired.status)].count("Queued") == 1
    cluster.wait(14 * 24 * 3600)
    cluster.settle()
    assert cluster.entry("preflight")["failures"] == 0


def test_a_mistyped_queue_is_named_and_the_mended_label_reaches_what_waits() -> None:
    cluster = Queue(queue="gpu", words=MISSING, **SHORT)
    cluster.settle()
    assert told(cluster, "Stalled")[:2] == ("True", "QueueNotFound")
    assert MISSING in told(cluster, "Stalled")[2]
    cluster.label("gpus")
    cluster.words, cluster.admits = FULL, True
    cluster.settle()
    job = cluster.of("Job", role="preflight")[0]
    assert job["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    assert told(cluster, "Stalled")[:2] == ("False", "Progressing")
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_what_runs_stays_in_its_queue_when_the_label_changes() -> None:
    cluster = Queue(admits=True, **SHORT)
    cluster.settle()
    before = cluster.of("Job", role="preflight")[0]["metadata"]["uid"]
    cluster.label("others")
    cluster.settle()
    assert [job["metadata"]["uid"] for job in cluster.of("Job", role="preflight")] == [before]


def waits_for_seat(cluster: Queue) -> Object:
    """Until the Job of generate waits in the queue."""
    cluster.admits = True
    until(cluster, "i0-stage-data")
    cluster.work_all()
    cluster.admits = False
    for _ in range(10):
        cluster.settle()
        found = cluster.of("Job", role="stage", stage="i1-generate")
        if found:
            return found[0]
        cluster.admit_all()
        cluster.work_all()
    raise AssertionError(cluster.status)


def test_a_stage_asks_for_servers_once_its_job_has_quota_and_for_all_as_one_group() -> None:
    cluster = Queue(**SHORT)
    job = waits_for_seat(cluster)
    assert cluster.of("Deployment") == []
    assert told(cluster, "ServersReady")[:2] == ("False", "Queued")
    cluster.admit(f"job-{job['metadata']['name']}")
    cluster.settle()
    assert len(cluster.of("Deployment")) == 3
    (gang,) = cluster.gangs()
    templates = [item["spec"]["template"]["metadata"] for item in cluster.of("Deployment")]
    assert {(t["labels"][GROUP_LABEL], t["annotations"][kueue.COUNT_ANNOTATION]) for t in templates} == {(gang, "3")}
    assert {item["metadata"]["labels"][QUEUE_LABEL] for item in cluster.of("Deployment")} == {"gpus"}
    assert FULL in told(cluster, "ServersReady")[2]
    assert ("ConfigMap", job["metadata"]["name"]) not in cluster.objects
    cluster.wait(7 * 24 * 3600)
    cluster.settle()
    assert (len(cluster.of("Deployment")), cluster.entry("i1-generate")["releases"]) == (3, 0)
    cluster.admit(gang)
    cluster.settle()
    assert ("ConfigMap", job["metadata"]["name"]) not in cluster.objects
    cluster.servers_answer()
    cluster.settle()
    assert ("ConfigMap", job["metadata"]["name"]) in cluster.objects
    cluster.admits = True
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert len(cluster.created) == len(set(cluster.created))


def test_minutes_for_finding_a_machine_begin_when_the_queue_has_admitted_the_servers() -> None:
    cluster = Queue(**SHORT)
    job = waits_for_seat(cluster)
    cluster.admit(f"job-{job['metadata']['name']}")
    cluster.settle()
    (gang,) = cluster.gangs()
    cluster.wait(5 * 3600)
    gated = {name: pod["status"] for (kind, name), pod in cluster.objects.items() if kind == "Pod"}
    cluster.admit(gang)
    for name, status in gated.items():
        if ("Pod", name) in cluster.objects and status.get("phase") == "Pending":
            waits = {**status["conditions"][0], "reason": "Unschedulable", "message": "0/4 nodes are available"}
            cluster.objects["Pod", name]["status"] = {"phase": "Pending", "conditions": [waits]}
    cluster.settle()
    assert len(cluster.of("Deployment")) == 3
    cluster.wait(61 * 60)
    cluster.settle()
    assert cluster.of("Deployment") == []
    assert cluster.of("Job", role="stage", stage="i1-generate") == []
    assert cluster.entry("i1-generate")["releases"] == 1


@pytest.mark.parametrize("whose", ["servers", "job"])
def test_a_stage_whose_quota_goes_stops_at_once_and_joins_the_queue_again(whose: str) -> None:
    cluster = Queue(admits=True, **SHORT)
    waits_for_seat(cluster)
    cluster.admits = True
    cluster.admit_all()
    cluster.settle()
    cluster.servers_answer()
    cluster.settle()
    job = cluster.of("Job", role="stage", stage="i1-generate")[0]
    (gang,) = cluster.gangs()
    assert cluster.entry("i1-generate")["step"] == "Work"
    cluster.admits = False
    cluster.evict(gang if whose == "servers" else f"job-{job['metadata']['name']}")
    before = MoAAStatus.model_validate(cluster.document["status"])
    desired = cluster.step()
    assert "Preempted" in {event.reason for event in between(before, desired.status)}
    cluster.settle()
    assert (cluster.of("Deployment"), cluster.of("Job", role="stage", stage="i1-generate")) == ([], [])
    entry = cluster.entry("i1-generate")
    assert (entry["failures"], entry["reason"]) == (0, "Preempted")
    assert "lost its quota (Preempted: Preempted to accommodate a workload)" in entry["message"]
    assert told(cluster, "Succeeded")[1] == "Preempted"
    cluster.wait(60)
    cluster.admits = True
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_servers_that_lose_their_quota_while_they_come_up_give_all_back() -> None:
    cluster = Queue(**SHORT)
    job = waits_for_seat(cluster)
    cluster.admit(f"job-{job['metadata']['name']}")
    cluster.settle()
    (gang,) = cluster.gangs()
    cluster.admit(gang)
    cluster.step()
    cluster.evict(gang)
    cluster.step()
    assert (cluster.of("Deployment"), cluster.of("Job", role="stage", stage="i1-generate")) == ([], [])
    assert (cluster.entry("i1-generate")["failures"], cluster.entry("i1-generate")["reason"]) == (0, "Preempted")
    cluster.wait(60)
    cluster.settle()
    assert [item["metadata"]["name"] for item in cluster.of("Job", stage="i1-generate")] != [job["metadata"]["name"]]


def test_a_training_that_is_preempted_says_so_and_goes_on_as_the_same_attempt() -> None:
    cluster = Queue(admits=True, **SHORT)
    item = until(cluster, "i1-sft")
    cluster.evict(f"job-{item['metadata']['name']}")
    cluster.settle()
    assert told(cluster, "Training")[:2] == ("False", "Preempted")
    assert told(cluster, "Succeeded")[1] == "Preempted"
    cluster.admit_all()
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert [result for result in cluster.created if "i1-sft-a2" in result] == []


def test_a_group_that_was_made_in_part_is_completed_under_its_name() -> None:
    cluster = Queue(**SHORT)
    job = waits_for_seat(cluster)
    cluster.admit(f"job-{job['metadata']['name']}")
    cluster.step()
    (gang,) = cluster.gangs()
    lost = cluster.of("Deployment")[1]
    cluster.delete("Deployment", lost["metadata"]["name"])
    cluster.settle()
    assert (len(cluster.of("Deployment")), cluster.gangs()) == (3, {gang})


def test_without_a_label_nothing_of_a_queue_is_written() -> None:
    cluster = Queue(queue="", admits=True, **SHORT)
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert "kueue" not in str([item for item in cluster.objects.values() if item["kind"] != "Workload"])


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_run_ends_right_whatever_the_queue_does(seed: int) -> None:
    dice = random.Random(seed)
    cluster = Queue()
    for _ in range(600):
        cluster.step(dies=dice.choice(["", "", "", "apply", "status"]))
        if cluster.phase == "Succeeded":
            break
        workloads = [name for kind, name in cluster.objects if kind == "Workload"]
        for name in workloads:
            is_in = holds(cluster.objects["Workload", name], "Admitted")
            if is_in and dice.random() < 0.05:
                cluster.evict(name)
            elif not is_in and dice.random() < 0.5:
                cluster.admit(name)
        cluster.servers_answer()
        if dice.random() < 0.5:
            cluster.work_all()
        cluster.wait(20)
    assert cluster.phase == "Succeeded", cluster.status
    assert len(cluster.done) == len(set(cluster.done))
