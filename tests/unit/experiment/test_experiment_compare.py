"""The comparison's figures on made-up score tables with known results, and the page that shows them."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from moaa.experiment.compare import compare
from moaa.experiment.contrast import Level, difference, over_seeds
from moaa.experiment.expand import Expanded, expand
from moaa.experiment.html import render
from moaa.experiment.schema import ArmScore, Comparison, Finding
from moaa.plan.result import Output
from moaa.plan.stage import Kind
from moaa.rows import ScoreRow
from moaa.run.view import RunView, StageView
from tests.unit.experiment.test_experiment_expand import HEAD
from tests.unit.report_world import RESOURCE, digest, finished_run, not_started

Skill = Callable[[str, str, int], float]
"""Score by arm, row id and seed."""
LEVEL = Level(confidence=0.95, resamples=1000, compared=1)
QUESTIONS = 40


def experiment(folder: Path, *arms: str, seeds: tuple[int, ...] = (0,), **patches: object) -> Expanded:
    """Arms of one iteration that differ in their SFT learning rate, by their place."""
    spec = {**RESOURCE["spec"], "iterations": 1}
    (folder / "base.json").write_text(json.dumps({**RESOURCE, "spec": spec}))
    rates = {arm: {"spec": {"training": {"sft": {"learningRate": f"{i + 1}e-6"}}}} for i, arm in enumerate(arms)}
    file = folder / "trial.json"
    file.write_text(json.dumps({**HEAD, "arms": {**rates, **patches}, "seeds": list(seeds)}))
    return expand(file)


def views(
    found: Expanded, skill: Skill, *, shared: tuple[str, ...] = ("i0-resolve", "i0-stage-data")
) -> dict[str, RunView]:
    """Every run finished, its trained students scored by `skill` on `math`; `shared` stages were made by the first."""
    made: dict[str, RunView] = {}
    for run in found.runs:
        view = finished_run(run.resource)
        name = f"research-{run.name}-local"
        first = f"research-{found.runs[0].name}-local"
        stages = tuple(_owned(stage, first if stage.stage.id in shared else name) for stage in view.stages)
        rows = [
            ScoreRow(
                benchmark="math", model=kind, id=f"q{i}", score=skill(run.arm, f"q{i}", run.seed),
                length=10.0 * (i + 1), baseline_length=None, refused=None, repeated=None,
            )
            for kind in ("sft", "dpo")
            for i in range(QUESTIONS)
        ]  # fmt: skip
        scores = {
            **view.scores,
            **{f"i1-evaluate-{k}": tuple(r for r in rows if r["model"] == k) for k in ("sft", "dpo")},
        }
        made[run.name] = replace(view, run=name, stages=stages, scores=scores)
    return made


def _owned(stage: StageView, run: str) -> StageView:
    assert stage.manifest is not None
    return replace(stage, manifest=stage.manifest.with_(run=run, fingerprint=digest(f"{run} {stage.stage.id}")))


def score(found: Comparison, arm: str, *, subject: str = "last", benchmark: str = "math") -> ArmScore:
    (one,) = [s for s in found.scores if (s.arm, s.subject, s.benchmark) == (arm, subject, benchmark)]
    return one


def number(row_id: str) -> int:
    return int(row_id[1:])


def half_better(arm: str, row_id: str, _seed: int) -> float:
    """The second arm is right on every question, the first on every second one."""
    return 1.0 if arm == "two" or number(row_id) % 2 == 0 else 0.0


def test_a_known_difference_has_its_known_figures(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two")
    result = compare(found, views(found, half_better), {})
    first, second = score(result, "one"), score(result, "two")
    assert (first.value, second.value, second.n, second.seeds) == (0.5, 1.0, QUESTIONS, 1)
    assert first.difference is None
    assert first.apart is None
    assert second.difference is not None
    assert second.difference.value == 0.5
    assert second.difference.by_seed == {0: 0.5}
    assert second.difference.finding is Finding.BETTER
    low, high = second.difference.low, second.difference.high
    assert low is not None
    assert high is not None
    # A proportion of a half over 40 questions: 1.96 * sqrt(0.25 / 40) = 0.155.
    assert 0.31 < low < 0.38
    assert 0.62 < high < 0.69
    assert second.mean_length == pytest.approx(10 * (QUESTIONS + 1) / 2)
    assert second.student == "iteration 1 DPO"
    assert result.verdict.startswith("Against one's last trained student: two is better on math, +50.0 points")


def test_an_equal_arm_is_told_as_equal(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two")
    result = compare(found, views(found, lambda _a, row_id, _s: float(number(row_id) % 2)), {})
    told = score(result, "two").difference
    assert told is not None
    assert (told.value, told.low, told.high, told.finding) == (0.0, 0.0, 0.0, Finding.EQUAL)
    assert result.verdict.startswith("No arm's last trained student stands out from one's")


def test_the_sign_is_arm_minus_first(tmp_path: Path) -> None:
    found = experiment(tmp_path, "two", "one")
    told = score(compare(found, views(found, half_better), {}), "one").difference
    assert told is not None
    assert (told.value, told.finding) == (-0.5, Finding.WORSE)


def test_seeds_are_averaged_within_a_question_and_shown_alone(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two", seeds=(1, 2))

    def skill(arm: str, _row_id: str, seed: int) -> float:
        return 0.5 if arm == "one" else {1: 0.9, 2: 0.3}[seed]

    told = score(compare(found, views(found, skill), {}), "two")
    assert told.difference is not None
    assert (told.value, told.n, told.seeds) == (0.6, QUESTIONS, 2)
    assert told.difference.value == 0.1
    assert told.difference.by_seed == {1: 0.4, 2: -0.2}
    assert told.difference.n == QUESTIONS


def test_only_seeds_and_questions_that_both_have_are_compared() -> None:
    arm = {1: {"a": 1.0, "b": 1.0}, 2: {"a": 1.0}}
    first = {1: {"a": 0.0, "c": 0.0}, 3: {"a": 0.0}}
    told = difference(arm, first, LEVEL)
    assert told is not None
    assert (told.value, told.n, told.low, told.finding) == (1.0, 1, None, Finding.UNKNOWN)
    assert difference(arm, {3: {"a": 0.0}}, LEVEL) is None
    assert over_seeds({1: {"b": 1.0, "a": 0.0}, 2: {"a": 1.0}}) == [0.5, 1.0]


def test_the_interval_is_that_of_questions_not_of_answers() -> None:
    """Ten seeds that answer alike are no more evidence than one."""
    scores = {f"q{i}": float(i % 2) for i in range(30)}
    zero = dict.fromkeys(scores, 0.0)
    once = difference({0: scores}, {0: zero}, LEVEL)
    often = difference(dict.fromkeys(range(10), scores), dict.fromkeys(range(10), zero), LEVEL)
    assert once is not None
    assert often is not None
    assert (once.low, once.high) == (often.low, often.high)


def test_findings_are_corrected_for_the_number_of_differences() -> None:
    """Of 19 null arms against one, at least one would look different at 95 % in most experiments."""
    many = Level(confidence=0.95, resamples=1000, compared=19)
    assert many.corrected == pytest.approx(1 - 0.05 / 19)
    chance = random.Random(5)
    alone, together = 0, 0
    for _ in range(60):
        arm, first = ({0: {f"q{i}": float(chance.random() < 0.5) for i in range(50)}} for _ in range(2))
        alone += difference(arm, first, LEVEL).finding is not Finding.WITHIN_NOISE  # type: ignore[union-attr]  # shared
        together += difference(arm, first, many).finding is not Finding.WITHIN_NOISE  # type: ignore[union-attr]
    assert together <= 1 < alone


def test_mixture_and_every_student_are_compared_and_none_twice(tmp_path: Path) -> None:
    """Both runs promoted the last student, so `promoted` and `i1-dpo` would say the same again."""
    found = experiment(tmp_path, "one", "two")
    made = views(found, half_better)
    listed = dict.fromkeys((s.benchmark, s.subject) for s in compare(found, made, {}).scores)
    assert list(listed) == [("math", "last"), ("math", "mixture"), ("math", "i1-sft"), ("arena", "mixture")]


def test_a_promoted_student_that_is_not_the_last_is_compared_as_well(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two")
    made = views(found, half_better)
    name = found.runs[1].name
    stages = [_promoting(stage, "i1-sft") if stage.stage.kind is Kind.PROMOTE else stage for stage in made[name].stages]
    made[name] = replace(made[name], stages=tuple(stages))
    result = compare(found, made, {})
    students = [score(result, arm, subject="promoted").student for arm in ("one", "two")]
    assert students == ["iteration 1 DPO", "iteration 1 SFT"]
    assert result.arms[1].runs[0].promoted == "iteration 1 SFT"


def _promoting(stage: StageView, winner: str) -> StageView:
    assert stage.manifest is not None
    outputs = {"model": Output(digest=digest(f"weights of {winner}"))}
    return replace(stage, manifest=stage.manifest.with_(outputs=outputs))


def test_scores_that_were_measured_otherwise_are_not_compared(tmp_path: Path) -> None:
    other = [{"name": "math", "type": "ExactMatch", "source": "s3://lab-data/math.jsonl", "samples": 4}]
    patch = {"spec": {"evaluation": {"selection": other}}}
    found = experiment(tmp_path, "one", two=patch)
    told = score(compare(found, views(found, half_better), {}), "two")
    assert told.difference is None
    assert told.apart == "the two arms measure it in different ways"


@pytest.mark.parametrize(("digest_of_two", "apart"), [("a", None), ("b", "its rows changed between the two arms")])
def test_scores_on_rows_that_changed_meanwhile_are_not_compared(
    tmp_path: Path, digest_of_two: str, apart: str | None
) -> None:
    found = experiment(tmp_path, "one", "two")
    made = views(found, half_better)
    for run, read in zip(found.runs, ("a", digest_of_two), strict=True):
        view = made[run.name]
        made[run.name] = replace(view, stages=tuple(_having_read(stage, {"math": read}) for stage in view.stages))
    assert score(compare(found, made, {}), "two").apart == apart


def _having_read(stage: StageView, inputs: dict[str, str]) -> StageView:
    assert stage.manifest is not None
    return replace(stage, manifest=stage.manifest.with_(document={"inputs": inputs}))


def test_another_judge_of_a_benchmark_is_another_measure(tmp_path: Path) -> None:
    models = [
        m if m["name"] != "gpt-judge" else {**m, "endpoint": {**m["endpoint"], "model": "other"}}
        for m in RESOURCE["spec"]["models"]
    ]
    found = experiment(tmp_path, "one", two={"spec": {"models": models}})
    made = views(found, half_better)
    for name, view in made.items():
        math = view.scores["i1-evaluate-dpo"]
        arena = [{**row, "benchmark": "arena"} for row in math]
        made[name] = replace(
            view, scores={**view.scores, "i1-evaluate-dpo": (*math, *(cast(ScoreRow, r) for r in arena))}
        )
    result = compare(found, made, {})
    assert score(result, "two").difference is not None
    assert score(result, "two", benchmark="arena").apart == "the two arms measure it in different ways"


def test_cost_is_told_as_made_and_as_used(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two")
    made = views(found, half_better)
    one, two = compare(found, made, {}).arms
    assert one.made == one.used
    assert two.made.stages == two.used.stages - 2
    manifests = [s.manifest for s in made[found.runs[1].name].stages if s.manifest]
    usage = [u for m in manifests for u in m.usage.values()]
    assert two.used.calls == sum(u.calls for u in usage)
    assert two.used.reused_calls == sum(u.reused for u in usage) > 0
    assert two.used.prompt_tokens == sum(u.prompt_tokens for u in usage)
    assert two.used.seconds == pytest.approx(sum(m.seconds for m in manifests), rel=1e-5)
    assert two.used.gpu_hours > 0
    assert two.used.usd is not None


def test_what_failed_or_is_open_is_named(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two", "three")
    made = views(found, half_better)
    names = {run.arm: run.name for run in found.runs}
    made[names["two"]] = not_started(found.of("two")[0].resource)
    del made[names["three"]]
    result = compare(found, made, {names["three"]: "i1-sft: out of memory; see https://me:pw@x.example/help"})
    assert [s for s in result.scores if s.arm != "one"] == []
    assert result.missing[0].startswith("two, seed 0: 11 of 11 stages are not done, i0-resolve first")
    assert result.missing[1].startswith("three, seed 0: failed: i1-sft: out of memory")
    assert "me:pw" not in result.to_json()
    states = {arm.name: arm.runs[0] for arm in result.arms}
    assert (states["one"].done, states["one"].stages, states["one"].promoted) == (11, 11, "iteration 1 DPO")
    assert states["one"].reason is not None
    assert (states["two"].done, states["two"].promoted) == (0, None)
    assert "an arm failed" in render(result)


def test_without_scores_nothing_is_claimed(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two")
    made = {run.name: not_started(run.resource) for run in found.runs}
    result = compare(found, made, {})
    assert result.verdict == "Nothing measured yet says how any arm differs from one."
    assert "Nothing was measured yet." in render(result)


def test_the_page_shows_every_figure_and_escapes_what_others_wrote(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two", seeds=(1, 2))
    result = compare(found, views(found, half_better), {found.runs[-1].name: "<script>alert(1)</script>"})
    text = render(result)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "+50.0" in text
    assert "better" in text
    assert "spec.training.sft.learningRate 0.000001 → 0.000002" in text
    assert text.count("<svg") == 2 * 2 * 2  # scores and differences, wide and narrow, of two benchmarks
    assert "By seed" in text
    assert Comparison.model_validate_json(result.to_json()) == result


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    found = experiment(tmp_path, "one", "two")
    texts = {(c.to_json(), render(c)) for c in (compare(found, views(found, half_better), {}) for _ in range(2))}
    assert len(texts) == 1
