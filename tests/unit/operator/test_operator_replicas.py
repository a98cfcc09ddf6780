"""serving.replicas Auto on a cluster: servers where the work is, never more than maxGpus, back when they are done."""

from typing import Any

import pytest

from moaa.api import MoAA
from moaa.plan.ids import made_by
from tests.operator_helpers import ON_S3, SHORT, Cluster, until, until_servers
from tests.plan_helpers import tree

HUGE = [  # of a size whose few rows take hours
    {"name": "a", "source": "hf://org/model-a-7b"},
    {"name": "b", "source": "hf://org/model-b-13b"},
    {"name": "agg", "source": "hf://org/model-agg-9000000b", "serving": {"gpus": 4}},
    {"name": "base", "source": "hf://org/student-9000000b"},
    {"name": "eva", "source": "hf://org/eva-9000000b"},
]


def auto(limit: int, **changes: Any) -> dict[str, Any]:
    return {"spec__models": HUGE, "spec__serving": {"replicas": "Auto", "maxGpus": limit}, **changes}


def up(cluster: Cluster) -> dict[str, int]:
    return {
        item["metadata"]["annotations"]["moaa.dev/model"]: item["spec"]["replicas"] for item in cluster.of("Deployment")
    }


def gpus(cluster: Cluster, document: dict[str, Any]) -> int:
    spec = MoAA.model_validate(document).spec
    models = {name: spec.model(spec.student if made_by(name) else name) for name in up(cluster)}
    return sum(count * models[name].serving.gpus for name, count in up(cluster).items())


def test_the_slowest_model_gets_the_gpus() -> None:
    cluster = Cluster(**SHORT, **auto(16))
    until_servers(cluster)
    assert up(cluster) == {"a": 1, "b": 1, "agg": 3}
    cluster.run()
    assert cluster.phase == "Succeeded"


@pytest.mark.parametrize("limit", [12, 24, 100])
def test_all_stages_side_by_side_stay_within_the_limit(limit: int) -> None:
    changes = auto(limit)
    cluster = Cluster(**changes)
    document = tree(**ON_S3, **changes)
    most = 0
    for _ in range(200):
        cluster.settle()
        assert gpus(cluster, document) <= limit, up(cluster)
        most = max(most, gpus(cluster, document))
        cluster.servers_answer()
        cluster.settle()
        assert gpus(cluster, document) <= limit, up(cluster)
        if cluster.phase == "Succeeded":
            break
        cluster.work(cluster.running()[0])
    assert cluster.phase == "Succeeded"
    assert most > 8, "more than one server of each"


def test_a_stage_whose_models_are_up_already_starts_beside_another() -> None:
    cluster = Cluster(**auto(8))
    until(cluster, "i0-evaluate")
    cluster.settle()
    assert len(cluster.of("Job", stage="i1-generate")) == 1


def test_a_stage_whose_models_do_not_fit_beside_another_s_waits() -> None:
    cluster = Cluster(**auto(6, spec__evaluation__members=False))
    item = until(cluster, "i0-evaluate")
    cluster.servers_answer()
    cluster.settle()
    assert up(cluster) == {"base": 5, "eva": 1}, "the student has the most work"
    assert cluster.of("Job", stage="i1-generate") == []
    cluster.work(item)
    cluster.settle()
    assert up(cluster) == {"a": 1, "b": 1, "agg": 1}, "all GPUs came back"
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_a_limit_below_what_a_stage_needs_is_a_refused_resource() -> None:
    cluster = Cluster(**auto(6))
    cluster.settle()
    ready = cluster.condition("Accepted")
    assert ready is not None
    assert "GPUs of the models that i0-evaluate serves at once" in ready["message"]
    assert cluster.of("Job") == []


def test_in_a_queue_one_stage_is_served_at_a_time_by_groups_that_keep_their_size() -> None:
    cluster = Cluster(**auto(16), metadata__labels={"kueue.x-k8s.io/queue-name": "gpus"})
    sizes: dict[str, set[int]] = {}
    for _ in range(400):
        cluster.settle()
        for item in cluster.of("Deployment"):
            sizes.setdefault(item["metadata"]["uid"], set()).add(item["spec"]["replicas"])
        cluster.servers_answer()
        cluster.settle()
        serving = [e for e in cluster.status["attempts"] if e.get("step") in ("Servers", "Work")]
        assert sum(bool(asks_models(e["stage"])) for e in serving) <= 1
        if cluster.phase == "Succeeded":
            break
        if cluster.running():
            cluster.work(cluster.running()[0])
    assert cluster.phase == "Succeeded"
    assert max(max(found) for found in sizes.values()) > 1
    assert all(len(found) == 1 for found in sizes.values())


def asks_models(stage: str) -> bool:
    return any(word in stage for word in ("evaluate", "generate", "sample", "judge"))
