"""What an edit repeats, why, and that closed iterations stay closed."""

from collections.abc import Mapping
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.plan.graph import build
from moaa.plan.history.repeats import (
    Change,
    IterationRecord,
    Repeat,
    differences,
    pin_closed,
    repeats,
    sentences,
    without_effect,
)
from moaa.plan.history.survey import survey
from moaa.plan.result import Identity, StageResult
from tests.plan_helpers import TREE, resource, run_all


async def edited(
    before: MoAA, after: MoAA, *, closed: tuple[int, ...] = (), forgotten: tuple[str, ...] = ()
) -> list[Repeat]:
    """What is repeated when a run that finished under `before` goes on under `after`; of the stages `forgotten` there
    is no record."""
    last, identities = run_all(before)
    store = {identity.path: last[name] for name, identity in identities.items()}
    for name in forgotten:
        del last[name], identities[name]
    records = records_of(before, last, closed)

    async def look_up(identity: Identity) -> StageResult | None:
        return store.get(identity.path)

    graph, results = await survey(build(after), after, look_up, records=records)
    documents: dict[str, Mapping[str, object]] = {name: i.document for name, i in identities.items()}
    return repeats(graph, after, results, last=last, documents=documents)


def records_of(owner: MoAA, results: dict[str, StageResult], closed: tuple[int, ...]) -> dict[int, IterationRecord]:
    stages = build(owner).stages
    return {
        i: IterationRecord(iteration=i, stages={name: r for name, r in results.items() if stages[name].iteration == i})
        for i in closed
    }


async def test_an_edit_that_matters_to_nothing_repeats_nothing() -> None:
    assert await edited(resource(), resource(spec__models__0__serving={"replicas": 9})) == []


async def test_an_edit_names_its_field_and_all_it_repeats() -> None:
    found = await edited(
        resource(spec__evaluation=None), resource(spec__evaluation=None, spec__training__dpo={"beta": "0.5"})
    )
    assert found == [
        Repeat("i1-dpo", (Change("training.beta", "0.01", "0.5"),), ()),
        Repeat("i1-promote", (), ("i1-dpo",)),
    ]
    assert sentences(found) == ["i1-dpo: training.beta 0.01 → 0.5; repeats i1-dpo, i1-promote"]


async def test_the_aggregator_s_temperature_repeats_from_generate_on() -> None:
    changes: dict[str, Any] = {"spec__evaluation": None, "spec__mixture__aggregator__temperature": "0.5"}
    found = await edited(resource(spec__evaluation=None), resource(**changes))
    assert sentences(found) == [
        "i1-generate: mixture.aggregator.temperature 0.7 → 0.5; "
        "repeats i1-generate, i1-sft, i1-sample, i1-judge, i1-dpo, i1-promote"
    ]


async def test_two_edits_are_two_causes() -> None:
    base: dict[str, Any] = {"spec__evaluation": None}
    after = resource(**base, spec__mixture__aggregator__maxTokens=9, spec__training__dpo={"beta": "0.5"})
    lines = sentences(await edited(resource(**base), after))
    assert [line.split("; ")[0] for line in lines] == [
        "i1-generate: mixture.aggregator.maxTokens 2048 → 9",
        "i1-dpo: training.beta 0.01 → 0.5",
    ]


async def test_a_prompt_and_a_model_are_named() -> None:
    base: dict[str, Any] = {"spec__evaluation": None}
    after = resource(
        **base,
        spec__prompts={"aggregate": "Merge: {proposals}"},
        spec__mixture__layers__0__proposers=[{"model": "a"}, {"model": "b"}, {"model": "eva"}],
    )
    (line,) = sentences(await edited(resource(**base), after))
    assert "mixture.layers[0].proposers[2] eva is new" in line
    assert "prompts.aggregate " in line
    assert "models.eva" in line


async def test_a_closed_iteration_is_never_reopened() -> None:
    before = resource(spec__iterations=2, spec__evaluation=None)
    after = resource(spec__iterations=2, spec__evaluation=None, spec__mixture__aggregator__temperature="0.5")
    everything = await edited(before, after)
    assert everything[0].stage == "i1-generate"
    only_open = await edited(before, after, closed=(1,))
    assert only_open[0].stage == "i2-generate"
    assert not [repeat for repeat in only_open if repeat.stage.startswith("i1")]


BEHIND_STAGE_DATA = "i1-generate, i1-sft, i1-sample, i1-judge, i1-dpo"
ITERATION_0 = ("i0-resolve", "i0-stage-data", "i0-evaluate")


async def test_an_edit_of_a_benchmark_names_its_field_and_claims_no_other_rows() -> None:
    assert sentences(await edited(resource(), resource(spec__evaluation__selection__0__samples=3))) == [
        "i0-evaluate: benchmarks.held.samples 1 → 3; repeats i0-evaluate, i1-evaluate-sft, i1-evaluate-dpo, i1-promote"
    ]
    assert sentences(await edited(resource(), resource(spec__evaluation__selection__0__limit=3))) == [
        "i0-stage-data: tables.eval-held.limit 5 → 3; repeats i0-stage-data",
        "i0-evaluate: benchmarks.held.limit 5 → 3; repeats i0-evaluate, i1-evaluate-sft, i1-evaluate-dpo, i1-promote",
        f"i0-stage-data is to be done again; unless it gives the same as before, {BEHIND_STAGE_DATA} as well",
    ]


async def test_without_a_record_of_iteration_0_nothing_is_guessed() -> None:
    told = sentences(await edited(resource(), resource(spec__evaluation__selection__0__limit=3), forgotten=ITERATION_0))
    assert told == [
        "i1-evaluate-sft: benchmarks.held.limit 5 → 3; repeats i1-evaluate-sft, i1-promote",
        "i1-evaluate-dpo: benchmarks.held.limit 5 → 3; repeats i1-evaluate-dpo, i1-promote",
        f"i0-stage-data is to be done again; unless it gives the same as before, {BEHIND_STAGE_DATA} as well",
    ]
    (line,) = sentences(await edited(resource(), resource(spec__data__decontaminationNgram=5), forgotten=ITERATION_0))
    assert line.startswith("i0-stage-data is to be done again; unless it gives the same as before, i1-generate, ")


async def test_inputs_that_are_there_and_are_others_are_told_as_that() -> None:
    repeat = Repeat("i1-generate", (), ())
    assert sentences([repeat]) == ["i1-generate: its inputs are other rows or weights; repeats i1-generate"]
    assert str(repeat) == "its inputs are other rows or weights"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"spec__evaluation__report": [{"name": "new", "type": "ExactMatch", "source": "file:///new.jsonl"}]},
            "i0-evaluate: benchmarks.new",
        ),
        (
            {"spec__data__sft": [{"source": "file:///sft.jsonl", "limit": 10}, {"source": "file:///x.jsonl"}]},
            "i0-stage-data: ",
        ),
        (
            {
                "spec__models": [*TREE["spec"]["models"], {"name": "nu", "source": "hf://org/nu-7b"}],
                "spec__mixture__layers__0__proposers": [{"model": "nu"}],
            },
            "i1-generate: mixture.layers[0].proposers[0].model a → nu",
        ),
    ],
    ids=["benchmark", "source", "model"],
)
async def test_what_an_edit_adds_is_told(changes: dict[str, Any], told: str) -> None:
    lines = sentences(await edited(resource(), resource(**changes)))
    assert [line for line in lines if line.startswith(told)], lines


def kept(before: MoAA, after: MoAA, closed: tuple[int, ...]) -> list[str]:
    """What a run that finished under `before` says of its closed iterations under `after`."""
    results, identities = run_all(before)
    documents: dict[str, Mapping[str, object]] = {name: i.document for name, i in identities.items()}
    return without_effect(after, results, records_of(before, results, closed), documents)


def test_an_edit_that_closed_iterations_do_not_follow_is_told() -> None:
    base: dict[str, Any] = {"spec__iterations": 3, "spec__evaluation": None}
    after = resource(**base, spec__mixture__aggregator__temperature="0.5", spec__training__dpo={"beta": "0.5"})
    assert kept(resource(**base), after, (1,)) == [
        "iteration 1 is closed and keeps what it made; without effect there: "
        "generate: mixture.aggregator.temperature 0.7 → 0.5; dpo: training.beta 0.01 → 0.5"
    ]
    (line,) = kept(resource(**base), after, (1, 2))
    assert line.startswith("iterations 1, 2 are closed and keep what they made; without effect there: generate: ")


def test_closed_iterations_are_not_told_of_edits_that_mean_nothing_to_them() -> None:
    base: dict[str, Any] = {"spec__iterations": 2, "spec__evaluation": None}
    replicas = resource(**base, spec__models__0__serving={"replicas": 9})
    assert kept(resource(**base), replicas, (1, 2)) == []
    assert kept(resource(**base), resource(**{**base, "spec__iterations": 3}), (1, 2)) == []


def test_stages_that_an_edit_adds_to_a_closed_iteration_or_takes_from_it_are_told() -> None:
    base: dict[str, Any] = {"spec__evaluation": None}
    without = resource(**base, spec__training__dpo=None, spec__data__preference=None)
    assert kept(without, resource(**base), (1,)) == [
        "iteration 1 is closed and keeps what it made; without effect there: sample is new; judge is new; dpo is new"
    ]
    (line,) = kept(resource(**base), without, (1,))
    assert "sample is gone; judge is gone; dpo is gone" in line


def test_a_stage_added_to_a_closed_iteration_leaves_the_graph() -> None:
    before = resource(spec__training__dpo=None, spec__data__preference=None, spec__iterations=2)
    results = run_all(before)[0]
    after = build(resource(spec__iterations=2))
    graph, pinned = pin_closed(after, records_of(before, results, (1,)))
    assert "i1-dpo" not in graph.stages
    assert "i2-dpo" in graph.stages
    assert pinned == {name: r for name, r in results.items() if name.startswith("i1-")}


def test_a_stage_taken_from_a_closed_iteration_keeps_its_result() -> None:
    before = resource(spec__iterations=2)
    results = run_all(before)[0]
    after = build(resource(spec__iterations=2, spec__training__sft=None, spec__data__sft=[]))
    graph, pinned = pin_closed(after, records_of(before, results, (1,)))
    assert "i1-sft" in pinned
    assert "i1-sft" not in graph.stages


def test_an_open_iteration_is_not_pinned() -> None:
    owner = resource()
    results = run_all(owner)[0]
    record = IterationRecord(iteration=1, stages={"i1-generate": results["i1-generate"]})
    assert not record.is_closed
    assert pin_closed(build(owner), {1: record})[1] == {}


def test_what_an_iteration_was_closed_on_pins_nothing() -> None:
    owner = resource()
    results = run_all(owner)[0]
    start = {name: result for name, result in results.items() if name.startswith("i0-")}
    stages = {name: result for name, result in results.items() if name.startswith("i1-")}
    _, pinned = pin_closed(build(owner), {1: IterationRecord(iteration=1, stages=stages, start=start)})
    assert start
    assert pinned == stages


def test_records_survive_their_json() -> None:
    results = run_all(resource())[0]
    record = IterationRecord(iteration=1, stages=results)
    assert IterationRecord.model_validate_json(record.model_dump_json(by_alias=True)) == record


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a 1 → 2"]),
        ({}, {"a": {"model": "x", "t": 1}}, ["a x is new"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a[1] 2 is gone"]),
        ({"a": {"b": [{"c": "0.7"}]}}, {"a": {"b": [{"c": "0.5"}]}}, ["a.b[0].c 0.7 → 0.5"]),
        ({"a": "f" * 64}, {"a": "0" * 64}, ["a ffffffffffff → 000000000000"]),
        ({"a": [1]}, {"a": {"b": 1}}, ["a (1 entries) → (1 fields)"]),
    ],
)
def test_differences(before: object, after: object, expected: list[str]) -> None:
    assert [str(change) for change in differences(before, after)] == expected
