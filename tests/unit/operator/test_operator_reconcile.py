"""The decision about one run, from its first look to its end."""

import json
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.api.reading.load import load_document
from moaa.api.status import MAX_STAGES
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.ready import World, decide
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind
from moaa_operator.tell.results import bounded, hold
from tests.operator_helpers import SETTINGS, SHORT, Cluster, stamp, until
from tests.plan_helpers import finish, resource

STAGES = [
    "i0-resolve", "i0-stage-data", "i0-evaluate", "i1-generate", "i1-sft", "i1-evaluate-sft", "i1-sample", "i1-judge",
    "i1-dpo", "i1-evaluate-dpo", "i1-promote",
]  # fmt: skip


def test_a_run_goes_through_every_stage_and_leaves_no_server() -> None:
    cluster = Cluster()
    cluster.run()
    assert cluster.phase == "Succeeded"
    assert cluster.done == STAGES
    assert cluster.of("Deployment") == cluster.of("Service") == []
    assert len(set(cluster.created)) == len(cluster.created)


def test_a_resource_is_checked_anew_only_when_it_was_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def counted(given: dict[str, Any], *, name: str) -> MoAA:
        checked.append(name)
        return load_document(given, name=name)

    monkeypatch.setattr("moaa_operator.decide.reconcile.load_document", counted)
    cluster = Cluster(spec__seed=4321)
    cluster.settle()
    cluster.document["metadata"]["resourceVersion"] = "7"
    cluster.settle()
    assert len(checked) == 1, "a status or a version that the server wrote is no edit"
    cluster.edit(spec__seed=4321, spec__student="nobody")
    cluster.settle()
    assert "nobody" in json.dumps(cluster.status)
    cluster.edit(spec__seed=4321)
    cluster.settle()
    assert "nobody" not in json.dumps(cluster.status), "mended"


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
    assert [(h["stage"], h["score"], h["why"]) for h in cluster.status["history"]] == [
        ("i1-dpo", score("i1-evaluate-dpo"), "i1-dpo is promoted: as made up.")
    ]


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


def test_a_run_that_was_deleted_and_applied_again_takes_what_the_store_has() -> None:
    first = Cluster()
    first.run()
    again = Cluster()
    again.manifests = first.manifests
    again.run()
    assert again.done == STAGES
    kinds = {name.removeprefix("small-").rsplit("-", 2)[0] for name in again.created}
    assert kinds == {"preflight", "i0-resolve", "i0-stage-data", "inspect"}


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
            held = hold(owner, kept)
            assert held.aside == {}
            assert held.results == kept
            ready = decide(held.graph, owner, World(held.results)).start
            assert [i.stage.id for i in ready] == list(held.identities)
            assert [i.stage.id for i in ready] == [f"i{stage.iteration + 1}-generate"]
