"""What is counted, once each, whatever happens to a run."""

import json

from moaa.api.status import MoAAStatus
from moaa_operator.tell.metrics import Metrics
from tests.operator_helpers import SHORT, Cluster, until


def follow(cluster: Cluster, metrics: Metrics, rounds: int) -> None:
    """Everything ends well, but for the first attempt of resolve, and all of it is counted."""
    has_failed = False
    for _ in range(rounds):
        before = MoAAStatus.model_validate(cluster.document.get("status") or {})
        desired = cluster.step()
        metrics.status_written(before, desired.status)
        cluster.servers_answer()
        for item in cluster.running():
            if item["metadata"]["labels"].get("moaa.dev/stage") == "i0-resolve" and not has_failed:
                has_failed = True
                cluster.end(item, code=1, message=json.dumps({"error": "the Hub did not answer", "permanent": False}))
            else:
                cluster.work(item)
        cluster.wait(60)


def test_attempts_failures_and_stages_are_counted_by_kind() -> None:
    cluster, metrics = Cluster(**SHORT), Metrics()
    follow(cluster, metrics, 40)
    assert cluster.phase == "Succeeded"
    counted = {
        (sample.name.removeprefix("moaa_operator_"), *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    kinds = ("resolve", "stage-data", "generate", "sft", "promote")
    assert [counted["stages_done_total", kind] for kind in kinds] == [1, 1, 1, 1, 1]
    assert counted["attempts_total", "resolve"] == 2
    assert counted["attempts_total", "generate"] == 1
    assert counted["attempts_failed_total", "resolve", "false"] == 1
    assert counted[("released_total",)] == 0
    assert not any(cluster.document["metadata"]["name"] in label for name in counted for label in name[1:])


def series(metrics: Metrics, run: str) -> dict[tuple[str, str], float]:
    """Of one run, by name and unit."""
    return {
        (sample.name.removeprefix("moaa_run_"), sample.labels.get("unit", "")): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("run") == run
    }


def test_a_run_shows_what_it_has_spent_and_what_its_limits_leave() -> None:
    cluster, metrics = Cluster(spec__cost={"gpuHourUsd": "2"}, spec__budget={"dollars": "30"}, **SHORT), Metrics()
    until(cluster, "i1-generate")
    cluster.settle()
    cluster.wait(3600)
    metrics.observed(("team", "small"), cluster.settle().status)
    metrics.observed(("team", "other"), MoAAStatus())
    assert series(metrics, "small") == {
        ("stalled", ""): 0, ("open", ""): 1, ("failures", ""): 0,
        ("spent", "gpuHours"): 6, ("spent", "dollars"): 12, ("spent", "tokens"): 0,
        ("budget_limit", "dollars"): 30, ("budget_left", "dollars"): 18,
    }  # fmt: skip
    others = {("stalled", ""): 0, ("open", ""): 1, ("failures", ""): 0}
    assert series(metrics, "other") == others, "nothing is known, so nothing is said"


def test_a_run_that_is_gone_leaves_no_series() -> None:
    metrics = Metrics()
    for name in ("small", "other"):
        metrics.observed(("team", name), MoAAStatus())
    metrics.forget(("team", "small"))
    assert series(metrics, "small") == {}
    assert series(metrics, "other")
    phases = [s for f in metrics.registry.collect() for s in f.samples if s.name == "moaa_operator_runs"]
    assert sum(sample.value for sample in phases) == 1
