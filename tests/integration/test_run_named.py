"""Judges that follow something else than the answers, or fail, are named in all that a user of `moaa run` reads."""

import re
from math import log
from pathlib import Path
from typing import Any

import pytest

from moaa.api.status import MoAAStatus
from moaa_operator.tell.events import between
from moaa_operator.tell.results import stage_status
from tests.fakes.model_server import Behaviour, Body, error, play
from tests.integration.whole_run import ONE_AT_A_TIME, WholeRun, plays, pseudo_random, repeated, says, shown
from tests.unit.client.test_calls_letters import listed

pytestmark = pytest.mark.timeout(600)

PROMPTS = 40
FLAGGED = "Your input was flagged by moderation"


def sampled(body: Body) -> Behaviour:
    """Of a student: any length, and a quality that says nothing of it."""
    seed = int(body.get("seed", 0))
    return says(f"{'x' * (seed % 61 + 1)} {seed * 7919 % 1009}")


def judged(body: Body) -> Behaviour:
    first, second = shown(body)
    fair = int(first.split()[1]) > int(second.split()[1])
    match body["model"]:
        case "first":
            return says("[[A]]")
        case "coin":
            return says("[[A]]" if pseudo_random(body) % 2 else "[[B]]")
        case "longer":
            return says("[[A]]" if len(first) > len(second) else "[[B]]")
        case "absent" if pseudo_random(body) % 2:
            return plays(error(403, FLAGGED))
        case _:
            return says("[[A]]" if fair else "[[B]]")


def preference(run: WholeRun, samples: int, judge: dict[str, Any], **failures: str) -> dict[str, Any]:
    questions = [f"question {number}" for number in range(PROMPTS)]
    return {
        "data": {"preference": [{"source": run.rows("p.jsonl", questions)}], "decontaminationNgram": 0},
        "training": {"dpo": {"precision": "FP32", "samples": samples}},
        "judge": judge,
        "failures": {"maxFraction": "0", "retries": 0, **failures},
    }


async def test_null_judges_are_named_by_all_that_a_user_reads(tmp_path: Path) -> None:
    panel = ["first", "coin", "longer", "absent", "one", "two", "three"]
    async with play(lambda body: sampled(body) if body["model"] == "student" else judged(body)) as server:
        run = WholeRun(tmp_path, server.url, panel, endpoints=dict.fromkeys(panel, ONE_AT_A_TIME))
        judge = {"method": "Panel", "judges": [{"model": name} for name in panel]}
        run.changes = preference(run, 3, judge, maxMemberFraction="0.1")
        ended = await run.run("--until", "i1-judge")
        assert ended.code == 1
        assert re.search(
            r"moaa: i1-judge: model 'absent' failed \d+ of \d+ times as verdict \(refused: \d+\), more than "
            rf"spec.failures.maxMemberFraction 0.1 allows. The first refused: model 'absent': HTTP 403: {FLAGGED}. "
            "Name a judge that .* or raise maxMemberFraction to go on without its part",
            ended.said,
        )
        spent = server.count(*panel)
        assert spent.total() < PROMPTS * 3 * 2 * len(panel) / 2
        summary, page = await run.report()
        [stage] = [stage for stage in summary["stages"] if stage["id"] == "i1-judge"]
        assert stage["status"] == "failed"
        assert FLAGGED in stage["problem"]
        assert FLAGGED in page
        run.changes = preference(run, 3, judge, maxMemberFraction="0.7")
        ended = await run.run("--until", "i1-judge")
        assert ended.code == 0, ended.said
    assert all(repeated(server, name) <= 1 for name in panel)
    manifest = run.manifest("i1-judge")
    told = {re.findall(r"'(\w+)'", warning)[0]: warning for warning in manifest.warnings}
    assert told.keys() == {"first", "coin", "longer", "absent"}
    assert told["first"].startswith("judge 'first' prefers whichever answer stands first: 120 of 120 comparisons")
    assert told["coin"].startswith("judge 'coin' is no better than chance: its verdict held in both orders in ")
    assert told["longer"].startswith("judge 'longer' prefers the longer answer: ")
    assert re.match(rf"model 'absent' failed \d+ of 240 times as verdict .*{FLAGGED}", told["absent"])
    summary, page = await run.report()
    [warned] = [stage["warnings"] for stage in summary["stages"] if stage["warnings"]]
    assert warned == manifest.warnings
    status = MoAAStatus(stages=[stage_status(manifest.result())])
    events = [event.message for event in between(MoAAStatus(), status) if event.type == "Warning"]
    for warning in manifest.warnings:
        assert f"warning: i1-judge: {warning}" in ended.said
        assert warning in page
        assert f"i1-judge: {warning}" in events


async def test_a_judge_that_gives_no_verdict_ends_its_stage_on_the_first_rows(tmp_path: Path) -> None:
    reply = "Both are fine, and I thank you."
    async with play(lambda body: sampled(body) if body["model"] == "student" else says(reply)) as server:
        run = WholeRun(tmp_path, server.url, ["eva"], endpoints={"eva": ONE_AT_A_TIME})
        run.changes = preference(run, 2, {"method": "Single", "aggregator": {"model": "eva"}, "criteria": 0})
        ended = await run.run("--until", "i1-judge")
        assert server.count("eva").total() < PROMPTS * 2 * 2 / 2
    assert ended.code == 1
    assert re.search(
        r"i1-judge: model 'eva' failed \d+ of \d+ times as verdict \(unreadable: \d+\), more than .*"
        rf"The first unreadable: its reply ends '{reply}'. Name a judge that gives its verdict in the form it is asked",
        ended.said,
    )
    assert "not done because of that" not in ended.said
    assert "what was finished is kept; running it again goes on from there" in ended.said


async def test_a_null_judge_of_an_evaluation_is_named_and_gives_half_a_point_to_everybody(tmp_path: Path) -> None:
    async with play(lambda body: sampled(body) if body["model"] == "student" else judged(body)) as server:
        run = WholeRun(tmp_path, server.url, ["first"])
        held = [f"question {number}" for number in range(PROMPTS)]
        benchmark = {
            "name": "arena",
            "type": "Pairwise",
            "source": run.rows("held.jsonl", held, given="a 5"),
            "baseline": "$given",
            "judge": {"method": "Single", "aggregator": {"model": "first"}, "criteria": 0},
        }
        run.changes = {
            **preference(run, 2, {"method": "Single", "aggregator": {"model": "first"}, "criteria": 0}),
            "evaluation": {"selection": [benchmark], "members": False},
        }
        ended = await run.run("--until", "i0-evaluate")
        assert ended.code == 0, ended.said
    [warning] = run.manifest("i0-evaluate").warnings
    assert warning.startswith("judge 'first' prefers whichever answer stands first: 40 of 40 comparisons")
    assert f"warning: i0-evaluate: {warning}" in ended.said
    assert {row["score"] for row in await run.table("i0-evaluate", "scores")} == {0.5}
    _, page = await run.report()
    assert warning in page


async def test_a_judge_by_log_probabilities_needs_a_server_that_has_them_and_is_named_for_the_place_it_prefers(
    tmp_path: Path,
) -> None:
    has_letters = False

    def world(body: Body) -> Behaviour:
        if body["model"] == "student":
            return sampled(body)
        if "logprobs" in body:
            return plays(listed(("A", log(0.9)), ("B", log(0.05)))) if has_letters else says("A")
        return says("I have looked at both.")

    async with play(world) as server:
        run = WholeRun(tmp_path, server.url, ["eva"])
        judge = {"method": "Single", "aggregator": {"model": "eva"}, "criteria": 0, "verdict": "LogProbs"}
        run.changes = preference(run, 2, judge)
        ended = await run.run("--until", "i1-judge")
        assert ended.code == 1
        assert "the server sent no log-probabilities of tokens; ask it for verdicts in words" in ended.said
        summary, _ = await run.report()
        [problem] = [stage["problem"] for stage in summary["stages"] if stage["id"] == "i1-judge"]
        assert "no log-probabilities" in problem
        has_letters = True
        ended = await run.run("--until", "i1-judge")
        assert ended.code == 0, ended.said
    [warning] = run.manifest("i1-judge").warnings
    assert warning.startswith(
        "judge 'eva' prefers whichever answer stands first: 40 of 40 comparisons (P(first) 0.95 on average)"
    )
    assert f"warning: i1-judge: {warning}" in ended.said
    verdicts = await run.table("i1-judge", "judgements")
    assert {round(row["probability"], 3) for row in verdicts} == {0.947}
    assert await run.table("i1-judge", "pairs") == []


async def test_the_judge_of_the_best_answer_is_named_too_and_rows_say_who_wrote_them(tmp_path: Path) -> None:
    panel = ["first", "one", "two"]

    def behaves(body: Body) -> Behaviour:
        # The teacher called "good" writes the better answer to every question but each fourth.
        if body["model"] in ("good", "weak"):
            number = int(re.findall(r"\d+", str(body["messages"][-1]["content"]))[-1])
            better = (body["model"] == "good") == (number % 4 != 0)
            return says(f"{body['model']} {900 + number if better else number}")
        return judged(body)

    async with play(behaves) as server:
        run = WholeRun(tmp_path, server.url, [*panel, "good", "weak"])
        run.changes = {
            "data": {
                "sft": [{"source": run.rows("s.jsonl", [f"question {number}" for number in range(PROMPTS)])}],
                "decontaminationNgram": 0,
            },
            "training": {"sft": {"precision": "FP32"}},
            "mixture": {"method": "BestOfN", "layers": [{"proposers": [{"model": "weak"}, {"model": "good"}]}]},
            "judge": {"method": "Panel", "judges": [{"model": name} for name in panel]},
            "failures": {"maxFraction": "0", "retries": 0},
        }
        ended = await run.run("--until", "i1-generate")
        assert ended.code == 0, ended.said
        assert "judge 'first'" in ended.said
        assert "judge 'one'" not in ended.said
        again = await run.run("--until", "i1-generate")
        assert again.code == 0, again.said
        assert repeated(server, "good") == 0
        summary, page = await run.report()
    assert any("judge 'first'" in warning for stage in summary["stages"] for warning in stage["warnings"])
    assert "Turns by author: good 30, weak 10." in page
    assert "answer by good" in page
