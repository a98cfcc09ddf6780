"""The tiny world is what it says: answers worked out by hand, disjoint splits, no gold answers, one set of prompts."""

import itertools
import json
import random
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks import tiny_worlds
from benchmarks.tiny_claims import main_resource
from examples.tiny.claims import judge
from examples.tiny.lessons import AGGREGATOR, CAST, PROPOSERS, best_criterion, draw_lesson, evaluate
from examples.tiny.prompts import CRITERIA, PROMPTS
from examples.tiny.world import FILES, OPERATIONS, Question, QuestionFile, draw_operand, split_of, write_files

TINY = Path(__file__).parents[2] / "examples" / "tiny"


@pytest.mark.parametrize(
    ("operation", "right", "slip", "long"),
    [
        ("reverse", "aebac", "caeba", "aaebac"),
        ("sort", "aabce", "ecbaa", "aabcec"),
        ("rotate", "beaca", "eacab", "beacab"),
        ("next", "dbcfb", "bjadj", "dbcfbb"),
        ("swap", "aabec", "acbea", "aabeca"),
        ("unique", "cabe", "aebc", "cabea"),
    ],
)
def test_rules_give_the_answers_worked_out_by_hand(operation: str, right: str, slip: str, long: str) -> None:
    question = Question(operation, "cabea")
    assert (question.gold_answer, question.answer("slip"), question.answer("long")) == (right, slip, long)


def test_wrong_rules_are_nearly_always_wrong() -> None:
    rng = random.Random(0)
    for operation in OPERATIONS:
        questions = [Question(operation, draw_operand(rng, "train")) for _ in range(500)]
        for rule in ("slip", "long"):
            assert sum(q.answer(rule) == q.gold_answer for q in questions) <= 25, (operation, rule)


def test_long_wrong_answers_are_longer_than_right_ones() -> None:
    rng = random.Random(1)
    for operation in OPERATIONS:
        question = Question(operation, draw_operand(rng, "train"))
        assert len(question.answer("long")) > len(question.gold_answer)


def operands(file: QuestionFile, world: int = 0) -> set[str]:
    return {json.loads(line)["messages"][0]["content"].split()[1] for line in file.lines(world)}


def test_no_operand_is_in_two_files_or_taught_to_a_model() -> None:
    for first, second in itertools.combinations(FILES, 2):
        assert not operands(first) & operands(second)
    for file in FILES:
        assert len(operands(file)) == file.count
        assert {split_of(operand) for operand in operands(file)} == {file.split}


def test_lessons_show_operands_of_the_training_split_only() -> None:
    rng = random.Random(2)
    for member in CAST.values():
        for task in member.tasks:
            for _ in range(100):
                prompt = draw_lesson(rng, member, task).prompt
                asked = [prompt.split(f"{operation} ")[1][:5] for operation in OPERATIONS if f"{operation} " in prompt]
                assert [split_of(operand) for operand in asked] == ["train"], prompt


@pytest.mark.parametrize("file", FILES, ids=[file.split for file in FILES])
def test_committed_files_are_what_the_generator_writes(file: QuestionFile) -> None:
    assert (TINY / "data" / f"{file.split}.jsonl").read_text().splitlines() == list(file.lines())


@pytest.mark.parametrize("file", FILES, ids=[file.split for file in FILES])
def test_only_evaluation_files_carry_gold_answers(file: QuestionFile) -> None:
    keys = {"id", "messages", "answer"} if file.split in ("selection", "report") else {"id", "messages"}
    for line in file.lines():
        row = json.loads(line)
        assert set(row) == keys
        assert [message["role"] for message in row["messages"]] == ["user"]


def test_the_resource_carries_the_prompts_and_criteria_that_models_were_taught_with() -> None:
    spec = yaml.safe_load((TINY / "moaa.yaml").read_text())["spec"]
    snake = {"metaJudge": "meta_judge"}
    assert {snake.get(name, name): text for name, text in spec["prompts"].items()} == PROMPTS
    assert {choice["name"]: choice["definition"] for choice in spec["judge"]["criteriaChoices"]} == CRITERIA


def test_every_operation_is_right_with_one_proposer_and_wrong_with_another() -> None:
    for operation in OPERATIONS:
        rules = [member.skills[operation] for member in PROPOSERS]
        assert 1 <= rules.count("right") < len(rules)


def test_judges_rate_by_what_they_would_answer_themselves() -> None:
    proposer_a, proposer_b, _ = PROPOSERS
    question = Question("reverse", "cabea")
    right, slip = question.gold_answer, question.answer("slip")
    assert evaluate(proposer_a, question, right, slip) == "A Strong B Inadequate"
    assert evaluate(proposer_b, question, right, slip) == "A Inadequate B Satisfactory"


@pytest.mark.parametrize(
    ("answer_a", "answer_b", "criterion"),
    [("abc", "abcc", "Length"), ("abc", "abd", "Letters"), ("abc", "acb", "Order")],
)
def test_the_criterion_is_what_tells_the_answers_apart(answer_a: str, answer_b: str, criterion: str) -> None:
    assert best_criterion(answer_a, answer_b) == criterion


def test_an_aggregator_lesson_asks_for_a_right_proposal_when_there_is_one() -> None:
    rng = random.Random(3)
    for _ in range(200):
        lesson = draw_lesson(rng, AGGREGATOR, "aggregate")
        operation, operand = lesson.prompt.split("<|user|>")[1].split("<|end|>")[0].split()
        gold_answer = Question(operation, operand).gold_answer
        if f". {gold_answer}\n" in lesson.prompt:
            assert lesson.reply == gold_answer


# Other worlds.


def test_another_world_asks_other_questions_of_the_same_splits_and_judges_on_unasked_ones(tmp_path: Path) -> None:
    for file in FILES:
        one, other = operands(file, 1), operands(file, 2)
        assert {split_of(operand) for operand in one | other} == {file.split}
        assert len(one & other) < len(one) / 2
    write_files(tmp_path, 1)
    prompts, pairs = ((tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("preference", "anchors"))
    asked = {json.loads(line)["messages"][0]["content"] for line in prompts}
    assert not asked & {json.loads(line)["prompt"] for line in pairs}


def test_a_world_has_its_models_questions_and_seed_in_the_resource(tmp_path: Path) -> None:
    spec = main_resource(3, tmp_path / "run", {}, tmp_path)["spec"]
    paths = [model["source"] for model in spec["models"]]
    paths += [s["source"] for group in ("sft", "preference") for s in spec["data"][group]]
    paths += [b["source"] for group in ("selection", "report") for b in spec["evaluation"][group]]
    assert spec["seed"] == 3
    assert [path for path in paths if not path.startswith(f"file://{tmp_path}/")] == []


def test_a_model_is_taught_once_and_appears_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = []

    def teach(command: list[str], **_: object) -> None:
        name, out = (command[command.index(option) + 1] for option in ("--model", "--out"))
        taught.append(name)
        (Path(out) / name).mkdir(parents=True)
        if name == "student" and taught.count(name) == 1:
            raise subprocess.CalledProcessError(9, command)

    monkeypatch.setattr(subprocess, "run", teach)
    with pytest.raises(subprocess.CalledProcessError):
        tiny_worlds.prepare(tmp_path, 1)
    assert not (tmp_path / "models" / "student").exists()
    tiny_worlds.prepare(tmp_path, 1)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == sorted(CAST)
    assert [name for name in CAST if taught.count(name) != (2 if name == "student" else 1)] == []
    assert not (tmp_path / "unfinished").exists()


def test_claims_are_corrected_for_their_number_and_told_by_world() -> None:
    questions = [str(n) for n in range(40)]
    runs = [
        {"sft-1": {q: float(int(q) < right) for q in questions}, "dpo-1": dict.fromkeys(questions, 1.0)}
        for right in (20, 24, 28)
    ]
    one, many = (
        next(v for v in judge(tiny_worlds.CLAIMS, runs, is_corrected=corrected) if v.id == "dpo-beats-sft")
        for corrected in (False, True)
    )
    assert one.difference is not None
    assert many.difference is not None
    assert one.difference.mean == many.difference.mean == pytest.approx(0.4)
    assert many.difference.low < one.difference.low  # type: ignore[operator]  # both have ends
    alone = [next(v for v in judge(tiny_worlds.CLAIMS, [run]) if v.id == "dpo-beats-sft") for run in runs]
    lines = tiny_worlds.told(many, alone)
    assert lines[0] == str(many)
    assert lines[1].strip() == "by world: +0.500, +0.400, +0.300; holds alone in 3 of 3"
    unmeasured = judge(tiny_worlds.CLAIMS, [{}])[0]
    assert tiny_worlds.told(unmeasured, [unmeasured])[1].strip() == "by world: none; holds alone in 0 of 1"
