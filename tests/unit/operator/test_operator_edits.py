"""Edits in the decision about a run: what they stop, repeat and leave alone; suspend is one of them."""

from tests.operator_helpers import SETTINGS, SHORT, Cluster, Object, until


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
        "i1-generate: mixture.aggregator.temperature 0.7 → 0.5; i1-sft: its input is made again by i1-generate; "
        "i1-sample: its input is made again by i1-sft"
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


def test_an_edit_to_what_no_cluster_can_carry_out_starts_nothing_new_and_stops_nothing() -> None:
    cluster = Cluster(**SHORT)
    item = until(cluster, "i1-generate")
    before = set(cluster.objects)
    cluster.edit(**{**SHORT, "spec__data__sft": [{"source": "file:///sft.jsonl"}]})
    cluster.settle()
    assert set(cluster.objects) == before
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
