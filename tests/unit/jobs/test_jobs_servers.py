"""Stages through their real jobs against other people's servers: what is taught, what is not, and what is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from zstandard import ZstdDecompressor

from moaa.api import MoAA
from moaa.asking.cut import ENDED_MARK
from moaa.errors import ServerError
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import StageResult
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import read_manifest
from moaa_jobs.runner.context import Permanent
from tests.fakes.model_server import Answered, Behaviour, Body, Exchange, completion, error, play
from tests.unit.jobs.test_jobs_chain import resource, run_stage

BEGUN = ["i0-resolve", "i0-stage-data"]


def declared(folder: Path, url: str, *, max_fraction: str = "0.8", **changes: Any) -> MoAA:
    """Eight prompts ("0+0" to "7+7") for two proposers and an aggregator."""
    made = resource(
        folder,
        url,
        data={"sft": [{"source": f"file://{folder}/prompts.jsonl"}], "decontaminationNgram": 0},
        training={"sft": {}},
        evaluation={},
        judge=None,
        failures={"maxFraction": max_fraction},
        **changes,
    )
    return made


def plays(name: str, *replies: Exchange) -> Behaviour:
    return Behaviour(name, replies, Answered(""))


def question(body: Body) -> str:
    return str(body["messages"][-1]["content"])


async def generate(owner: MoAA, folder: Path) -> tuple[StageManifest, dict[str, dict[str, Any]]]:
    """The manifest and the rows by question."""
    results: dict[str, StageResult] = {}
    for stage in BEGUN:
        await run_stage(owner, folder, stage, results, {})
    tables = await run_stage(owner, folder, "i1-generate", results, {})
    identity = identify(build(owner).stages["i1-generate"], owner, results)
    assert identity is not None
    manifest = await read_manifest(DirectoryStore(folder / "store"), identity.path)
    assert manifest is not None
    return manifest, {row["messages"][0]["content"]: row for row in tables["conversations"]}


def odd_world(body: Body) -> Behaviour:
    """Each prompt meets another behaviour; all else is well."""
    match (body["model"], question(body)):
        case ("left", "0+0"):
            return plays("thinks", completion("<think>\nzero</think>\n\n0", finish="eos"))
        case ("left", "1+1"):
            return plays("is cut", completion("It is t", finish="length"))
        case ("left", "2+2"):
            return plays("moderates", error(403, "flagged by moderation"))
        case ("agg", "3+3"):
            return plays("is cut", completion("The answer is s", finish="MAX_TOKENS"))
        case ("agg", "4+4"):
            return plays("only thinks", completion(None, reasoning="eight", finish="length"))
        case ("agg", "5+5"):
            return plays("half a character", completion("ten \ud83d", usage=None))
        case ("agg", "6+6"):
            return plays("parts", completion([{"type": "text", "text": "12"}], finish=None))
        case (model, asked):
            return plays("fine", completion(f"{model} says {asked}"))
    raise AssertionError(body)


async def test_a_world_of_odd_servers_teaches_whole_answers_only_and_says_what_it_left_out(tmp_path: Path) -> None:
    async with play(odd_world) as server:
        manifest, rows = await generate(declared(tmp_path, server.url), tmp_path)
        sent = len(server.requests)
        again, _ = await generate(declared(tmp_path, server.url), tmp_path)
        assert len(server.requests) == sent
    assert again == manifest
    assert sorted(rows) == ["0+0", "1+1", "2+2", "6+6", "7+7"]
    assert manifest.failures == {"broken-text": 1, "cut-answer": 1, "empty-answer": 1}
    shown = {reason: text.partition(": ")[2] for reason, text in manifest.examples.items()}
    assert shown["broken-text"] == "model 'agg': character 5 of the answer is half of one (a surrogate)"
    assert shown["cut-answer"].startswith("model 'agg': the answer ended at its limit of tokens")
    assert shown["empty-answer"].startswith("model 'agg': the model thought (5 characters) and gave no answer")
    assert [p["text"] for p in rows["0+0"]["proposals"]] == ["0", "right says 0+0"]
    assert rows["1+1"]["proposals"][0]["text"] == f"It is t{ENDED_MARK}"
    assert [p["model"] for p in rows["2+2"]["proposals"]] == ["right"]
    assert rows["6+6"]["messages"][-1]["content"] == "12"
    assert "zero" not in json.dumps(list(rows.values()))
    left, aggregator = manifest.usage["left"], manifest.usage["agg"]
    assert (left.thoughts, left.cut, left.failures) == (1, {"proposer": 1}, {"refused": 1})
    assert "flagged by moderation" in left.examples["refused"]
    assert aggregator.cut == {"aggregator": 1}
    assert aggregator.uncounted == 1
    assert aggregator.completion_tokens == 3 * 7


async def test_a_key_that_is_mended_lets_the_run_go_on(tmp_path: Path) -> None:
    paid = False

    def account(body: Body) -> Behaviour:
        if body["model"] == "agg" and not paid:
            return plays("unpaid", error(400, "Your credit balance is too low to access the API."))
        return plays("fine", completion(f"{body['model']} says {question(body)}"))

    async with play(account) as server:
        owner = declared(tmp_path, server.url)
        with pytest.raises(ServerError, match=r"'agg'.*credit balance is too low.*run again"):
            await generate(owner, tmp_path)
        proposals = sum(body["model"] != "agg" for body in server.requests)
        paid = True
        manifest, rows = await generate(owner, tmp_path)
        assert sum(body["model"] != "agg" for body in server.requests) == 16 >= proposals
    assert len(rows) == 8
    assert manifest.failures == {}
    assert manifest.examples == {}
    assert manifest.usage["agg"].failures == {}


async def test_an_endpoint_that_refuses_a_parameter_ends_the_job_and_taking_it_out_mends_it(tmp_path: Path) -> None:
    def particular(body: Body) -> Behaviour:
        if "seed" in body and body["model"] == "right":
            return Behaviour("no seeds", (error(400, "Unrecognized argument: seed"),), Answered(""), refuses_all=True)
        return plays("fine", completion(f"{body['model']} says {question(body)}"))

    async with play(particular) as server:
        owner = declared(tmp_path, server.url)
        with pytest.raises(ServerError, match=r"'right'.*refuses every request.*Unrecognized argument: seed.*omit"):
            await generate(owner, tmp_path)
        models = [
            m.with_(endpoint=m.endpoint.with_(omit=["seed"])) if m.name == "right" else m
            for m in owner.spec.models
            if m.endpoint
        ]
        mended = owner.with_(spec=owner.spec.with_(models=[*models, owner.spec.model("student")]))
        manifest, rows = await generate(mended, tmp_path)
    assert len(rows) == 8
    assert manifest.failures == {}
    assert all(row["missing"] == 0 for row in rows.values())


async def test_an_endpoint_that_cuts_every_answer_is_named_by_the_stages_error(tmp_path: Path) -> None:
    def cutter(body: Body) -> Behaviour:
        if body["model"] == "agg":
            return plays("cuts", completion("The ans", finish="length"))
        return plays("fine", completion("fine"))

    async with play(cutter) as server:
        owner = declared(tmp_path, server.url, max_fraction="0.1")
        with pytest.raises(Permanent, match=r"rows failed \(cut-answer: \d\).*row q\d: model 'agg': the answer ended"):
            await generate(owner, tmp_path)
        tolerant = owner.with_(spec=owner.spec.with_(failures={"maxFraction": "1"}))
        manifest, rows = await generate(tolerant, tmp_path)
        assert (manifest.failures, rows) == ({"cut-answer": 8}, {})
        told = "model 'agg' ended 8 of 8 answers at their limit of tokens (aggregator: 8); raise maxTokens there"
        assert manifest.warnings == manifest.result().warnings == [told]
        sent = len(server.requests)
        # What is paid for is in the ledger: a policy that takes such answers asks nobody again.
        aggregator = owner.spec.mixture.aggregator.with_(when_cut="Use")  # type: ignore[union-attr]
        lenient = owner.with_(spec=owner.spec.with_(mixture=owner.spec.mixture.with_(aggregator=aggregator)))  # type: ignore[union-attr]
        manifest, rows = await generate(lenient, tmp_path)
        assert len(server.requests) == sent
    assert {row["messages"][-1]["content"] for row in rows.values()} == {"The ans"}
    assert manifest.usage["agg"].cut == {"aggregator": 8}


async def test_the_headers_of_an_endpoint_come_from_the_environment_and_are_told_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def private(body: Body) -> Behaviour:
        if body["model"] == "right" and question(body) == "3+3":
            return plays("echoes the key", error(400, "odd prompt, key was sesame-open"))
        return plays("fine", completion(f"{body['model']} says {question(body)}"))

    headers = [{"name": "api-key", "secret": {"name": "azure", "key": "key"}}, {"name": "X-Title", "value": "a run"}]
    async with play(private) as server:
        plain = declared(tmp_path, server.url)
        models = [
            model.with_(endpoint=model.endpoint.with_(headers=headers)) if model.name == "right" else model
            for model in plain.spec.models
            if model.endpoint
        ]
        owner = plain.with_(spec=plain.spec.with_(models=[*models, plain.spec.model("student")]))
        variable = r"endpoint.headers\[0\].secret.*MOAA_SECRET_AZURE_KEY"
        with pytest.raises(ServerError, match=f"{variable} is not set"):
            await generate(owner, tmp_path)
        monkeypatch.setenv("MOAA_SECRET_AZURE_KEY", "sesame-open\n")
        with pytest.raises(ServerError, match=f"{variable} holds a line break") as caught:
            await generate(owner, tmp_path)
        assert "sesame" not in str(caught.value)
        assert server.requests == []
        monkeypatch.setenv("MOAA_SECRET_AZURE_KEY", "sesame-open")
        manifest, _ = await generate(owner, tmp_path)
    told = {(h.get("api-key"), h.get("X-Title")) for h in server.headers}
    assert told == {(None, None), ("sesame-open", "a run")}
    assert manifest.usage["right"].examples == {"bad-request": "model 'right': HTTP 400: odd prompt, key was ***"}
    files = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    stored = [file.read_bytes() for file in files if file.suffix != ".zst"]
    stored += [ZstdDecompressor().decompress(file.read_bytes()) for file in files if file.suffix == ".zst"]
    assert any(b"key was ***" in body for body in stored)
    assert not any(b"sesame" in body for body in stored)
    assert "sesame" not in caplog.text


async def test_what_a_student_thinks_is_neither_sampled_nor_measured(tmp_path: Path) -> None:
    def thinker(body: Body) -> Behaviour:
        match (body["model"], question(body)):
            case ("student" | "@i1-sft", "0*2"):
                return plays("thinks aloud", completion("<think>0*2?</think>student(0*2)"))
            case ("student" | "@i1-sft", "1*2"):
                return plays("is cut in the thought", completion("<think>let me", finish="length"))
            case (model, asked):
                return plays("fine", completion(f"{model}({asked})"))
        raise AssertionError(body)

    async with play(thinker) as server:
        owner = resource(
            tmp_path,
            server.url,
            failures={"maxFraction": "0.5"},
            evaluation={
                "members": False,
                "selection": [{"name": "exact", "type": "ExactMatch", "source": f"file://{tmp_path}/held.jsonl"}],
            },
        )
        results: dict[str, StageResult] = {}
        for stage in BEGUN:
            await run_stage(owner, tmp_path, stage, results, {})
        tables = await run_stage(owner, tmp_path, "i0-evaluate", results, {"student": server.url})
    scores = {row["id"]: row["score"] for row in tables["scores"]}
    assert scores == {"h0": 1.0, "h2": 1.0}  # h1 is a counted failure, not a wrong answer
    assert "think" not in str(tables["answers"])
