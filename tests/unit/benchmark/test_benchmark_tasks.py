"""LmEval and Instructions, with a checker that says what a test wants: the harness itself runs in tests/integration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from pydantic import JsonValue, ValidationError

from moaa.api.evaluation import Instructions, LmEval, further_files
from moaa.api.mixture import FinalSampling
from moaa.asking.asker import Asker
from moaa.asking.caller import Reply
from moaa.asking.cut import ended
from moaa.benchmark.checker import Followed, TaskScore
from moaa.benchmark.instructions import Rules
from moaa.benchmark.lm_eval import Facts
from moaa.benchmark.measures import measure_of, turns_of
from moaa.conversation import Message
from moaa.errors import CallError
from moaa.mixture.alone import answer_alone
from moaa.rows import PromptRow, ScoreRow
from moaa.scoring.figures import figures_of
from tests.unit.calls_scripted import ScriptedCaller

TASKS = LmEval.model_validate(
    {"name": "t", "type": "LmEval", "source": "hf://datasets/o/d/main", "split": "test", "tasks": ["sums"]}
)
RULES = Instructions.model_validate({"name": "i", "type": "Instructions", "source": "file:///i.jsonl"})
FACTS = Facts(task="sums", version="1.5", harness="0.4", until=["Question:"], document={"question": "1 + 1?"})
MESSAGES: list[Message] = [
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "1 + 1?"},
]
ROW = PromptRow(id="sums/0", messages=MESSAGES, answer="2", facts=FACTS.model_dump_json())


@dataclass
class Told:
    """A checker that finds what it was told to."""

    asked: list[object] = field(default_factory=list)

    async def score(self, benchmark: LmEval, task: str, document: Mapping[str, JsonValue], answer: str) -> TaskScore:
        self.asked.append((benchmark.name, task, document, answer))
        return TaskScore(value=0.25, chosen="m,f", harness="0.5", metrics={"m,f": 0.25, "n,f": 1})

    async def follow(
        self, prompt: str, rules: Sequence[str], arguments: Sequence[Mapping[str, JsonValue]], answer: str
    ) -> Followed:
        self.asked.append((prompt, rules, arguments, answer))
        return Followed(strict=[True, "x" in answer], loose=[True, True])


async def test_a_task_is_asked_about_its_document_and_its_metrics_are_noted() -> None:
    told = Told()
    measure = measure_of(TASKS, student="s", checker=told)
    scored = await measure.score(ROW, [*MESSAGES, {"role": "assistant", "content": "two"}], Asker(ScriptedCaller()))
    assert scored.value == 0.25
    assert scored.detail == {
        "task": "sums",
        "version": "1.5",
        "harness": ["0.4", "0.5"],
        "score": "m,f",
        "metrics": {"m,f": 0.25, "n,f": 1},
    }
    assert told.asked == [("t", "sums", {"question": "1 + 1?"}, "two")]


@pytest.mark.parametrize(("answer", "value"), [("x", 1.0), ("y", 0.0)])
async def test_a_question_counts_when_every_rule_is_followed(answer: str, value: float) -> None:
    rules = Rules(instruction_id_list=["a:b", "c:d"], kwargs=[{}, {"n": 1}])
    row = PromptRow(id="1", messages=[{"role": "user", "content": "Q"}], answer=None, facts=rules.model_dump_json())
    measure = measure_of(RULES, student="s", checker=Told())
    answered: list[Message] = [*row["messages"], {"role": "assistant", "content": answer}]
    assert (await measure.score(row, answered, Asker(ScriptedCaller()))).value == value


def test_every_rule_has_arguments_of_its_own() -> None:
    with pytest.raises(ValidationError, match="has 1 rules and kwargs 0 entries"):
        Rules(instruction_id_list=["a:b"], kwargs=[])


def cut(text: str) -> ScriptedCaller:
    return ScriptedCaller(lambda _: Reply(text, "length", prompt_tokens=1, completion_tokens=9))


async def test_examples_stand_before_a_task_as_turns_and_are_not_answered_again() -> None:
    caller = ScriptedCaller(lambda _: "2 Question: 3 + 3?")
    answered = await answer_alone(MESSAGES, "m", FinalSampling(), Asker(caller), turns_of(TASKS, ROW))
    assert answered == [*MESSAGES, {"role": "assistant", "content": "2 "}]
    assert len(caller.asked) == 1


async def test_an_answer_that_ends_at_a_mark_of_the_task_is_not_cut() -> None:
    turns = turns_of(TASKS, ROW)
    answered = await answer_alone(MESSAGES, "m", FinalSampling(), Asker(cut("2 Question: 3")), turns)
    assert answered[-1]["content"] == "2 "
    with pytest.raises(CallError, match="ended at its limit of tokens"):
        await answer_alone(MESSAGES, "m", FinalSampling(), Asker(cut("2 and")), turns)


@pytest.mark.parametrize(
    ("until", "left"),
    [((), "a b c"), (("b",), "a "), (("c", "b"), "a "), (("",), "a b c"), (("a",), "")],
)
def test_an_answer_ends_at_the_first_mark(until: tuple[str, ...], left: str) -> None:
    assert ended("a b c", until) == left


def test_the_split_of_examples_and_the_folder_of_tasks_are_read_beside_the_questions() -> None:
    assert further_files(TASKS) == {}
    more = TASKS.with_(fewshot_split="train", include="s3://b/tasks/", revision="main")
    found = further_files(more)
    assert {name: (file.source, file.split) for name, file in found.items()} == {
        "fewshot": ("hf://datasets/o/d/main", "train"),
        "include": ("s3://b/tasks/", "train"),
    }
    assert found["fewshot"].revision == "main"


def scored(benchmark: str, name: str, score: float, detail: str) -> ScoreRow:
    return ScoreRow(
        benchmark=benchmark, model="base", id=name, score=score, length=1, baseline_length=None, refused=0, repeated=0,
        detail=detail,
    )  # fmt: skip


def test_figures_of_tasks_are_means_over_documents_by_task_and_metric() -> None:
    def row(task: str, k: int, value: float, other: float) -> ScoreRow:
        metrics = {"a,f": other, "m,f": value}
        noted = {"task": task, "version": "2", "harness": ["0.4"], "score": "m,f", "metrics": metrics}
        return scored("t", f"{task}/{k}", value, json.dumps([noted]))

    rows = [row("one", 0, 1, 0), row("one", 1, 0, 0.5), row("two", 0, 1, 1)]
    found = figures_of(TASKS, rows, resamples=100, confidence=0.95)
    assert [(figure.name, figure.value, figure.is_headline) for figure in found] == [
        ("one m,f", 0.5, True),
        ("one a,f", 0.25, False),
        ("two m,f", 1.0, True),
        ("two a,f", 1.0, False),
    ]
    assert found[0].note == "task version 2 of lm-eval 0.4, over 2 documents"
    assert (found[0].low, found[0].high) == (0.0, 1.0)
    assert (found[2].low, found[2].high) == (None, None), "one document has no interval"


def test_figures_of_instructions_weigh_every_rule_alike() -> None:
    rows = [
        scored("i", "1", 1, '[{"strict": [true], "loose": [true]}]'),
        scored("i", "2", 0, '[{"strict": [true, false, false], "loose": [true, true, true]}]'),
    ]
    found = {figure.name: figure.value for figure in figures_of(RULES, rows, resamples=100, confidence=0.95)}
    assert found == {
        "IFEval prompt strict": 0.5,
        "IFEval prompt loose": 1.0,
        "IFEval instruction strict": 0.5,
        "IFEval instruction loose": 1.0,
    }
