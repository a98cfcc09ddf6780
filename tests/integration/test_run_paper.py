"""A dry run of the paper's example: its three benchmarks in the field's own file formats, every asked model an endpoint
of the fake server, a small student that is really trained twice. The report has its row of the paper's Table 1.
"""

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray")

from tests.fakes.model_server import Behaviour, Body, completion, play
from tests.integration.whole_run import JUDGE_PROMPTS, WholeRun, plays, prompt, says, shown
from tests.training_world import build_student

pytestmark = pytest.mark.timeout(900)

EXAMPLE = Path(__file__).parents[2] / "examples" / "paper-llama-8b.yaml"
QUESTIONS = 6
CATEGORIES = ("writing", "math")
LETTER = [{"token": "m", "logprob": math.log(0.6)}, {"token": "M", "logprob": math.log(0.3)}]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


def prompts(folder: Path, name: str, count: int) -> str:
    return jsonl(folder / f"{name}.jsonl", [{"prompt": f"{name} question {k}?"} for k in range(count)])


def alpaca(folder: Path) -> dict[str, Any]:
    """The baseline's outputs and the gamed runs, as AlpacaEval's authors write them."""
    outputs = [
        {
            "instruction": f"alpaca question {k}?",
            "output": "b" * (9 + k),
            "generator": "gpt4_1106_preview",
            "dataset": "d",
        }
        for k in range(QUESTIONS)
    ]
    (folder / "outputs.json").write_text(json.dumps(outputs))
    lines = [
        f"{2 * k + j},{k},{run},{0.5 + 0.05 * k},{1.0 - 2 * j},{k / 4 - 0.5},False"
        for k in range(QUESTIONS)
        for j, run in enumerate(("verbose", "concise"))
    ]
    head = ",index,model,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"
    (folder / "df_gamed.csv").write_text("\n".join([head, *lines]) + "\n")
    return {
        "source": f"file://{folder}/outputs.json",
        "split": "train",
        "known": {"source": f"file://{folder}/df_gamed.csv"},
    }


def arena(folder: Path) -> dict[str, Any]:
    asked = [
        {"uid": f"u{k}", "category": "arena-hard-v0.1", "cluster": "c", "prompt": f"arena question {k}?"}
        for k in range(QUESTIONS)
    ]
    given = [
        {
            "uid": f"u{k}",
            "ans_id": f"a{k}",
            "model": "gpt-4-0314",
            "messages": [
                {"role": "user", "content": f"arena question {k}?"},
                {"role": "assistant", "content": {"answer": "- one\n- two"}},
            ],
            "tstamp": 0.0,
            "metadata": {},
        }
        for k in range(QUESTIONS)
    ]
    return {
        "source": jsonl(folder / "arena.jsonl", asked),
        "answers": {"source": jsonl(folder / "gpt-4-0314.jsonl", given)},
    }


def mt(folder: Path) -> dict[str, Any]:
    asked = [
        {"question_id": 80 + k, "category": CATEGORIES[k % 2], "turns": [f"mt question {k}?", "And then?"]}
        for k in range(QUESTIONS)
    ]
    references = [
        {
            "question_id": 80 + k,
            "answer_id": f"r{k}",
            "model_id": "gpt-4",
            "choices": [{"index": 0, "turns": ["ref one", "ref two"]}],
            "tstamp": 0.0,
        }
        for k in range(1, QUESTIONS, 2)
    ]
    return {
        "source": jsonl(folder / "question.jsonl", asked),
        "answers": {"source": jsonl(folder / "gpt-4.jsonl", references)},
    }


def answering(body: Body) -> Behaviour:
    """A judge by what it is asked for, else an answer whose words follow from model and question."""
    text = prompt(body)
    if body.get("logprobs"):
        return plays(completion("m", choice={"logprobs": {"content": [{**LETTER[0], "top_logprobs": LETTER}]}}))
    match body["model"]:
        case "gpt-4-turbo":
            return says("My own answer would be short.\n[[A>B]]" if len(text) % 2 else "[[B>>A]]")
        case "gpt-4":
            return says("It is fair.\nRating: [[8]]" if "ref one" in text else "Rating: [[6]]")
    if text.endswith("Decide"):
        first, second = shown(body)
        return says("[[A]]" if first < second else "[[B]]")
    if text.endswith("Choose 3"):
        return says("Selected Criteria:\n1. Relevance\n2. Accuracy\n3. Depth\nExplanation:\nThese tell them apart.")
    if text.endswith("Write"):
        return says("Both are short; the first says more.")
    number = int(sha256(f"{body['model']} {text} {body.get('seed')}".encode()).hexdigest(), 16)
    return says(f"answer {'abcdefgh'[number % 8]} of {number % 97}")


def dry(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The example's spec, with what costs money or GPUs made small: rows, steps, and whose server answers."""
    spec: dict[str, Any] = document["spec"]
    student = spec["student"]
    evaluation = spec["evaluation"]
    given = {"alpaca-eval": alpaca(folder), "arena-hard": arena(folder), "mt-bench": mt(folder)}
    for benchmark in (*evaluation["selection"], *evaluation["report"]):
        if benchmark["type"] == "Pairwise":
            benchmark |= {"source": prompts(folder, "held", 4), "split": "train"}
        benchmark |= given.get(benchmark["name"], {})
        benchmark["sampling"] = {**benchmark.get("sampling", {}), "maxTokens": 16}
    small = {"precision": "FP32", "batchSize": 4, "microBatchSize": 2, "epochs": "1", "maxLength": 128}
    training = spec["training"]
    training["resources"] = {"workers": 1, "gpusPerWorker": 0, "cpusPerWorker": 1}
    training["sft"] |= small | {"packing": False}
    training["dpo"] |= small | {"maxTokens": 16, "samples": 2}
    spec["data"] = {
        "sft": [{"source": prompts(folder, "sft", 8)}],
        "preference": [{"source": prompts(folder, "preference", 8)}],
        "decontaminationNgram": 0,
    }
    spec["prompts"] = JUDGE_PROMPTS
    spec["storage"] = {"uri": f"file://{folder}/store"}
    spec["student"] = "student"
    text = json.dumps({name: spec[name] for name in ("mixture", "judge", "evaluation")})
    return {**spec, **json.loads(text.replace(f'"{student}"', '"student"'))}


async def test_the_paper_s_example_ends_in_its_row_of_table_1(tmp_path: Path) -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    names = [model["name"] for model in document["spec"]["models"] if model["name"] != document["spec"]["student"]]
    async with play(answering) as server:
        run = WholeRun(tmp_path, server.url, names)
        build_student(tmp_path / "student")
        changes = dry(document, tmp_path)
        del changes["models"], changes["student"]
        run.changes = changes
        ended = await run.run()
        assert ended.code == 0, ended.said
        summary, page = await run.report()
    published = {
        (score["model"], figure["name"]): figure["value"]
        for score in summary["scores"]
        for figure in score["figures"]
        if figure["isHeadline"]
    }
    columns = {name for _, name in published}
    assert len(columns) == 3, columns
    for model in ("base", "sft", "dpo", "mixture"):
        assert all(published[model, column] is not None for column in columns), model
    for column in columns:
        assert column in page
        assert column in ended.said
    [grades] = {value for (_, name), value in published.items() if "MT-Bench" in name}
    assert grades == pytest.approx(7.0)
    assert "AlpacaEval 2 LC" in columns
