"""Members that do not do their part end a stage, by name, with what they said and what to do."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from moaa.api import MoAA
from moaa.api.status import MoAAStatus
from moaa.cli.outcome import outcome_text
from moaa.local.executor import Finished, Settings
from moaa.plan.result import StageResult
from moaa.report.html import render
from moaa.report.summary import summarise
from moaa.run.collect import collect
from moaa.run.records import run_id
from moaa.store.objects.directory import DirectoryStore
from moaa_jobs.runner.context import Permanent
from moaa_jobs.runner.members import Members, Part, judges
from moaa_operator.tell.events import between as events_between
from moaa_operator.tell.results import results_of, stage_status
from tests.fakes.model_server import Answered, Behaviour, Body, Exchange, completion, error, play
from tests.unit.jobs.test_jobs_chain import PROMPTS, between, resource, run_stage

BEGUN = ["i0-resolve", "i0-stage-data"]
TO_SAMPLES = [*BEGUN, "i1-sample"]
HALF = {"maxFraction": "0", "maxMemberFraction": "0.5"}


def plays(reply: Exchange) -> Behaviour:
    return Behaviour("plays", (reply,), Answered(""))


def student(body: Body) -> Exchange:
    return completion(f"student's {body['seed']}")


def judged(folder: Path, url: str, **changes: Any) -> MoAA:
    """40 prompts of 2 samples for one judge on its own: 80 verdicts, asked one prompt after the other."""
    made = resource(
        folder,
        url,
        judge={"method": "Single", "aggregator": {"model": "eva"}, "criteria": 0},
        mixture=None,
        data={"preference": [{"source": f"file://{folder}/prompts.jsonl"}], "decontaminationNgram": 0},
        training={"dpo": {"samples": 2}},
        evaluation={},
        failures=HALF,
        **changes,
    )
    rows = [{"id": f"q{i}", "messages": [{"role": "user", "content": f"{i}+{i}"}]} for i in range(40)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


async def run(owner: MoAA, folder: Path, url: str, *stages: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of the last stage."""
    results: dict[str, StageResult] = {}
    tables: dict[str, list[dict[str, Any]]] = {}
    for stage in stages:
        tables = await run_stage(owner, folder, stage, results, {"student": url})
    return tables


async def test_a_judge_that_nobody_can_read_ends_the_stage_early_with_its_words(tmp_path: Path) -> None:
    def world(body: Body) -> Behaviour:
        if body["model"] == "eva":
            return plays(completion("Both are fine answers. I like how they are written, and I thank you."))
        return plays(student(body))

    async with play(world) as server:
        owner = judged(tmp_path, server.url)
        told = (
            r"i1-judge: model 'eva' failed \d+ of \d+ times as verdict \(unreadable: \d+\), more than "
            r"spec.failures.maxMemberFraction 0.5 allows. The first unreadable: its reply ends '.*and I thank you.'. "
            r"Name a judge that gives its verdict in the form it is asked for, or raise maxMemberFraction"
        )
        with pytest.raises(Permanent, match=told):
            await run(owner, tmp_path, server.url, *TO_SAMPLES, "i1-judge")
        asked = sum(body["model"] == "eva" for body in server.requests)
        assert 20 <= asked < 160 / 2, "80 verdicts, each asked for twice, are what the stage would have paid for"
        tolerant = owner.with_(spec=owner.spec.with_(failures={"maxMemberFraction": "1"}))
        tables = await run(tolerant, tmp_path, server.url, *TO_SAMPLES, "i1-judge")
    assert {row["outcome"] for row in tables["rankings"]} == {"too-few-verdicts"}


async def test_a_judge_that_the_server_refuses_is_told_in_the_servers_words(tmp_path: Path) -> None:
    def world(body: Body) -> Behaviour:
        if body["model"] == "eva":
            return plays(error(403, "flagged by moderation"))
        return plays(student(body))

    async with play(world) as server:
        owner = judged(tmp_path, server.url)
        with pytest.raises(Permanent, match=r"'eva' failed .* as verdict \(refused: \d+\).*flagged by moderation"):
            await run(owner, tmp_path, server.url, *TO_SAMPLES, "i1-judge")


async def test_a_judge_that_is_always_cut_is_told_to_have_more_tokens(tmp_path: Path) -> None:
    def world(body: Body) -> Behaviour:
        return plays(completion("Let me th", finish="length")) if body["model"] == "eva" else plays(student(body))

    async with play(world) as server:
        owner = judged(tmp_path, server.url)
        with pytest.raises(Permanent, match=r"\(cut-answer: \d+\).*reply ends 'Let me th'. Raise its maxTokens"):
            await run(owner, tmp_path, server.url, *TO_SAMPLES, "i1-judge")


async def test_a_proposer_that_always_fails_ends_the_stage_though_every_row_can_do_without(tmp_path: Path) -> None:
    def world(body: Body) -> Behaviour:
        if body["model"] == "left":
            return plays(error(403, "flagged by moderation"))
        return plays(completion("fine"))

    async with play(world) as server:
        owner = resource(
            tmp_path,
            server.url,
            data={"sft": [{"source": f"file://{tmp_path}/prompts.jsonl"}], "decontaminationNgram": 0},
            training={"sft": {}},
            evaluation={},
            judge=None,
            failures=HALF,
        )
        told = r"model 'left' failed 8 of 8 times as proposer \(refused: 8\).*flagged by moderation.*spec.mixture"
        with pytest.raises(Permanent, match=told):
            await run(owner, tmp_path, server.url, *BEGUN, "i1-generate")
        tolerant = owner.with_(spec=owner.spec.with_(failures={"maxMemberFraction": "1"}))
        tables = await run(tolerant, tmp_path, server.url, *BEGUN, "i1-generate")
    absent = [{"path": "turn0/layer0/p0/s0", "model": "left", "reason": "refused"}]
    assert [row["absent"] for row in tables["conversations"]] == [absent] * 8


def pseudo_random(body: Body) -> int:
    return int(sha256(question(body).encode()).hexdigest(), 16)


def question(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def always_a(_body: Body) -> str:
    return "[[A]]"


def coin(body: Body) -> str:
    return "[[A]]" if pseudo_random(body) % 2 else "[[B]]"


def longer(body: Body) -> str:
    first, second = (between(question(body), f"answer_{x}") for x in "ab")
    return "[[A]]" if len(first) > len(second) else "[[B]]"


def unreadable_half_the_time(body: Body) -> str:
    """What the answers end in decides, where anything is said of them."""
    first, second = (between(question(body), f"answer_{x}") for x in "ab")
    said = "[[A]]" if first[::-1] > second[::-1] else "[[B]]"
    return said if pseudo_random(body) % 2 else "Hm."


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        pytest.param(always_a, "judge 'eva' prefers whichever answer stands first: 120 of 120", id="always A"),
        pytest.param(coin, "judge 'eva' is no better than chance: its verdict held in both orders in", id="random"),
        pytest.param(longer, "judge 'eva' prefers the longer answer:", id="always longer"),
        pytest.param(unreadable_half_the_time, "model 'eva' failed", id="fails half the time"),
    ],
)
async def test_null_judges_are_named_by_manifest_status_outcome_and_report(
    judge: Callable[[Body], str], says: str, tmp_path: Path
) -> None:
    def world(body: Body) -> Behaviour:
        if body["model"] == "eva":
            return plays(completion(judge(body)))
        return plays(completion("x" * (body["seed"] % 40 + 1) + str(body["seed"])))

    async with play(world) as server:
        owner = judged(tmp_path, server.url, prompts=PROMPTS)
        owner = owner.with_(
            spec=owner.spec.with_(failures={"maxMemberFraction": "1"}, training={"dpo": {"samples": 3}})
        )
        results: dict[str, StageResult] = {}
        for stage in (*TO_SAMPLES, "i1-judge"):
            await run_stage(owner, tmp_path, stage, results, {"student": server.url})
    result = results["i1-judge"]
    [warning] = result.warnings
    assert warning.startswith(says)
    entry = stage_status(result)
    assert results_of(MoAAStatus(stages=[entry])) == {"i1-judge": result}
    done, warned = events_between(MoAAStatus(), MoAAStatus(stages=[entry]))
    assert (done.type, warned.type, warned.message) == ("Normal", "Warning", f"i1-judge: {warning}")
    store = DirectoryStore(tmp_path / "store")
    view = await collect(owner, store, run_id(owner))
    summary = summarise(view)
    assert {stage.id: stage.warnings for stage in summary.stages if stage.warnings} == {"i1-judge": [warning]}
    [section] = re.findall(r'<section id="judging">.*?</section>', render(view, summary), re.DOTALL)
    assert warning in unescape(section)
    console = Console(width=250, record=True, file=StringIO())
    settings = Settings(folder=tmp_path, cache=tmp_path, capacity=lambda: pytest.fail("nothing is run"))
    console.print(await outcome_text(owner, store, Finished(results, made=("i1-judge",)), settings))
    assert f"warning: i1-judge: {warning}" in console.export_text()


@pytest.mark.parametrize(
    ("failed", "done", "allowed", "early", "late"),
    [
        pytest.param(7, 0, "0.5", False, False, id="too few to tell"),
        pytest.param(8, 0, "0.5", False, True, id="eight of eight"),
        pytest.param(10, 0, "0.5", True, True, id="ten of ten are no chance"),
        pytest.param(8, 8, "0.5", False, False, id="half is allowed"),
        pytest.param(9, 8, "0.5", False, True, id="more than half, as chance may have it"),
        pytest.param(80, 40, "0.5", True, True, id="far more than half"),
        pytest.param(9, 3, "0.7", False, True, id="a judge that fails half the time may begin so"),
        pytest.param(8, 900, "0", True, True, id="none is allowed"),
        pytest.param(0, 100, "0.5", False, False, id="all well"),
        pytest.param(100, 0, "1", False, False, id="all may fail"),
    ],
)
def test_a_member_ends_the_stage_early_where_it_is_no_chance_and_fails_it_in_the_end(
    failed: int, done: int, allowed: str, early: bool, late: bool
) -> None:
    members = Members()
    members.add([Part("m", "verdict")] * done + [Part("m", "verdict", "unreadable", "what?")] * failed, silent)
    members.add([Part("m", "evaluation")] * 1000, silent)  # another role's tries do not count
    assert (members.surely_over(Decimal(allowed)) is not None) is early
    assert (members.over(Decimal(allowed), silent) is not None) is late


def test_in_the_end_the_words_come_from_the_stages_usage() -> None:
    members = Members()
    members.add([Part("m", "proposer", "refused")] * 8, silent)
    said = members.over(Decimal("0.5"), lambda model, reason: f"HTTP 403: {model} {reason}")
    assert said is not None
    assert "allows. The first refused: HTTP 403: m refused. Mend its endpoint" in said


def test_a_verdict_that_was_not_asked_for_is_nobodys_failure() -> None:
    rows: list[dict[str, Any]] = [
        {"judge": "j", "role": "evaluation", "failure": "refused", "text": ""},
        {"judge": "meta", "role": "verdict", "failure": "too-few-evaluations", "text": ""},
        {"judge": "meta", "role": "verdict", "failure": "", "text": "[[A]]"},
    ]
    assert list(judges(rows)) == [Part("j", "evaluation", "refused"), Part("meta", "verdict")]


def silent(_model: str, _reason: str) -> str:
    return ""


def test_the_words_that_are_told_belong_to_the_reason_that_is_told_first() -> None:
    members = Members()
    members.add(
        [
            Part("m", "verdict", "cut-answer", "I would say [[A]]"),
            *[Part("m", "verdict", "unreadable", "Both are fine.")] * 7,
            Part("m", "verdict", "unreadable", "Hm."),
        ],
        silent,
    )
    said = members.over(Decimal("0.5"), silent)
    assert said is not None
    assert "(unreadable: 8, cut-answer: 1)" in said
    assert "The first unreadable: its reply ends 'Both are fine.'. Name a judge that gives its verdict" in said
