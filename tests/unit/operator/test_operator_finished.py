"""Servers whose part of a stage is done: when they go, that they stay away, and what they cost."""

from typing import Any

import pytest

from moaa.api.attempts import Step
from moaa_operator.kube.owner import ATTEMPT_ANNOTATION, MODEL_ANNOTATION, ROLE_LABEL, STAGE_LABEL
from moaa_operator.observe.children import Heard
from moaa_operator.observe.jobs import job
from moaa_operator.observe.pods import INDEX_ANNOTATION
from moaa_operator.observe.progress import PodFigures, parse
from tests.operator_helpers import SHORT, Cluster, Object, pod_of, until
from tests.queue_helpers import Queue


def say(cluster: Cluster, item: Object, *models: str) -> None:
    """The one pod of the Job runs, and has finished with `models`."""
    pod = pod_of(cluster, item, {"phase": "Running"})
    pod["metadata"]["annotations"] = {INDEX_ANNOTATION: "0"}
    item["status"] = {}
    cluster.figures[pod["metadata"]["uid"]] = PodFigures(done=1, total=10, finished_with=frozenset(models))


def served(cluster: Cluster) -> list[str]:
    return sorted(item["metadata"]["annotations"][MODEL_ANNOTATION] for item in cluster.of("Deployment"))


def at_work(**changes: Any) -> tuple[Cluster, Object]:
    cluster = Cluster(**{**SHORT, **changes})
    item = until(cluster, "i1-generate")
    cluster.settle()
    return cluster, item


def test_a_server_goes_as_soon_as_its_model_is_not_asked_again() -> None:
    cluster, item = at_work()
    assert served(cluster) == ["a", "agg", "b"]
    say(cluster, item, "a", "no model of this stage")
    cluster.settle()
    assert served(cluster) == ["agg", "b"]
    assert len(cluster.of("Service")) == 2
    assert cluster.entry("i1-generate")["finishedWith"] == ["a"]
    cluster.figures.clear()
    cluster.settle()
    assert served(cluster) == ["agg", "b"], "a pod that is not heard for a while brings nothing back"
    say(cluster, item, "a", "b")
    cluster.settle()
    assert served(cluster) == ["agg"]
    assert cluster.created.count(item["metadata"]["name"]) == 1
    cluster.run()
    assert cluster.phase == "Succeeded"


def test_the_next_attempt_has_all_servers() -> None:
    cluster, item = at_work()
    say(cluster, item, "a")
    cluster.settle()
    cluster.end(item, code=1, message="it broke")
    cluster.settle()
    cluster.wait(60)
    cluster.settle()
    assert cluster.entry("i1-generate")["attempt"] == 2
    assert served(cluster) == ["a", "agg", "b"]
    assert not cluster.entry("i1-generate").get("finishedWith")


def test_what_has_gone_is_paid_no_longer() -> None:
    cluster, item = at_work()
    cluster.wait(100)
    say(cluster, item, "agg")
    cluster.settle()
    cluster.wait(50)
    cluster.settle()
    for one in cluster.running():
        cluster.work(one)
    cluster.settle()
    cluster.work_all()
    cluster.settle()
    spent = {entry["stage"]: entry["gpuSeconds"] for entry in cluster.status["spent"]}
    assert spent["i1-generate"] == 6 * 100 + 2 * 50


def test_in_a_queue_all_stay_since_a_pod_group_goes_as_a_whole() -> None:
    cluster = Queue(admits=True, **SHORT)
    item = until(cluster, "i1-generate")
    for _ in range(5):
        cluster.settle()
        cluster.servers_answer()
    assert cluster.entry("i1-generate")["step"] == Step.WORK
    before = served(cluster)
    say(cluster, item, "a")
    cluster.settle()
    assert served(cluster) == before


def pod(number: int, phase: str = "Running") -> Object:
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"p{number}",
            "uid": f"p{number}",
            "annotations": {INDEX_ANNOTATION: str(number)},
            "ownerReferences": [{"uid": "job"}],
        },
        "status": {"phase": phase},
    }


AB, B, NONE = frozenset({"a", "b"}), frozenset({"b"}), frozenset[str]()


@pytest.mark.parametrize(
    ("said", "completed", "expected"),
    [
        ({0: AB, 1: AB, 2: B}, "", B),
        ({0: AB, 1: AB}, "", NONE),
        ({1: AB}, "0,2", AB),
        ({1: AB}, "0", NONE),
        ({0: AB, 1: AB}, "0", NONE),
        ({}, "0-2", NONE),
        ({2: B}, "0-1", B),
        ({0: AB, 1: NONE, 2: AB}, "", NONE),
    ],
    ids=[
        "all say so",
        "one has not begun",
        "the others are done",
        "one has neither begun nor ended",
        "one that is done is still heard",
        "all are done",
        "a range",
        "one still asks",
    ],
)
def test_every_shard_that_is_left_has_to_say_so(
    said: dict[int, frozenset[str]], completed: str, expected: frozenset[str]
) -> None:
    notes = {ATTEMPT_ANNOTATION: "1"}
    labels = {ROLE_LABEL: "stage", STAGE_LABEL: "i1-generate"}
    about = {"name": "j", "namespace": "n", "uid": "job", "annotations": notes, "labels": labels}
    item = {
        "kind": "Job",
        "metadata": about,
        "spec": {"completions": 3, "completionMode": "Indexed"},
        "status": {"completedIndexes": completed},
    }
    figures = {f"p{number}": PodFigures(total=1, finished_with=models) for number, models in said.items()}
    child = job(item, [pod(number) for number in said], Heard(figures=figures))
    assert child is not None
    assert child.finished_with == expected


def test_a_pod_may_say_anything() -> None:
    assert parse({"finished_with": ["a", "a"]}).finished_with == {"a"}
    for nonsense in ("a", {"a": 1}, [1], [["a"]], None):
        assert parse({"finished_with": nonsense}).finished_with == frozenset()
