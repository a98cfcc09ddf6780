"""What is counted, once each, whatever happens to a run."""

import json

from moaa.api.status import MoAAStatus
from moaa_operator.tell.metrics import Metrics
from tests.operator_helpers import SHORT, Cluster


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
