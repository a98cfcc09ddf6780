"""Arena-Hard and MT-Bench from the field's own files to scores, through the real jobs and a scripted judge."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moaa.api.resource import MoAA
from moaa.scoring.figures import figures_of
from tests.endpoint import Endpoint, serve
from tests.unit.jobs.test_jobs_chain import chain, resource

STAGES = ["i0-resolve", "i0-stage-data", "i0-evaluate"]
HARD = {"uid": "h1", "category": "hard_prompt", "subcategory": "coding", "prompt": "Sort."}
CREATIVE = {"uid": "c1", "category": "creative_writing", "subcategory": "poem", "prompt": "Rhyme."}
MATH = {"question_id": 111, "category": "math", "turns": ["2+2?", "And 3+3?"], "reference": ["5", "7"]}
WRITING = {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]}


def answer_of(uid: str, text: str) -> dict[str, Any]:
    """As arena-hard-auto writes it."""
    return {"uid": uid, "model": "o3", "messages": [{"role": "assistant", "content": {"answer": text}}]}


def scripted(body: Mapping[str, Any]) -> str:
    """The judge likes the student's answers, a little where they stand first and much where they stand second. It
    gives a turn that is judged by a reference 2 and any other 9."""
    content = body["messages"][-1]["content"]
    if body["model"] != "eva":
        return f"{body['model']}({content})"
    if "[[A>>B]]" in content:
        return "So [[A>B]]" if content.index("student(") < content.index("theirs") else "So [[B>>A]]"
    return "Grade: [[2]]" if "REFERENCE" in content else "Grade: [[9]]"


def declared(folder: Path, endpoint: Endpoint) -> MoAA:
    def source(name: str, rows: list[dict[str, Any]]) -> str:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"file://{folder}/{name}"

    shared = {"judgeModel": {"model": "eva"}}
    arena = {
        "name": "hard", "type": "ArenaHard", "version": "v2.0", "category": "hard_prompt", **shared,
        "source": source("hard.jsonl", [HARD, CREATIVE]),
        "answers": {"source": source("o3.jsonl", [answer_of("h1", "theirs")])},
    }  # fmt: skip
    bench = {
        "name": "mt", "type": "MtBench", **shared,
        "source": source("question.jsonl", [MATH, WRITING]),
        "answers": {"source": source("gpt-4.jsonl", [{"question_id": 111, "choices": [{"turns": ["4", "6"]}]}])},
    }  # fmt: skip
    evaluation = {"selection": [arena], "report": [bench], "members": False}
    return resource(folder, endpoint.url, evaluation=evaluation)


async def test_the_field_s_files_become_its_figures(tmp_path: Path) -> None:
    async with serve(scripted) as endpoint:
        owner = declared(tmp_path, endpoint)
        made = await chain(owner, tmp_path, endpoint, STAGES)
    [row] = made["i0-stage-data"]["eval-hard"]
    assert (row["id"], row["answer"], row["facts"]) == ("h1", "theirs", '{"category":"hard_prompt"}')
    assert {row["id"] for row in made["i0-stage-data"]["eval-mt"]} == {"111", "81"}
    scores = made["i0-evaluate"]["scores"]
    assert {(row["benchmark"], row["id"]): row["score"] for row in scores} == {
        ("hard", "h1"): 1.0,
        ("mt", "111"): 0.2,
        ("mt", "81"): 0.9,
    }
    benchmarks = [*owner.spec.evaluation.selection, *owner.spec.evaluation.report]
    found = {
        figure.name: figure.value
        for benchmark in benchmarks
        for rows in [[row for row in scores if row["benchmark"] == benchmark.name]]
        for figure in figures_of(benchmark, rows, resamples=100, confidence=0.95)
    }
    assert found["Arena-Hard v2.0"] == 1.0
    assert (found["MT-Bench"], found["MT-Bench, math"], found["MT-Bench, turn 2"]) == (5.5, 2.0, 5.5)
    judged = {(row["benchmark"], row["order"]): row["label"] for row in made["i0-evaluate"]["judgements"]}
    assert (judged["hard", "ba"], judged["hard", "ab"]) == ("B>>A", "A>B")
    asked = [body for body in endpoint.requests if body["model"] == "student"]
    warmth = {body["messages"][0]["content"]: body.get("temperature", 1) for body in asked}
    assert warmth == {"Sort.": 0, "2+2?": 0, "Write.": 0.7}
