"""Every behaviour of other people's servers, met in every place where a run asks models, through `moaa run`.

One row meets one behaviour in one place, and its question says which: `aggregator 017`.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moaa.asking.cut import ENDED_MARK
from moaa.asking.reasons import TRANSIENT
from tests.fakes.behaviours import BEHAVIOURS, MAX_TOKENS
from tests.fakes.model_server import Answered, Behaviour, Body, Failed, ModelServer, play
from tests.integration.whole_run import Command, WholeRun, prompt, says, shown

pytestmark = pytest.mark.timeout(600)

ROWS = [behaviour for behaviour in BEHAVIOURS if isinstance(behaviour.outcome, Answered | Failed)]
"""All but those that end a job."""
ALL_MAY_FAIL = {"maxFraction": "1", "maxMemberFraction": "1"}
VERDICT = "[[A]]"


def questions(place: str) -> list[str]:
    return [f"{place} {number:03}" for number in range(len(ROWS))]


def behaviour_of(question: str) -> Behaviour:
    return ROWS[int(question.rpartition(" ")[2])]


def met_at(body: Body, *places: str) -> Behaviour | None:
    """The behaviour of the row that this request is about, if it is met at one of `places`."""
    text = prompt(body)
    for place in places:
        if (start := text.find(f"{place} ")) >= 0:
            return behaviour_of(text[start : start + len(place) + 4])
    return None


def failed_rows(made: dict[str, Any], place: str) -> set[str]:
    return set(questions(place)) - set(made)


def expected_failures(place: str, *, cut_fails: bool) -> dict[str, str]:
    """Question to reason."""
    found: dict[str, str] = {}
    for question in questions(place):
        match behaviour_of(question).outcome:
            case Failed() as outcome:
                found[question] = outcome.reason
            case Answered(cut=True) if cut_fails:
                found[question] = "cut-answer"
    return found


def answers(place: str, *, cut_too: bool) -> dict[str, str]:
    """Question to the text that has to travel."""
    return {
        question: outcome.text + (ENDED_MARK if outcome.cut else "")
        for question in questions(place)
        if isinstance(outcome := behaviour_of(question).outcome, Answered) and (cut_too or not outcome.cut)
    }


def assert_no_thought_travels(server: ModelServer, kept: Sequence[Any]) -> None:
    """Neither into a request nor into a table. One behaviour speaks of the tags, and means them."""
    asked = json.dumps([body["messages"] for body in server.requests])
    assert re.search(r"\bhm\b|</?think>(?!`)", asked + json.dumps(kept)) is None


async def assert_reasons_are_told(run: WholeRun, stage: str, ended: Command) -> None:
    """The first words of each reason stand in the manifest, the log and the report, the counts on the terminal, too."""
    manifest = run.manifest(stage)
    assert manifest.examples.keys() == manifest.failures.keys()
    _, page = await run.report()
    for reason, example in manifest.examples.items():
        assert f" reason={reason} error=" in run.log(stage)
        assert example in page
        assert f"{reason}: {manifest.failures[reason]}" in ended.said
    lost = sum(manifest.failures.values())
    assert f"rows left out: {stage}: {lost} of {manifest.rows_in} (" in ended.said


def mixing(body: Body) -> Behaviour:
    place = {"left": "proposer", "agg": "aggregator", "student": "measured"}.get(body["model"])
    return (met_at(body, place) if place else None) or says(f"{body['model']} says so")


async def test_what_a_mixture_teaches_and_a_benchmark_measures(tmp_path: Path) -> None:
    async with play(mixing) as server:
        run = WholeRun(tmp_path, server.url, ["left", "right", "agg"])
        run.changes = {
            "data": {
                "sft": [{"source": run.rows("sft.jsonl", [*questions("proposer"), *questions("aggregator")])}],
                "decontaminationNgram": 0,
            },
            "training": {"sft": {"precision": "FP32"}},
            "mixture": {
                "layers": [{"proposers": [{"model": "left", "maxTokens": MAX_TOKENS}, {"model": "right"}]}],
                "aggregator": {"model": "agg", "maxTokens": MAX_TOKENS},
            },
            "evaluation": {
                "members": False,
                "selection": [
                    {
                        "name": "exact",
                        "type": "ExactMatch",
                        "sampling": {"temperature": "0", "maxTokens": MAX_TOKENS},
                        "source": run.rows("held.jsonl", questions("measured"), answer="fine"),
                    }
                ],
            },
            "failures": ALL_MAY_FAIL,
        }
        for stage in ("i1-generate", "i0-evaluate"):
            ended = await run.run("--until", stage)
            assert ended.code == 0, ended.said
            await assert_reasons_are_told(run, stage, ended)
    taught = {row["id"]: row for row in await run.table("i1-generate", "conversations")}
    left = {q: row["proposals"][0]["text"] for q, row in taught.items() if row["proposals"][0]["model"] == "left"}
    absent = {q: row["absent"][0]["reason"] for q, row in taught.items() if row["absent"]}
    lost = expected_failures("proposer", cut_fails=False)
    lasting = {q: reason for q, reason in lost.items() if reason not in TRANSIENT}
    assert {q: text for q, text in left.items() if q.startswith("proposer")} == answers("proposer", cut_too=True)
    assert absent == lasting
    assert {q: row["messages"][-1]["content"] for q, row in taught.items() if q.startswith("agg")} == answers(
        "aggregator", cut_too=False
    )
    assert failed_rows(taught, "proposer") == set(lost) - set(lasting)
    refused = expected_failures("aggregator", cut_fails=True)
    assert failed_rows(taught, "aggregator") == set(refused)
    manifest = run.manifest("i1-generate")
    assert manifest.failures == Counter([*refused.values(), *(lost[q] for q in set(lost) - set(lasting))])
    assert manifest.usage["left"].failures == Counter(lasting.values())
    assert sum(manifest.usage["left"].cut.values()) == sum(text.endswith(ENDED_MARK) for text in left.values())
    assert_no_thought_travels(server, [*taught.values(), *await run.table("i0-evaluate", "answers")])
    measured = {row["id"]: row["score"] for row in await run.table("i0-evaluate", "scores")}
    assert measured == {q: float(text == "fine") for q, text in answers("measured", cut_too=False).items()}
    assert run.manifest("i0-evaluate").failures == Counter(expected_failures("measured", cut_fails=True).values())


def judging(body: Body) -> Behaviour:
    """Of the judge's three parts, and of the student that is sampled; the texts decide who is the better one."""
    match body["model"]:
        case "student":
            return met_at(body, "sampled") or says(f"answer {body.get('seed')}")
        case "reader":
            return met_at(body, "evaluation") or says("I have looked at both.")
        case "other":
            return says("So have I.")
        case "meta" if prompt(body).endswith("Choose 1"):
            return met_at(body, "criteria") or says("Selected Criteria:\n1. Accuracy")
        case "meta":
            found = met_at(body, "verdict")
            return says("[[A]]" if max(shown(body)) == shown(body)[0] else "[[B]]") if found is None else said(found)
    raise AssertionError(body)


def said(behaviour: Behaviour) -> Behaviour:
    """The same with a verdict in place of the word "fine"."""
    replies = tuple(
        replace(reply, body=reply.response().body.replace(b"fine", VERDICT.encode()))  # type: ignore[union-attr]
        for reply in behaviour.replies
    )
    return replace(behaviour, replies=replies)


def unread(question: str) -> str:
    """Why no verdict can be read in the reply; empty where one can."""
    behaviour = behaviour_of(question)
    match behaviour.outcome:
        case Failed() as outcome:
            return outcome.reason
        case Answered(cut=True):
            return "cut-answer"
        case _:
            replied = said(behaviour).replies[-1].response().body
            is_there = isinstance(replied, bytes) and VERDICT.encode() in replied
            return "" if is_there else "unreadable"


async def test_what_judges_are_heard_of_and_a_student_is_sampled(tmp_path: Path) -> None:
    places = ("sampled", "criteria", "evaluation", "verdict")
    async with play(judging) as server:
        run = WholeRun(tmp_path, server.url, ["meta", "reader", "other"])
        member = {"maxTokens": MAX_TOKENS}
        run.changes = {
            "data": {
                "preference": [{"source": run.rows("p.jsonl", [q for place in places for q in questions(place)])}],
                "decontaminationNgram": 0,
            },
            "training": {"dpo": {"precision": "FP32", "samples": 2, "maxTokens": MAX_TOKENS}},
            "judge": {
                "judges": [{"model": "reader", **member}, {"model": "other"}],
                "aggregator": {"model": "meta", **member},
                "minJudges": 1,
                "criteria": 1,
            },
            "failures": ALL_MAY_FAIL,
        }
        ended = await run.run("--until", "i1-judge")
        assert ended.code == 0, ended.said
    samples = {row["id"]: row["samples"] for row in await run.table("i1-sample", "samples")}
    sampled = {q: texts for q, texts in samples.items() if q.startswith("sampled")}
    assert sampled == {q: [text] * 2 for q, text in answers("sampled", cut_too=False).items()}
    judged = await run.table("i1-judge", "judgements")
    rankings = {row["id"]: row for row in await run.table("i1-judge", "rankings")}

    def told(place: str, field: str) -> dict[str, str]:
        """Of the rows that meet something at `place`, what is recorded of it; of all orders the same."""
        met = [row for row in judged if row["role"] == place and row["id"].startswith(place)]
        found = {(row["id"], row[field]) for row in met if row["judge"] != "other"}
        assert len(found) == len({question for question, _ in found})
        return dict(found)

    lasting = [b for b in ROWS if not (isinstance(b.outcome, Failed) and b.outcome.reason in TRANSIENT)]
    rows = {place: [q for q in questions(place) if behaviour_of(q) in lasting] for place in places}
    for place in places[1:]:
        assert set(questions(place)) & set(rankings) == set(rows[place])
    heard = answers("evaluation", cut_too=True)
    assert told("evaluation", "text") == {q: heard.get(q, "") for q in rows["evaluation"]}
    silent = expected_failures("evaluation", cut_fails=False)
    assert told("evaluation", "failure") == {q: silent.get(q, "") for q in rows["evaluation"]}
    unchosen = expected_failures("criteria", cut_fails=True)
    assert told("criteria", "failure") == {q: unchosen.get(q, "unreadable") for q in rows["criteria"]}
    assert told("verdict", "failure") == {q: unread(q) for q in rows["verdict"]}
    for question, row in rankings.items():
        for comparison in row["comparisons"]:
            assert comparison["chosen"] == (not question.startswith("criteria"))
            is_lost = question.startswith("verdict") and unread(question) != ""
            assert (comparison["score"] is None) == is_lost, question
    lost = Counter(unread(question) for question in samples.keys() - rankings.keys())
    assert run.manifest("i1-judge").failures == lost
    assert_no_thought_travels(server, [*samples.values(), *judged])
