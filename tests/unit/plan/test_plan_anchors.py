"""Stage anchors in the plan: who waits for it, what repeats it, and that it repeats and stops nothing else."""

from typing import Any

import pytest

from moaa.api import MoAA
from moaa.plan.graph import build, wanted
from moaa.plan.history.repeats import repeats
from moaa.plan.ready import Failure, World, decide
from moaa.plan.result import Identity, StageResult
from tests.plan_helpers import resource, run_all

PAID = {"generate", "sample", "judge", "dpo"}


def anchored(**changes: Any) -> MoAA:
    return resource(spec__anchors={}, **changes)


def identity(**changes: Any) -> Identity:
    return run_all(anchored(**changes))[1]["i0-anchors"]


def test_what_is_paid_for_waits_in_every_iteration() -> None:
    graph = build(anchored(spec__iterations=2, spec__data__allowReuse=True)).stages
    assert graph["i0-anchors"].needs == ("i0-resolve", "i0-stage-data")
    assert {name for name, stage in graph.items() if stage.waits} == {f"i{i}-{kind}" for i in (1, 2) for kind in PAID}
    assert "i0-anchors" not in build(resource()).stages
    assert "i0-anchors" in wanted(build(anchored()), "i1-generate").stages


def test_a_judge_that_does_not_pass_stops_the_run_before_a_teacher_is_asked() -> None:
    owner = anchored()
    results, identities = run_all(owner)
    done = {name: results[name] for name in ("i0-resolve", "i0-stage-data")}
    graph = build(owner)
    first = decide(graph, owner, World(done))
    assert [found.stage.id for found in first.start] == ["i0-evaluate", "i0-anchors"]
    assert first.waiting["i1-generate"] == "needs i0-anchors"
    failure = {identities["i0-anchors"].fingerprint: Failure(1, is_permanent=True, error="no better than a coin")}
    later = decide(graph, owner, World({**done, "i0-evaluate": results["i0-evaluate"]}, failures=failure))
    assert (later.start, later.is_stuck) == ((), True)
    assert later.failed == {"i0-anchors": "no better than a coin"}
    assert later.waiting["i1-generate"] == "i0-anchors has failed"


def test_anchors_that_an_edit_brings_stop_and_repeat_nothing() -> None:
    """A training that runs goes on, and what is done stays done, while the judges are measured."""
    before, after = resource(), anchored()
    results, identities = run_all(before)
    done = {name: results[name] for name in ("i0-resolve", "i0-stage-data", "i0-evaluate", "i1-generate")}
    world = World(done, running={"i1-sft": identities["i1-sft"].fingerprint})
    decision = decide(build(after), after, world)
    assert (decision.stop, [found.stage.id for found in decision.start]) == ((), ["i0-anchors"])
    documents = {name: found.document for name, found in identities.items()}
    assert repeats(build(after), after, results, last=results, documents=documents) == []


def test_the_same_results_without_anchors() -> None:
    with_them, without = run_all(anchored())[1], run_all(resource())[1]
    del with_them["i0-anchors"]
    assert {name: found.fingerprint for name, found in with_them.items()} == {
        name: found.fingerprint for name, found in without.items()
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"spec__anchors": {"floor": "0.6"}},
        {"spec__anchors": {"evaluationFloor": "0.5"}},
        {"spec__judge__criteria": 2},
        {"spec__evaluation__selection__0__judge__aggregator__maxTokens": 100},
        {"spec__prompts": {"single": "{question} {answer_a} {answer_b} [[A]] [[B]]"}},
        {"spec__seed": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_edit_measures_again_from_the_same_ledger(changes: dict[str, Any]) -> None:
    edited = run_all(resource(**{"spec__anchors": {}, **changes}))[1]["i0-anchors"]
    assert edited.fingerprint != identity().fingerprint
    assert edited.inputs == identity().inputs


def test_other_pairs_are_other_inputs() -> None:
    other = {"source": {"source": "file:///pairs.jsonl"}}
    owner = resource(spec__anchors=other)
    assert run_all(owner)[1]["i0-anchors"].inputs != identity().inputs
    results: dict[str, StageResult] = run_all(owner)[0]
    assert "anchors" in results["i0-stage-data"].outputs
