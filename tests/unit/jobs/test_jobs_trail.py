"""The trail of verdicts from the jobs that write it to the report: every comparison shows what was compared."""

import json
from pathlib import Path
from typing import Any

import pytest

from moaa.api import MoAA
from moaa.report.html import render
from moaa.report.summary import summarise
from moaa.run.collect import collect
from moaa.run.records import run_id
from moaa.run.trail import Compared
from moaa.run.view import RunView
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.runner.context import Permanent
from tests.endpoint import serve
from tests.unit.jobs.test_jobs_chain import PROMPTS, between, chain, resource, scripted
from tests.unit.report.test_report_html import Page

MIXTURE = {
    "method": "Mixture",
    "judges": [{"model": "left"}, {"model": "right"}],
    "aggregator": {"model": "agg"},
    "criteria": 1,
}


def arena(folder: Path, **changes: Any) -> dict[str, Any]:
    single = {"method": "Single", "aggregator": {"model": "eva"}, "criteria": 0}
    source = f"file://{folder}/held.jsonl"
    if changes.get("baseline") == "$given":
        rows = [{"id": f"g{i}", "messages": given(f"{i}*2")} for i in range(3)]
        (folder / "given.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = f"file://{folder}/given.jsonl"
    return {"report": [{"name": "arena", "type": "Pairwise", "source": source, "judge": single, **changes}]}


def given(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": f"given({question})"}]


async def seen(owner: MoAA, folder: Path) -> RunView:
    return await collect(owner, DirectoryStore(folder / "store"), run_id(owner))


def check(compared: Compared, own: str, other: str) -> None:
    """What judges were shown is what is told to have been compared, and who won is who the scripted judge prefers."""
    assert compared.answers == (own, other)
    assert compared.score == float(own > other)
    orders = [row["order"] for row in compared.drawn.said if row["role"] == "verdict"]
    assert orders == ["ab", "ba"]


@pytest.mark.parametrize(
    ("baseline", "written"),
    [("$base", "student"), ("$given", "given"), ("right", "right"), ("agg", "agg"), ("eva", "eva")],
    ids=["the start", "the rows' own answers", "a member", "the aggregator", "no member"],
)
async def test_a_duel_is_told_with_the_answer_that_it_was_held_against(
    tmp_path: Path, baseline: str, written: str
) -> None:
    async with serve(scripted) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS, evaluation=arena(tmp_path, baseline=baseline))
        made = await chain(owner, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i0-evaluate"])
    view = await seen(owner, tmp_path)
    assert view.unreadable == ()
    texts = {(r["model"], r["id"]): r["text"] for r in made["i0-evaluate"]["answers"]}
    assert len(view.compared["i0-evaluate"]) == 4
    for one in view.compared["i0-evaluate"]:
        assert one.prompt is not None
        check(one, texts[one.drawn.place.model, one.drawn.place.id], f"{written}({one.prompt})")
        assert not one.is_chosen, "none were to be chosen"


async def test_criteria_of_a_duel_are_those_that_its_judge_chose(tmp_path: Path) -> None:
    async with serve(scripted) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS, evaluation=arena(tmp_path, judge=MIXTURE))
        await chain(owner, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i0-evaluate"])
    view = await seen(owner, tmp_path)
    for one in view.compared["i0-evaluate"]:
        assert (one.criteria, one.is_chosen) == (("Accuracy",), True)
        roles = [(row["role"], row["judge"]) for row in one.drawn.said]
        each = [("evaluation", "left"), ("evaluation", "right"), ("verdict", "agg")]
        assert roles == [("criteria", "agg"), *each, *each]
    judges = [(j.benchmark, j.role, j.judge, j.asked) for j in summarise(view).judges]
    assert judges == [
        ("arena", "method", "Mixture", None),
        ("arena", "criteria", "agg", 12),
        ("arena", "evaluation", "left", 24),
        ("arena", "evaluation", "right", 24),
        ("arena", "verdict", "agg", 24),
    ], "four models but the start, on three questions"


async def test_a_comparison_of_samples_is_told_as_it_was_ranked(tmp_path: Path) -> None:
    stages = ["i0-resolve", "i0-stage-data", "i0-evaluate", "i1-sample", "i1-judge"]
    async with serve(scripted) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS)
        made = await chain(owner, tmp_path, endpoint, stages)
    view = await seen(owner, tmp_path)
    samples = {row["id"]: row["samples"] for row in made["i1-sample"]["samples"]}
    asked = [row["messages"][-1]["content"] for row in made["i1-sample"]["samples"]]
    assert view.compared["i1-judge"]
    for one in view.compared["i1-judge"]:
        place = one.drawn.place
        check(one, samples[place.id][place.a], samples[place.id][place.b])
        assert one.prompt in asked
    page = Page(render(view, summarise(view))).text
    compared = sum(len(row["comparisons"]) for row in made["i1-judge"]["rankings"])
    assert f"i1-judge: {len(view.compared['i1-judge'])} of {compared} comparisons" in page


async def test_a_judge_that_follows_the_place_is_seen_beside_the_score(tmp_path: Path) -> None:
    """Always A: every outcome is a draw, and nothing of the score is the answers'."""

    def world(body: dict[str, Any]) -> str:
        is_judge = body["model"] == "eva" and "[[A]]" in body["messages"][-1]["content"]
        assert not is_judge or between(body["messages"][-1]["content"], "answer_a")
        return "[[A]]" if is_judge else scripted(body)

    async with serve(world) as endpoint:
        owner = resource(tmp_path, endpoint.url, prompts=PROMPTS)
        await chain(owner, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i0-evaluate"])
    summary = summarise(await seen(owner, tmp_path))
    left = next(s for s in summary.scores if (s.model, s.benchmark) == ("left", "arena"))
    assert (left.value, left.position_consistency) == (0.5, 0.0)
    judge = next(j for j in summary.judges if j.role == "verdict")
    assert judge.orders is not None
    assert (judge.orders.first_place_won, judge.orders.first_place_share) == (12, 1.0)


def speechless(body: dict[str, Any]) -> str:
    """The judge cannot say anything of the second question."""
    content = body["messages"][-1]["content"]
    return "I like both." if body["model"] == "eva" and "[[A]]" in content and "1*2" in content else scripted(body)


async def test_a_question_without_a_verdict_leaves_what_its_judge_said(tmp_path: Path) -> None:
    async with serve(speechless) as endpoint:
        owner = resource(
            tmp_path, endpoint.url, prompts=PROMPTS, evaluation=arena(tmp_path), failures={"maxFraction": "1"}
        )
        made = await chain(owner, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i0-evaluate"])
    view = await seen(owner, tmp_path)
    evaluated = view.of("i0-evaluate")
    assert evaluated is not None
    assert evaluated.manifest is not None
    assert evaluated.manifest.failures == {"no-verdict": 4}
    assert not [row for row in made["i0-evaluate"]["scores"] if row["id"] == "h1" and row["model"] != "base"]
    unscored = [row for row in made["i0-evaluate"]["answers"] if row["score"] is None]
    assert {(row["id"], row["model"]) for row in unscored} == {
        ("h1", model) for model in ("left", "right", "aggregator", "mixture")
    }
    judge = next(j for j in summarise(view).judges if j.role == "verdict")
    assert (judge.asked, judge.failures) == (24, {"unreadable": 8})
    assert judge.orders is not None
    assert (judge.orders.comparisons, judge.orders.no_verdict) == (12, 4)
    failed = [one for one in view.compared["i0-evaluate"] if one.drawn.place.id == "h1"]
    assert failed
    assert all(one.score is None and None not in one.answers for one in failed)
    assert evaluated.manifest.warnings == [
        "model 'eva' failed 8 of 24 times as verdict (unreadable: 8): its reply ends 'I like both.'"
    ]


async def test_a_judge_that_an_evaluation_cannot_read_ends_it_by_name(tmp_path: Path) -> None:
    def world(body: dict[str, Any]) -> str:
        return "I like both." if body["model"] == "eva" and "[[A]]" in str(body["messages"]) else scripted(body)

    async with serve(world) as endpoint:
        owner = resource(
            tmp_path, endpoint.url, prompts=PROMPTS, evaluation=arena(tmp_path), failures={"maxFraction": "1"}
        )
        with pytest.raises(
            Permanent, match=r"i0-evaluate: model 'eva' failed \d+ of \d+ times as verdict .*I like both"
        ):
            await chain(owner, tmp_path, endpoint, ["i0-resolve", "i0-stage-data", "i0-evaluate"])
