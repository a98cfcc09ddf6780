"""Answer methods in the plan: who is served, what is asked, what a stage depends on, how it is cut."""

from typing import Any

import pytest

from moaa.api import MoAA
from moaa.plan.graph import build
from moaa.plan.kinds.kind import Asked, Trained
from moaa.plan.kinds.table import KINDS, shards_of
from moaa.plan.subjects import subjects
from tests.plan_helpers import resource, run_all

LAYERS = [{"proposers": [{"model": "a"}, {"model": "b", "samples": 2}]}]
MIXTURES: dict[str, dict[str, Any]] = {
    "Mixture": {"layers": LAYERS, "aggregator": {"model": "agg"}},
    "Single": {"aggregator": {"model": "agg"}},
    "Random": {"layers": LAYERS},
    "BestOfN": {"layers": LAYERS},
    "Combined": {"layers": LAYERS},
}
COUNTS = {"sft-0": 600, "sft-1": 100, "preference-0": 50, "eval-held": 5}


def owner(method: str, **changes: Any) -> MoAA:
    """A mixture over a source of 600 prompts, and a source of 100 given answers."""
    sources = [{"source": "file:///sft.jsonl"}, {"source": "file:///given.jsonl", "answers": "Given"}]
    base: dict[str, Any] = {"spec__mixture": {"method": method, **MIXTURES[method]}, "spec__data__sft": sources}
    return resource(**(base | changes))


@pytest.mark.parametrize(
    ("method", "serves"),
    [
        ("Mixture", ("a", "b", "agg")),
        ("Single", ("agg",)),
        ("Random", ("a", "b")),
        ("BestOfN", ("a", "b", "agg")),
        ("Combined", ("a", "b")),
    ],
)
def test_generate_serves_whoever_its_method_asks(method: str, serves: tuple[str, ...]) -> None:
    assert build(owner(method)).stages["i1-generate"].serves == serves


@pytest.mark.parametrize(("method", "rows"), [("Mixture", 700), ("Random", 700), ("BestOfN", 700), ("Combined", 1900)])
def test_combined_answers_are_counted_cut_and_trained_as_rows(method: str, rows: int) -> None:
    moaa = owner(method)
    graph = build(moaa)
    stage = graph.stages["i1-generate"]
    assert KINDS[stage.kind].expected(stage, moaa, COUNTS) == rows
    results = run_all(moaa)[0]
    staged = results["i0-stage-data"]
    counted = {name: out.with_(rows=COUNTS.get(name, 7)) for name, out in staged.outputs.items()}
    assert shards_of(stage, moaa, results | {"i0-stage-data": staged.with_(outputs=counted)}) == -(-rows // 512)
    effort = KINDS[graph.stages["i1-sft"].kind].effort(graph.stages["i1-sft"], moaa, COUNTS)
    assert isinstance(effort, Trained)
    assert effort.tokens == 6 * rows * (200 + 360)


def test_calls_of_the_forecast() -> None:
    def calls(method: str) -> dict[str, int]:
        moaa = owner(method)
        stage = build(moaa).stages["i1-generate"]
        effort = KINDS[stage.kind].effort(stage, moaa, COUNTS)
        assert isinstance(effort, Asked)
        found: dict[str, int] = {}
        for load in effort.loads:
            found[load.model] = found.get(load.model, 0) + load.calls
        return found

    assert calls("Single") == {"agg": 600}
    assert calls("Random") == {"a": 200, "b": 400}
    assert calls("Combined") == {"a": 600, "b": 1200}
    # 1,800 pairs in both orders, by two judges and a verdict, and a choice of criteria a pair.
    assert calls("BestOfN") == {"a": 600 + 3600, "b": 1200 + 3600, "agg": 1800 + 3600}


def generate_document(method: str, **changes: Any) -> dict[str, object]:
    return dict(run_all(owner(method, **changes))[1]["i1-generate"].document)


def test_only_what_a_method_reads_is_in_its_fingerprint() -> None:
    assert "method" not in str(generate_document("Mixture")["mixture"])
    single = generate_document("Single")["mixture"]
    assert isinstance(single, dict)
    assert set(single) == {"method", "aggregator"}
    assert generate_document("Single")["prompts"] == generate_document("Random")["prompts"] == {}
    judged = generate_document("BestOfN")["mixture"]
    assert isinstance(judged, dict)
    assert set(judged) == {"method", "layers", "minProposals", "judge"}


def test_another_judge_repeats_the_best_and_nothing_else() -> None:
    single = {"method": "Single", "aggregator": {"model": "a"}}
    for method in MIXTURES:
        edited = generate_document(method, spec__judge=single)
        assert (edited == generate_document(method)) == (method != "BestOfN"), method


def test_methods_over_the_same_prompts_share_one_ledger() -> None:
    assert len({run_all(owner(method))[1]["i1-generate"].inputs for method in MIXTURES}) == 1
    assert len({run_all(owner(method))[1]["i1-generate"].fingerprint for method in MIXTURES}) == len(MIXTURES)


@pytest.mark.parametrize(
    ("method", "labels"),
    [
        ("Mixture", ["base", "a", "b", "aggregator", "mixture"]),
        ("Single", ["base", "mixture"]),
        ("Random", ["base", "a", "b", "mixture"]),
        ("BestOfN", ["base", "a", "b", "mixture"]),
        ("Combined", ["base", "a", "b"]),
    ],
)
def test_who_is_measured_in_iteration_0(method: str, labels: list[str]) -> None:
    moaa = owner(method)
    assert [subject.label for subject in subjects(moaa, build(moaa).stages["i0-evaluate"])] == labels


def off_policy(method: str) -> MoAA:
    preference = [{"source": "file:///pref.jsonl"}]
    return owner(
        method, spec__training__dpo={"samplesFrom": "Mixture", "samples": 4}, spec__data__preference=preference
    )


def test_off_policy_samples_wait_for_no_student() -> None:
    graph = build(off_policy("Mixture"))
    assert graph.stages["i1-sample"].needs == ("i0-resolve", "i0-stage-data")
    assert graph.stages["i1-sample"].serves == ("a", "b", "agg")
    assert {"i1-sft", "i1-judge"} <= set(graph.stages["i1-dpo"].needs)
    assert graph.stages["i1-dpo"].student == "@i1-sft"


@pytest.mark.parametrize(
    ("method", "sampled", "pairs"),
    [
        ("Mixture", {"a": 200, "b": 400, "agg": 200}, 6),
        ("Combined", {"a": 50, "b": 100}, 3),
        ("Single", {"agg": 200}, 6),
    ],
)
def test_calls_for_off_policy_pairs(method: str, sampled: dict[str, int], pairs: int) -> None:
    moaa = off_policy(method)
    graph = build(moaa)

    def calls(name: str) -> dict[str, int]:
        stage = graph.stages[name]
        effort = KINDS[stage.kind].effort(stage, moaa, COUNTS)
        assert isinstance(effort, Asked)
        found: dict[str, int] = {}
        for load in effort.loads:
            found[load.model] = found.get(load.model, 0) + load.calls
        return found

    assert calls("i1-sample") == sampled
    assert calls("i1-judge")["a"] == 50 * pairs * 2


def test_off_policy_pairs_depend_on_the_mixture_and_on_policy_pairs_do_not() -> None:
    def sample(method: str, **dpo: Any) -> str:
        return run_all(owner(method, spec__training__dpo=dpo))[1]["i1-sample"].fingerprint

    assert sample("Mixture", samplesFrom="Mixture") != sample("Random", samplesFrom="Mixture")
    assert sample("Mixture", samplesFrom="Mixture") == sample("Mixture", samplesFrom="Mixture", temperature="0.1")
    assert sample("Mixture", samplesFrom="Mixture") != sample("Mixture")


def test_the_student_joins_the_candidates() -> None:
    moaa = owner("BestOfN", spec__mixture__addStudent=True, spec__iterations=2, spec__data__allowReuse=True)
    assert "@i1-promote" in build(moaa).stages["i2-generate"].serves
    assert "@i1-promote" not in build(moaa).stages["i1-generate"].serves
