"""What a judge writes is read strictly, and what it reads is told by role."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.api.mixture import PAPER_CRITERIA, Criterion
from moaa.conversation import Message
from moaa.judge.pairwise import outcome_of
from moaa.judge.prompts import question_text
from moaa.judge.reading import parse_criteria, parse_verdict
from tests.unit.judge_scripted import CHOICE, user

# Criteria


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CHOICE, ["Accuracy", "Depth", "Safety"]),
        ("accuracy\nDEPTH\n**Safety**", ["Accuracy", "Depth", "Safety"]),
        ("1) Depth 2) Instruction  adherence 3) Relevance", ["Depth", "Instruction adherence", "Relevance"]),
        (
            "1. **Accuracy**: clarity depends on it\n2. Depth - safety aside\n3. Safety (and relevance)",
            ["Accuracy", "Depth", "Safety"],
        ),
        ("1. Accuracy, Clarity\n2. Depth\n3. Safety", None),
        ("Accuracy, Depth", None),
        ("Accuracy, Depth, Accuracy", None),
        ("Accuracy, Depth, Safety, Clarity", None),
        ("Accuracy, Depth, Beauty", None),
        ("Inaccuracy, Depth, Safety", None),
        ("", None),
        (
            "Clarity and Relevance come to mind.\n\n**Selected Criteria:**\n- Accuracy: facts\n- Depth\n- Safety",
            ["Accuracy", "Depth", "Safety"],
        ),
        (
            "Selected Criteria: Accuracy, Depth, Safety\nExplanation: Helpfulness is moot",
            ["Accuracy", "Depth", "Safety"],
        ),
        (
            "Selected Criteria:\n1. Accuracy\n2. Depth\n3. Safety\n\n## Explanation\nClarity",
            ["Accuracy", "Depth", "Safety"],
        ),
    ],
)
def test_criteria_are_read_strictly(text: str, expected: list[str] | None) -> None:
    found = parse_criteria(text, PAPER_CRITERIA, count=3)
    assert (None if found is None else [c.name for c in found]) == expected


def test_a_longer_name_wins_over_one_it_contains() -> None:
    choices = [Criterion(name=n, definition="d") for n in ("Depth", "Depth of thought", "Tone")]
    found = parse_criteria("1. depth of thought\n2. tone", choices, count=2)
    assert found is not None
    assert [c.name for c in found] == ["Depth of thought", "Tone"]


@settings(deadline=None)
@given(st.permutations(PAPER_CRITERIA), st.integers(1, 8))
def test_any_choice_in_the_asked_format_is_read_back(choices: list[Criterion], count: int) -> None:
    lines = "\n".join(f"{i}. {c.name}" for i, c in enumerate(choices[:count], start=1))
    assert (
        parse_criteria(f"Selected Criteria:\n{lines}\nExplanation:\nx", PAPER_CRITERIA, count=count) == choices[:count]
    )


# Verdicts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[A]]", "A"),
        ("Both fine. [[B]]", "B"),
        ("[[ B ]].", "B"),
        ("[[A]] it is, for its facts.", "A"),
        ("[[A]] or [[B]]? I say [[A]].", "A"),
        ("[[A]] at first, then **[[B]]**\n", None),
        ("First [[A]] seemed fine.\nFinal verdict: [[B]]", "B"),
        ("**Verdict:** **[[A]]**.", "A"),
        ("[[**A**]]", "A"),
        ("[[b]]</s>", "B"),
        ("[[A]]<|im_end|>", "A"),
        ("[[Answer A]]", "A"),
        ("[[A]]\nIts facts are right.", "A"),
        ("[[A]]\nThough [[B]] is fine.", None),
        ("## [[B]]\nIt is longer.", "B"),
        ("I prefer [[A]] over [[B]].", None),
        ("I would end with [[A]]. But let me check", None),
        ("It is not [[B]]", None),
        ("I don't choose [[A]]", None),
        ("Anything rather than [[A]]", None),
        ("A is better than B: [[A]]", "A"),
        ("[[A]], but [[B]] is close", None),
        ("A", None),
        ("[A]", None),
        ("[[a]]", "A"),
        ("[[C]]", None),
        ("[[A", None),
        ("", None),
    ],
)
def test_verdicts_are_read_strictly(text: str, expected: str | None) -> None:
    assert parse_verdict(text) == expected


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="[")), st.sampled_from("AB"))
def test_text_before_a_verdict_does_not_change_it(before: str, label: str) -> None:
    assert parse_verdict(before) is None
    assert parse_verdict(f"{before}[[{label}]]") == label


def test_outcomes_are_told_of_the_pairs_a() -> None:
    assert [outcome_of("A", "ab"), outcome_of("B", "ab")] == [1, 0]
    assert [outcome_of("A", "ba"), outcome_of("B", "ba")] == [0, 1]
    assert outcome_of(None, "ab") is None


# Questions


def test_questions_of_several_turns_are_told_by_role() -> None:
    single = user("Q")
    assert question_text(single) == "Q"
    assert question_text([*single, Message(role="assistant", content="dropped")]) == "Q"
    told = question_text(
        [
            Message(role="system", content="S"),
            *single,
            Message(role="assistant", content="A"),
            Message(role="user", content="Q2"),
        ]
    )
    assert told == "[System instructions]\nS\n\n[User]\nQ\n\n[Assistant]\nA\n\n[User]\nQ2"
