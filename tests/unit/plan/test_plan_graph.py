"""The graph for every shape of the loop."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.plan.graph import build
from moaa.plan.slices import Slice, slice_rows
from moaa.plan.stage import Kind
from moaa.plan.students import resolved_judge, resolved_mixture
from tests.plan_helpers import resource

SFT_ONLY: dict[str, Any] = {"spec__training__dpo": None, "spec__data__preference": None, "spec__judge": None}
DPO_ONLY: dict[str, Any] = {"spec__training__sft": None, "spec__data__sft": None}


def test_the_paper_loop_has_every_stage_in_order() -> None:
    assert list(build(resource()).stages) == [
        "i0-resolve",
        "i0-stage-data",
        "i0-evaluate",
        "i1-generate",
        "i1-sft",
        "i1-evaluate-sft",
        "i1-sample",
        "i1-judge",
        "i1-dpo",
        "i1-evaluate-dpo",
        "i1-promote",
    ]


def test_sft_alone_neither_samples_nor_judges() -> None:
    graph = build(resource(**SFT_ONLY))
    assert [s for s in graph.stages if s.startswith("i1")] == ["i1-generate", "i1-sft", "i1-evaluate-sft", "i1-promote"]
    assert graph.stages["i1-promote"].candidates == ("base", "@i1-sft")


def test_dpo_alone_samples_the_student_it_starts_from() -> None:
    graph = build(resource(**DPO_ONLY))
    ids = ["i1-sample", "i1-judge", "i1-dpo", "i1-evaluate-dpo", "i1-promote"]
    assert [s for s in graph.stages if s.startswith("i1")] == ids
    assert graph.stages["i1-sample"].student == "base"
    assert graph.stages["i1-dpo"].ref_model == "base"


def test_without_benchmarks_nothing_is_evaluated() -> None:
    graph = build(resource(spec__evaluation=None))
    assert not [s for s in graph.stages.values() if s.kind is Kind.EVALUATE]
    assert graph.stages["i1-promote"].needs[-2:] == ("i1-sft", "i1-dpo")


def test_given_answers_pass_through_a_generate_that_asks_nobody() -> None:
    changes: dict[str, Any] = {"spec__data__sft__0__answers": "Given", "spec__mixture": None}
    stage = build(resource(**changes)).stages["i1-generate"]
    assert stage.serves == ()


def test_models_are_served_in_the_order_rows_need_them() -> None:
    graph = build(resource())
    assert graph.stages["i1-generate"].serves == ("a", "b", "agg")
    assert graph.stages["i1-judge"].serves == ("agg", "a", "b")
    assert graph.stages["i0-evaluate"].serves == ("base", "a", "b", "agg", "eva")
    assert graph.stages["i1-evaluate-dpo"].serves == ("@i1-dpo", "eva")


def test_members_are_measured_only_when_asked_for() -> None:
    assert build(resource(spec__evaluation__members=False)).stages["i0-evaluate"].serves == ("base", "eva")


def test_a_baseline_is_answered_in_iteration_0_only() -> None:
    graph = build(resource(spec__evaluation__selection__0__baseline="b", spec__evaluation__members=False))
    assert graph.stages["i0-evaluate"].serves == ("base", "b", "eva")
    assert graph.stages["i1-evaluate-sft"].serves == ("@i1-sft", "eva")
    assert "i0-evaluate" in graph.stages["i1-evaluate-sft"].needs


def test_nobody_serves_for_answers_that_the_data_gives() -> None:
    graph = build(resource(spec__evaluation__selection__0__baseline="$given", spec__evaluation__members=False))
    assert graph.stages["i0-evaluate"].serves == ("base", "eva")


def test_the_next_iteration_starts_from_the_promoted_student() -> None:
    graph = build(resource(spec__iterations=2))
    assert graph.stages["i2-sft"].student == "@i1-promote"
    assert graph.stages["i2-sample"].student == "@i2-sft"
    assert graph.stages["i2-promote"].candidates == ("@i1-promote", "@i2-sft", "@i2-dpo")
    opening = [s for s in graph.stages.values() if s.iteration == 2]
    assert all("i1-promote" in s.needs for s in opening)


def test_start_base_trains_the_declared_student_anew() -> None:
    graph = build(resource(spec__iterations=2, spec__start="Base", spec__training__dpo__refModel="IterationStart"))
    assert graph.stages["i2-sft"].student == "base"
    assert graph.stages["i2-dpo"].ref_model == "base"
    assert graph.stages["i2-promote"].candidates[0] == "@i1-promote"


@pytest.mark.parametrize(
    ("ref_model", "expected"),
    [("StageStart", "@i2-sft"), ("IterationStart", "@i1-promote"), ("Base", "base")],
)
def test_ref_model(ref_model: str, expected: str) -> None:
    graph = build(resource(spec__iterations=2, spec__training__dpo__refModel=ref_model))
    assert graph.stages["i2-dpo"].ref_model == expected


def test_the_student_joins_from_the_second_iteration_on() -> None:
    owner = resource(
        spec__iterations=2,
        spec__mixture__addStudent=True,
        spec__mixture__studentSampling={"temperature": "1", "maxTokens": 64},
    )
    graph = build(owner)
    assert graph.stages["i1-generate"].serves == ("a", "b", "agg")
    assert graph.stages["i2-generate"].serves == ("a", "b", "@i1-promote", "agg")
    joined = resolved_mixture(owner, graph.stages["i2-generate"]).layers[0].proposers[-1]
    assert (joined.model, str(joined.temperature), joined.max_tokens, joined.samples) == ("@i1-promote", "1", 64, 1)


def test_dollar_student_is_resolved_everywhere() -> None:
    owner = resource(
        spec__iterations=2,
        spec__mixture__aggregator__model="$student",
        spec__judge={"method": "Single", "aggregator": {"model": "$student"}, "allowStudent": True},
    )
    graph = build(owner)
    assert graph.stages["i1-generate"].serves == ("a", "b", "base")
    assert graph.stages["i2-generate"].serves == ("a", "b", "@i1-promote")
    assert graph.stages["i2-generate"].student == "@i1-promote"
    assert graph.stages["i2-judge"].serves == ("@i1-promote",)
    assert owner.spec.judge is not None
    judge = resolved_judge(owner.spec.judge, owner, graph.stages["i2-judge"])
    assert judge.aggregator is not None
    assert judge.aggregator.model == "@i1-promote"


@given(
    shape=st.sampled_from([{}, SFT_ONLY, DPO_ONLY]),
    iterations=st.integers(1, 4),
    add=st.booleans(),
    start=st.sampled_from(["Promoted", "Base"]),
    evaluation=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_stage_comes_after_those_it_needs(
    shape: dict[str, Any], iterations: int, add: bool, start: str, evaluation: bool
) -> None:
    changes: dict[str, Any] = {**shape, "spec__iterations": iterations, "spec__start": start}
    changes |= {} if evaluation else {"spec__evaluation": None}
    graph = build(resource(**changes, spec__mixture__addStudent=add))
    seen: set[str] = set()
    for name, stage in graph.stages.items():
        assert name == stage.id
        assert set(stage.needs) <= seen
        makers = {
            s[1:]
            for s in (*stage.serves, *stage.candidates, stage.student or "", stage.ref_model or "")
            if s[:1] == "@"
        }
        assert makers <= set(stage.needs)
        assert "$student" not in (*stage.serves, *stage.candidates, stage.student, stage.ref_model)
        assert len(set(stage.serves)) == len(stage.serves)
        seen.add(name)
    assert [s for s in graph.stages.values() if s.kind is Kind.PROMOTE][-1].id == list(graph.stages)[-1]


def test_slices_are_disjoint_and_in_source_order() -> None:
    owner = resource(
        spec__iterations=3,
        spec__data__sft=[{"source": "file:///x.json", "limit": 4}, {"source": "file:///y.json", "limit": 3}],
    )
    assert slice_rows(owner, Kind.GENERATE, 1) == (Slice("sft-0", 0, 4, False), Slice("sft-1", 0, 3, False))
    assert slice_rows(owner, Kind.GENERATE, 3) == (Slice("sft-0", 8, 4, False), Slice("sft-1", 6, 3, False))


def test_a_source_without_limit_is_taken_whole() -> None:
    owner = resource(spec__data__sft=[{"source": "file:///x.json"}], spec__data__allowReuse=True, spec__iterations=2)
    assert slice_rows(owner, Kind.GENERATE, 2) == (Slice("sft-0", 0, None, True),)


def test_other_stages_take_no_slice() -> None:
    with pytest.raises(ValueError, match="takes no slice"):
        slice_rows(resource(), Kind.JUDGE, 1)
