"""Benchmarks LmEval and Instructions in a whole run, beside the program lm_eval itself on the same server."""

import asyncio
import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from moaa.data.further.rules import rules_in
from moaa.errors import CallError, StageError
from moaa.local.processes import guard
from moaa_jobs.harness import sandbox
from moaa_jobs.harness.child import Harness, harness
from moaa_jobs.harness.messages import LookAtRules
from tests.fakes.model_server import Behaviour, Body, ModelServer, play
from tests.integration.whole_run import ROOT, WholeRun, prompt, says

pytestmark = pytest.mark.timeout(600)

SUMS = r"""
task: sums
dataset_path: json
test_split: test
fewshot_split: train
output_type: generate_until
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: !function reading.target
num_fewshot: 2
generation_kwargs: {until: ["Question:"], max_gen_toks: 64}
process_results: !function reading.read
metric_list:
  - {metric: right, aggregation: mean, higher_is_better: true}
  - {metric: short, aggregation: mean, higher_is_better: true}
  - {metric: words, aggregation: mean, higher_is_better: false}
metadata: {version: 1.5}
"""
READING = """
def target(doc):
    return doc["answer"].split("####")[-1].strip()

def read(doc, results):
    words = results[0].split()
    return {"right": int(target(doc) in words), "short": float(len(words) < 5), "words": len(words)}
"""
QUESTIONS = 24


def written(folder: Path) -> None:
    """A folder of rows by split, and one of task files."""
    for name, rows in {"train": range(30, 36), "test": range(QUESTIONS)}.items():
        lines = [{"question": f"How much is {n} + {n + 1}?", "answer": f"Add.\n#### {2 * n + 1}"} for n in rows]
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "tasks").mkdir()
    (folder / "tasks" / "sums.yaml").write_text(SUMS)
    bare = SUMS.replace("task: sums", "task: bare").replace("num_fewshot: 2", "num_fewshot: 0")
    (folder / "tasks" / "bare.yaml").write_text(bare)
    (folder / "tasks" / "reading.py").write_text(READING)


def answers(body: Body) -> Behaviour:
    """Right two times in three, and goes on with a question of its own unless the request says where to end."""
    found = re.search(r"(\d+) \+ (\d+)\?", prompt(body))
    if found is None:  # whether it answers at all
        return says("Hello")
    n = int(found[1])
    text = f"{'Together that makes exactly ' if n % 2 else ''}{2 * n + 1 + (n % 3 == 0)} Question: How much is 1 + 1?"
    for stop in body.get("stop") or ():
        text = text.split(stop)[0]
    return says(text)


def questions(server: ModelServer) -> list[str]:
    """What was asked since the last look, without the questions whether a server answers at all."""
    found = [str(body["messages"]) for body in server.requests if body["messages"][-1]["content"] != "Hello"]
    server.requests.clear()
    return sorted(found)


def evaluated(run: WholeRun, *benchmarks: dict[str, Any]) -> dict[str, Any]:
    given = {"source": run.rows("train.jsonl", ["Hello?"], given="Hello."), "answers": "Given"}
    return {
        "data": {"sft": [given], "decontaminationNgram": 0},
        "training": {"sft": {"precision": "FP32"}},
        "failures": {"maxFraction": "0", "retries": 0},
        "evaluation": {"members": False, "report": list(benchmarks)},
    }


async def lm_eval(folder: Path, server: ModelServer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the program itself finds: its results, and its samples."""
    own = folder / "own"
    own.mkdir()
    files = {name: str(folder / "data" / f"{name}.jsonl") for name in ("train", "test")}
    (own / "sums.yaml").write_text(f"{SUMS}dataset_kwargs: {json.dumps({'data_files': files})}\n")
    (own / "reading.py").write_text(READING)
    model = f"model=student,base_url={server.url}/chat/completions,num_concurrent=1,max_retries=1"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions", "--model_args"),
        *(f"{model},tokenized_requests=False", "--apply_chat_template", "--tasks", "sums", "--include_path", str(own)),
        *("--log_samples", "--output_path", str(folder / "out")),
        env={**os.environ, "OPENAI_API_KEY": "x", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-2000:]
    [results] = (folder / "out").rglob("results_*.json")
    [samples] = (folder / "out").rglob("samples_*.jsonl")
    return json.loads(results.read_text()), [json.loads(line) for line in samples.read_text().splitlines()]


async def test_a_task_gives_the_scores_that_lm_eval_itself_gives(tmp_path: Path) -> None:
    written(tmp_path)
    async with play(answers) as server:
        results, samples = await lm_eval(tmp_path, server)
        asked = questions(server)
        assert len(asked) == QUESTIONS
        run = WholeRun(tmp_path, server.url, [])
        sums = {
            "name": "sums",
            "type": "LmEval",
            "tasks": ["sums"],
            "source": f"file://{tmp_path}/data/",
            "split": "test",
        }
        sums |= {"fewshotSplit": "train", "include": f"file://{tmp_path}/tasks/"}
        run.changes = evaluated(run, sums)
        ended = await run.run("--until", "i0-evaluate")
        assert ended.code == 0, ended.said
        assert questions(server) == asked
        scores = await run.table("i0-evaluate", "scores")
        assert {row["id"]: row["score"] for row in scores} == {f"sums/{s['doc_id']}": s["right"] for s in samples}
        summary, page = await run.report()
        [score] = summary["scores"]
        own = results["results"]["sums"]
        assert score["value"] == pytest.approx(own["right,none"], abs=1e-6)
        figures = {figure["name"]: figure for figure in score["figures"]}
        assert set(figures) == {"sums right,none", "sums short,none"}  # fewer words are better: no score
        for metric in ("right", "short"):
            assert figures[f"sums {metric},none"]["value"] == pytest.approx(own[f"{metric},none"], abs=1e-6)
        assert figures["sums right,none"]["isHeadline"]
        assert (
            figures["sums right,none"]["note"]
            == f"task version 1.5 of lm-eval {version('lm_eval')}, over {QUESTIONS} documents"
        )
        assert "sums right,none" in page
        # Another metric is read from the answers that are there.
        run.changes = evaluated(run, sums | {"metric": "short"})
        ended = await run.run("--until", "i0-evaluate")
        assert ended.code == 0, ended.said
        assert questions(server) == []
        assert 0 < sum(row["score"] for row in await run.table("i0-evaluate", "scores")) < QUESTIONS


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "log-likelihoods": (
        {"tasks": ["gpqa_main_zeroshot"]},
        "task 'gpqa_main_zeroshot': it compares log-likelihoods (multiple_choice), which no chat endpoint gives; name "
        "gpqa_main_cot_zeroshot in its place",
    ),
    "code": (
        {"tasks": ["humaneval"]},
        "task 'humaneval': it runs code that models wrote; allow it with runCode: true (without network and secrets)",
    ),
    "no such task": ({"tasks": ["sum"], "include": "tasks"}, "task 'sum': there is none of that name"),
    "no examples": (
        {"tasks": ["sums"], "include": "tasks"},
        "task 'sums': it takes 2 examples from split 'train'; name that split of the source in fewshotSplit, or set "
        "numFewshot: 0",
    ),
    "examples that the task does not take": (
        {"tasks": ["bare"], "include": "tasks", "numFewshot": 2},
        "task 'bare': its file says that it takes no examples; remove numFewshot",
    ),
    "no score": (
        {"tasks": ["sums"], "include": "tasks", "numFewshot": 0, "metric": "words"},
        "task 'sums': its metric words is no mean of one number a document in which more is better; name one in "
        "metric: right,none, short,none",
    ),
}


async def test_what_cannot_be_measured_is_refused_before_any_call(tmp_path: Path) -> None:
    written(tmp_path)
    async with play(answers) as server:
        run = WholeRun(tmp_path, server.url, [])
        for fields, words in REFUSED.values():
            include = {"include": f"file://{tmp_path}/{fields['include']}/"} if "include" in fields else {}
            source = {"source": f"file://{tmp_path}/data/", "split": "test"}
            one = {"name": "x", "type": "LmEval", **source, **fields, **include}
            run.changes = evaluated(run, one)
            ended = await run.run("--until", "i0-evaluate")
            assert ended.code == 1
            assert f"spec.evaluation, benchmark x: {words}" in ended.said
        assert questions(server) == []


RULES: list[tuple[str, dict[str, Any]]] = [
    ("Say hello without commas.", {"punctuation:no_comma": {}}),
    ("Say hello in lowercase without commas.", {"change_case:english_lowercase": {}, "punctuation:no_comma": {}}),
    ("Say hello in less than 3 words.", {"length_constraints:number_words": {"num_words": 3, "relation": "less than"}}),
]


def ruled(folder: Path, rows: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    lines = [
        {"id": text, "prompt": text, "instruction_id_list": list(rules), "kwargs": list(rules.values())}
        for text, rules in rows
    ]
    (folder / "rules.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"name": "rules", "type": "Instructions", "source": f"file://{folder}/rules.jsonl"}


async def test_instructions_are_scored_by_their_rules(tmp_path: Path) -> None:
    async with play(lambda _: says("*Hello to you*")) as server:
        run = WholeRun(tmp_path, server.url, [])
        run.changes = evaluated(run, ruled(tmp_path, RULES))
        ended = await run.run("--until", "i0-evaluate")
        assert ended.code == 0, ended.said
        scores = await run.table("i0-evaluate", "scores")
        assert {row["id"]: row["score"] for row in scores} == {text: float(i == 0) for i, (text, _) in enumerate(RULES)}
        summary, _ = await run.report()
        figures = {figure["name"]: figure["value"] for figure in summary["scores"][0]["figures"]}
        assert figures == {
            "IFEval prompt strict": pytest.approx(1 / 3, abs=1e-6),
            "IFEval prompt loose": pytest.approx(1 / 3, abs=1e-6),
            "IFEval instruction strict": 0.5,
            "IFEval instruction loose": 0.5,
        }


async def test_rules_that_cannot_be_checked_are_refused_before_any_call(tmp_path: Path) -> None:
    async with play(lambda _: says("Hello")) as server:
        run = WholeRun(tmp_path, server.url, [])
        bad = ruled(tmp_path, [*RULES, ("Q", {"length_constraints:number_words": {"num_words": 9}})])
        run.changes = evaluated(run, bad)
        ended = await run.run("--until", "i0-evaluate")
        assert ended.code == 1
        assert (
            "benchmark rules: "
            f"file://{tmp_path}/rules.jsonl line 4: rule 'length_constraints:number_words' lacks relation in kwargs, "
            "for which the harness would draw a value; add it, not 0" in ended.said
        )
        assert questions(server) == []


def test_shipped_questions_have_rules_that_need_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")  # as in the harness: nothing is downloaded by the import
    import nltk
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    from moaa_jobs.harness import rules

    monkeypatch.setattr(nltk.data, "path", [])
    rules.has_punkt.cache_clear()
    needing = set()
    for name, kind in INSTRUCTION_DICT.items():
        rule = kind(name)
        rule.build_description(**({"prompt_to_repeat": "A"} if name == "combination:repeat_prompt" else {}))
        try:
            rule.check_following("One sentence. Another one.")
        except LookupError:
            needing.add(name)
    assert needing == rules.NEED_PUNKT
    named = rules_in([(ROOT / "examples/data/instructions.jsonl", "instructions.jsonl")])
    assert len(named) >= len(INSTRUCTION_DICT) - len(needing)
    assert [refused for rule, given in named if (refused := rules.refusal(rule, given))] == []
    rules.has_punkt.cache_clear()


HUMAN = {
    "task_id": "own/0",
    "prompt": "def plus(a, b):\n",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    "entry_point": "plus",
}
ANSWERS = {
    "right": ("    return a + b", 1.0),
    "wrong": ("    return a - b", 0.0),
    "never": ("    while True: pass", 0.0),
    "exits": ("    import os; os._exit(0)", 0.0),
    "kept from files": (
        "    try:\n        open(FILE)\n    except PermissionError:\n        return a + b",
        1.0,
    ),
    "kept from the network": (
        "    import socket\n    try:\n        socket.create_connection(('127.0.0.1', PORT), timeout=1)\n"
        "    except OSError:\n        return a + b",
        1.0,
    ),
    "kept from secrets": ("    import os\n    return a + b if 'MOAA_SECRET_A_B' not in os.environ else 0", 1.0),
    "kept from other processes": (
        "    try:\n        open('/proc/1/environ')\n    except PermissionError:\n        return a + b",
        1.0,
    ),
}


def missing() -> str | None:
    """What this machine lacks to shut code in."""
    try:
        sandbox.check()
    except sandbox.NoSandbox as error:
        return str(error)
    return None


async def test_code_runs_shut_in_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    rows = [HUMAN | {"task_id": name, "prompt": f"# {name}\ndef plus(a, b):\n"} for name in ANSWERS]
    (tmp_path / "human.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def answer(body: Body) -> Behaviour:
        asked = next((name for name in ANSWERS if f"# {name}\n" in prompt(body)), None)
        if asked is None:  # whether it answers at all
            return says("Hello")
        code = ANSWERS[asked][0].replace("FILE", repr(str(tmp_path / "secret")))
        port = server.url.split(":")[2].partition("/")[0]
        return says(f"So:\n```python\ndef plus(a, b):\n{code.replace('PORT', port)}\n```\nIt adds.")

    async with play(answer) as server:
        run = WholeRun(tmp_path, server.url, [])
        code = {"name": "code", "type": "LmEval", "tasks": ["humaneval_chat"], "runCode": True}
        code |= {"include": f"file://{ROOT}/examples/tasks/"}
        run.changes = evaluated(run, code | {"source": f"file://{tmp_path}/human.jsonl"})
        ended = await run.run("--until", "i0-evaluate", MOAA_SECRET_A_B="secret")
        if (why := missing()) is not None:
            assert ended.code == 1
            assert f"runCode: this machine cannot keep code of others in: {why}" in ended.said
            assert questions(server) == []
            return
        assert ended.code == 0, ended.said
        scores = await run.table("i0-evaluate", "scores")
        names = list(ANSWERS)
        found = {names[int(row["id"].removeprefix("humaneval_chat/"))]: row["score"] for row in scores}
        assert found == {name: score for name, (_, score) in ANSWERS.items()}


STARTS = """
import asyncio, sys
from pathlib import Path
from moaa_jobs.harness.child import harness

async def main():
    async with harness(Path(sys.argv[1]), runs_code=sys.argv[2] == "code") as made:
        await made.follow("Q", ["punctuation:no_comma"], [{}], "A")
        print("ready", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["rules", "code"])
async def test_the_child_goes_with_its_job_however_that_ends(kind: str, tmp_path: Path) -> None:
    if kind == "code" and missing() is not None:
        kind = "rules"  # nothing is shut in here
    job = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTS, str(tmp_path), kind),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "jobs")])},
        stdout=asyncio.subprocess.PIPE,
    )
    assert job.stdout is not None
    assert await job.stdout.readline() == b"ready\n"
    below = guard.descendants(job.pid)
    assert len(below) == (1 if kind == "rules" else 2)  # the program, behind `unshare` where it is shut in
    job.kill()
    await job.wait()
    while any(  # noqa: ASYNC110  nobody tells of other processes' ends
        pid in (table := guard.process_table()) and table[pid][1] not in "ZX" for pid in below
    ):
        await asyncio.sleep(0.05)


PROGRAMS = {
    "late": ("import time; time.sleep(60)", CallError, "rules: its code took more than 0 s"),
    "dead": ("import sys; sys.exit('no more room')", StageError, "ended by itself: no more room"),
}


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_child_that_gives_no_answer_is_ended_and_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, error, words = PROGRAMS[name]

    async def start(self: Harness) -> asyncio.subprocess.Process:
        with (self.folder / "harness.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", program),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        return self._process

    monkeypatch.setattr(Harness, "_start", start)
    async with harness(tmp_path) as made:
        with pytest.raises(error, match=words):
            await made._ask(LookAtRules(rules=[]), "rules", 0.001 if name == "late" else 60.0)
        assert made._process is None
