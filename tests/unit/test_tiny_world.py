"""The tiny world is what it says: answers worked out by hand, disjoint splits, no gold answers, one set of prompts."""

import itertools
import json
import random
from pathlib import Path

import pytest
import yaml

from examples.tiny.lessons import AGGREGATOR, CAST, PROPOSERS, best_criterion, draw_lesson, evaluate
from examples.tiny.prompts import CRITERIA, PROMPTS
from examples.tiny.world import FILES, OPERATIONS, Question, QuestionFile, distinct_questions, draw_operand, split_of

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


def operands(file: QuestionFile) -> set[str]:
    return {question.operand for question in distinct_questions(file.split, file.count, seed=0)}


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
