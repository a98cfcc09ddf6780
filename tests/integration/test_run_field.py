"""Benchmarks of the field in `moaa run` and its report: files in the authors' layouts, one judge behind an endpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from moaa.benchmark.arena_hard import GO_ON
from tests.fakes.model_server import Behaviour, Body, play
from tests.integration.whole_run import WholeRun, prompt, says

pytestmark = pytest.mark.timeout(600)

HARD = 24
"""Questions of Arena-Hard."""
CATEGORIES = ("writing", "math", "stem")


def said(body: Body) -> Behaviour:
    asked = prompt(body)
    if body["model"] == "student":
        return says(f"student on {asked}")
    if asked == GO_ON:
        return says("I still cannot.")
    if "label" in asked:
        return says(arena_verdict(asked))
    return says("Poor. [[3]]" if "Right is" in asked else "No grade" if "stem turn 2" in asked else "Good. [[8]]")


def arena_verdict(asked: str) -> str:
    """Question 0 has no label in either game, question 1 a draw in both; in all others the student is better, much
    where it stands second."""
    if "question 0 " in asked:
        return "I cannot say."
    if "question 1 " in asked:
        return "The same: [[A=B]]"
    return "Second: [[B>>A]]" if asked.index("theirs") < asked.index("student on") else "First: [[A>B]]"


PROMPTS = {
    "arenaHard": "{question}\n<a>{answer_a}</a><b>{answer_b}</b>\nOne label: [[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]",
    "exchange": "{question}\n<a>{answer}</a>\n",
    "expected": "Right is {text}\n",
    "grade": "{conversation}\nGrade turn {number}: [[1]] to [[10]]",
    "gradeReference": "{conversation}{references}\nGrade turn {number}: [[1]] to [[10]]",
}


def source(run: WholeRun, name: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    (run.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": f"file://{run.folder}/{name}"}


def benchmarks(run: WholeRun) -> list[dict[str, Any]]:
    hard = [
        {"uid": f"h{i}", "category": "arena-hard-v0.1", "cluster": "x", "prompt": f"question {i} ?"}
        for i in range(HARD)
    ]
    theirs = [
        {"question_id": f"h{i}", "model_id": "gpt-4", "choices": [{"index": 0, "turns": [{"content": "theirs"}]}]}
        for i in range(HARD)
    ]
    turns = [
        {"question_id": 81 + i, "category": of, "turns": [f"{of} turn 1 ?", f"{of} turn 2 ?"]}
        for i, of in enumerate(CATEGORIES)
    ]
    references = [{"question_id": 82, "choices": [{"index": 0, "turns": ["4", "6"]}]}]
    return [
        {
            "name": "hard", "type": "ArenaHard", "version": "v0.1", "judgeModel": {"model": "eva"},
            **source(run, "hard.jsonl", hard), "answers": source(run, "gpt-4.jsonl", theirs),
        },
        {
            "name": "mt", "type": "MtBench", "judgeModel": {"model": "eva"},
            **source(run, "question.jsonl", turns), "answers": source(run, "references.jsonl", references),
        },
    ]  # fmt: skip


async def test_arena_hard_and_mt_bench_stand_in_the_report_as_papers_print_them(tmp_path: Path) -> None:
    async with play(said) as server:
        run = WholeRun(tmp_path, server.url, ["eva"])
        run.changes = {
            "data": {"preference": [{"source": run.rows("p.jsonl", ["a", "b"])}], "decontaminationNgram": 0},
            "training": {"dpo": {"precision": "FP32", "samples": 2}},
            "judge": {"method": "Single", "aggregator": {"model": "eva"}, "criteria": 0},
            "prompts": PROMPTS,
            "evaluation": {"report": benchmarks(run)},
            "failures": {"maxFraction": "0.5", "maxMemberFraction": "0.5"},
        }
        ended = await run.run("--until", "i0-evaluate")
        assert ended.code == 0, ended.said
    summary, page = await run.report()
    found = {figure["name"]: figure["value"] for score in summary["scores"] for figure in score["figures"]}
    won, drawn = HARD - 2, 1
    assert found["Arena-Hard v0.1"] == pytest.approx((4 * won + 2 * 0.5 * drawn) / (4 * won + 2 * drawn), abs=1e-6)
    assert (found["MT-Bench"], found["MT-Bench, math"], found["MT-Bench, writing"]) == (5.5, 3.0, 8.0)
    assert "MT-Bench, stem" not in found, "one of its turns has no grade"
    failures = {failure["reason"]: failure["rows"] for failure in summary["failures"]}
    assert failures == {"no-verdict": 2}
    for shown in (
        "As papers print it",
        "Arena-Hard v0.1",
        "5.50",
        "prefers",
        "(B>>A)",
        "grade 3",
        "turn 2",
        "needs 50 games won",
    ):
        assert shown in page, shown
