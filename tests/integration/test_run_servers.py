"""Servers that cut, refuse or want other requests: what `moaa run` says, and how it goes on once they are mended."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from moaa.client.pool.policy import Policy
from tests.fakes.behaviours import BEHAVIOURS
from tests.fakes.model_server import Answered, Behaviour, Body, Ended, completion, error, play
from tests.integration.whole_run import ONE_AT_A_TIME, WholeRun, plays, prompt, pseudo_random, repeated, says

pytestmark = pytest.mark.timeout(600)


def taught(run: WholeRun, rows: int, **changes: Any) -> dict[str, Any]:
    questions = [f"question {number}" for number in range(rows)]
    return {
        "data": {"sft": [{"source": run.rows("sft.jsonl", questions)}], "decontaminationNgram": 0},
        "training": {"sft": {"precision": "FP32"}},
        "mixture": {
            "layers": [{"proposers": [{"model": "left"}, {"model": "right"}]}],
            "aggregator": {"model": "agg", **changes},
        },
        "failures": {"retries": 0},
    }


async def test_an_endpoint_that_cuts_every_answer_is_named_and_may_be_used_all_the_same(tmp_path: Path) -> None:
    def world(body: Body) -> Behaviour:
        return plays(completion("The ans", finish="length")) if body["model"] == "agg" else says("fine")

    async with play(world) as server:
        run = WholeRun(tmp_path, server.url, ["left", "right", "agg"])
        run.changes = taught(run, 12)
        ended = await run.run("--until", "i1-generate")
        assert ended.code == 1
        told = re.search(r"moaa: i1-generate: (\d+) of 12 rows failed \(cut-answer: (\d+)\)(.*)", ended.said)
        assert told is not None, ended.said
        assert int(told[1]) == int(told[2]) >= 8
        assert "row question " in told[3]
        assert (
            "model 'agg': the answer ended at its limit of tokens (3; maxTokens 2048); raise maxTokens, or " in told[3]
        )
        assert "accept such answers with whenCut: Use" in told[3]
        summary, page = await run.report()
        assert "accept such answers with whenCut: Use" in summary["stages"][2]["problem"]
        assert "accept such answers with whenCut: Use" in page
        run.changes = taught(run, 12, whenCut="Use")
        ended = await run.run("--until", "i1-generate")
        assert ended.code == 0, ended.said
        # What was under way when the first run ended was never recorded; all else was asked once.
        again = [count for count in server.count("left", "right", "agg").values() if count > 1]
        assert len(again) <= 3 * (12 - int(told[1])), "three calls a row that was still to come"
        assert set(again) <= {2}
    warning = "model 'agg' ended 12 of 12 answers at their limit of tokens (aggregator: 12); raise maxTokens there"
    assert run.manifest("i1-generate").warnings == [warning]
    assert f"warning: i1-generate: {warning}" in ended.said
    summary, page = await run.report()
    assert summary["stages"][2]["warnings"] == [warning]
    assert warning in page


async def test_a_mended_account_goes_on_and_pays_for_nothing_again(tmp_path: Path) -> None:
    is_paid, refused = False, 0

    def world(body: Body) -> Behaviour:
        nonlocal refused
        if body["model"] == "agg" and not is_paid and pseudo_random(body) % 2:
            refused += 1
            return plays(error(402, "Your credit balance is too low to access the API"))
        return says(f"{body['model']} is fine")

    async with play(world) as server:
        models = ["left", "right", "agg"]
        run = WholeRun(tmp_path, server.url, models, endpoints=dict.fromkeys(models, ONE_AT_A_TIME))
        run.changes = taught(run, 30)
        ended = await run.run("--until", "i1-generate")
        assert ended.code == 1
        assert (
            "moaa: i1-generate: model 'agg': the server refuses our key or account (HTTP 402: Your credit balance is "
            "too low to access the API); mend its secret or the account and run again: it goes on from here"
        ) in ended.said, ended.said
        summary, page = await run.report()
        assert "credit balance is too low" in summary["stages"][2]["problem"]
        assert "credit balance is too low" in page
        is_paid = True
        ended = await run.run("--until", "i1-generate")
        assert ended.code == 0, ended.said
    assert {name: len(server.count(name)) for name in models} == dict.fromkeys(models, 30)
    assert repeated(server, "left") <= 1
    assert repeated(server, "right") <= 1
    assert 1 <= refused <= repeated(server, "agg") <= refused + 1
    manifest = run.manifest("i1-generate")
    assert (manifest.rows_in, manifest.failures, manifest.warnings) == (30, {}, [])
    assert manifest.usage["agg"].failures == {}


def refusing(body: Body) -> Behaviour:
    """Servers that know some parameters only; each says so as its vendor does, whatever it is asked."""
    known = {"model", "messages", "seed", "temperature", "max_tokens", "top_p"}
    match body["model"]:
        case "left":
            known = {"model", "messages", "max_completion_tokens", "seed"}
            words = "Unsupported parameter: {} is not supported with this model."
        case "right":
            known -= {"seed"}
            words = "Unrecognized request argument supplied: {}"
        case _:
            words = "{}: Extra inputs are not permitted"
    unknown = sorted(body.keys() - known)
    if unknown:
        return Behaviour("refuses", (error(400, words.format(unknown[0])),), Answered(""), refuses_all=True)
    return says("fine")


async def test_servers_with_rules_of_their_own_are_asked_as_they_want_it(tmp_path: Path) -> None:
    async with play(refusing) as server:
        origin = server.url.removesuffix("/v1")
        right = {"url": f"{origin}/right/v1", "omit": ["seed"], "headers": [{"name": "X-Title", "value": "a run"}]}
        azure = {
            "url": f"{origin}/openai/deployments/gpt?api-version=2024-10-21",
            "headers": [{"name": "api-key", "secret": {"name": "azure", "key": "key"}}],
        }
        run = WholeRun(tmp_path, server.url, ["left", "right", "agg"], endpoints={"right": right, "agg": azure})
        run.changes = taught(run, 4)
        ended = await run.run("--until", "i1-generate")
        assert ended.code == 1
        assert (
            "spec.models agg: endpoint.headers[0].secret is declared but MOAA_SECRET_AZURE_KEY is not set" in ended.said
        )
        assert server.requests == []
        key = {"MOAA_SECRET_AZURE_KEY": "sesame-open"}
        ended = await run.run("--until", "i1-generate", **key)
        assert ended.code == 1
        assert re.search(
            "model 'left': .*/v1 refuses every request at temperature 0.7 and top-p 1, even one that says only 'Hi' "
            r"\(HTTP 400: Unsupported parameter: max_tokens is not supported with this model.\); mend what they have "
            "in common: .*omit, names and headers",
            ended.said,
        )
        left = {"url": f"{origin}/left/v1", "names": {"maxTokens": "max_completion_tokens"}, "omit": ["temperature"]}
        run.endpoints = {"left": left, "right": right, "agg": azure}
        ended = await run.run("--until", "i1-generate", **key)
        assert ended.code == 0, ended.said
    told = dict(zip(server.paths, server.headers, strict=True))
    assert told["/openai/deployments/gpt/chat/completions?api-version=2024-10-21"]["api-key"] == "sesame-open"
    assert told["/right/v1/chat/completions"]["X-Title"] == "a run"
    assert "api-key" not in told["/right/v1/chat/completions"]
    manifest = run.manifest("i1-generate")
    assert (manifest.rows_in, manifest.failures, manifest.warnings) == (4, {}, [])
    assert all(not usage.failures for usage in manifest.usage.values())
    assert "sesame" not in ended.said + run.log("i1-generate")


async def test_what_ends_a_job_is_told_each_time_and_nothing_is_paid_for_twice(tmp_path: Path) -> None:
    ended = [behaviour for behaviour in BEHAVIOURS if isinstance(behaviour.outcome, Ended)]
    turns = [behaviour for behaviour in ended for _ in range(Policy().tries if behaviour.asked > 1 else 1)]
    current = turns[0]

    def world(body: Body) -> Behaviour:
        """One attempt meets one of them, when it asks for its only row."""
        nonlocal current
        if body["model"] != "agg" or (prompt(body) != "Hi" and not turns):
            return says("fine")
        if prompt(body) != "Hi":
            current = turns.pop(0)
        return current

    async with play(world) as server:
        run = WholeRun(tmp_path, server.url, ["left", "right", "agg"])
        run.changes = {
            "data": {"sft": [{"source": run.rows("sft.jsonl", ["the row"])}], "decontaminationNgram": 0},
            "training": {"sft": {"precision": "FP32"}},
            "mixture": {
                "layers": [{"proposers": [{"model": "left"}, {"model": "right"}]}],
                "aggregator": {"model": "agg"},
            },
            "failures": {"retries": len(ended)},
        }
        done = await run.run("--until", "i1-generate", "--json")
    assert done.code == 0, done.said
    told = [event["error"] for event in done.events if event["event"] == "stage_attempt_failed"]
    assert len(told) == len(ended)
    for behaviour, words in zip(ended, told, strict=True):
        assert behaviour.outcome.words in words, behaviour.name  # type: ignore[union-attr]
        assert words.startswith("model 'agg': "), behaviour.name
    assert turns == []
    assert Counter(body["model"] for body in server.requests if body["model"] != "agg") == {"left": 1, "right": 1}
    [row] = await run.table("i1-generate", "conversations")
    assert row["messages"][-1]["content"] == "fine"
    manifest = run.manifest("i1-generate")
    assert (manifest.failures, manifest.warnings) == ({}, [])
    assert manifest.usage["agg"].failures == {}
