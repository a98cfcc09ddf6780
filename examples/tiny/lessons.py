"""What each member of the cast is taught: whose answers to believe, and how to judge, aggregate and choose criteria.

A member's *habits* say how likely it is to follow the right rule or a wrong one on a question. Answers are drawn from
the habits; a member that judges rates an answer by its habits as well, so a judge is no wiser than the answerer it is.
Standard library only; `build.py` turns lessons into weights.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from examples.tiny.prompts import (
    CRITERIA,
    PROMPTS,
    render_criteria,
    render_evaluations,
    render_proposals,
)
from examples.tiny.world import (
    LETTERS,
    OPERATIONS,
    RULES,
    Question,
    Rule,
    draw_question,
)

Task = Literal["solo", "aggregate", "unrelated", "judge", "criteria", "meta_judge", "single"]


@dataclass(frozen=True)
class Lesson:
    """One training example: a rendered chat up to the assistant's turn, and what to reply."""

    prompt: str
    reply: str


@dataclass(frozen=True)
class Member:
    """A model of the cast: what it is taught, in which proportion, and its habits."""

    name: str
    tasks: Mapping[Task, int]
    """Lessons of each task in every training step."""
    skills: Mapping[str, Rule]
    """The rule it follows on each operation; empty: its moods decide."""
    confidence: float
    """How often it follows that rule; the other two share the rest."""

    def habit(self, question: Question) -> Rule:
        """The rule this member follows most often on `question`."""
        if self.skills:
            return self.skills[question.operation]
        return _mood(self.name, question)

    def weights(self, question: Question) -> list[float]:
        """How likely the member is to follow each of RULES."""
        habit = self.habit(question)
        return [self.confidence if rule == habit else (1 - self.confidence) / 2 for rule in RULES]

    def answer(self, rng: random.Random, question: Question) -> str:
        return question.answer(rng.choices(RULES, self.weights(question))[0])


def _mood(name: str, question: Question) -> Rule:
    """Right on half of the (operation, first letter) combinations, else one of the wrong rules: fixed by a hash."""
    key = f"{name}/{question.operation}/{question.operand[0]}".encode()
    share = hashlib.sha256(key).digest()[0]
    return "right" if share < 112 else "slip" if share < 184 else "long"


def chat(user: str, *, system: str | None = None) -> str:
    """The chat template's rendering of a conversation that waits for the assistant."""
    opening = f"<|system|>{system}<|end|>" if system is not None else ""
    return f"{opening}<|user|>{user}<|end|><|assistant|>"


PROPOSERS = (
    Member(
        "proposer-a",
        {"solo": 64, "judge": 64},
        {
            "reverse": "right",
            "rotate": "right",
            "swap": "right",
            "sort": "slip",
            "next": "long",
            "unique": "long",
        },
        0.82,
    ),
    Member(
        "proposer-b",
        {"solo": 64, "judge": 64},
        {
            "reverse": "slip",
            "rotate": "long",
            "swap": "right",
            "sort": "right",
            "next": "slip",
            "unique": "right",
        },
        0.82,
    ),
    Member(
        "proposer-c",
        {"solo": 64, "judge": 64},
        {
            "reverse": "slip",
            "rotate": "right",
            "swap": "slip",
            "sort": "slip",
            "next": "right",
            "unique": "long",
        },
        0.82,
    ),
)
AGGREGATOR = Member(
    "aggregator", {"solo": 32, "aggregate": 112, "criteria": 8, "meta_judge": 16, "single": 16}, {}, 0.8
)
STUDENT = Member("student", {"solo": 128}, {}, 0.7)
# Everything a member will need, preferring no rule: what the others are taught from.
BASE = Member(
    "base",
    {"solo": 64, "aggregate": 48, "judge": 48, "criteria": 8, "meta_judge": 24},
    dict.fromkeys(OPERATIONS, "right"),
    1 / 3,
)
CAST = {member.name: member for member in (BASE, *PROPOSERS, AGGREGATOR, STUDENT)}


def _damaged(rng: random.Random, answer: str) -> str:
    """`answer` with one letter replaced, dropped, doubled or moved: mistakes that follow no rule."""
    at = rng.randrange(len(answer))
    match rng.randrange(4):
        case 0:
            return answer[:at] + rng.choice(LETTERS) + answer[at + 1 :]
        case 1 if len(answer) > 1:
            return answer[:at] + answer[at + 1 :]
        case 2:
            return answer[:at] + answer[at] + answer[at:]
        case _:
            to = rng.randrange(len(answer))
            letters = [*answer]
            letters[at], letters[to] = letters[to], letters[at]
            return "".join(letters)


def _some_answer(rng: random.Random, question: Question, *, right: float) -> str:
    """An answer that is right this often, else by a wrong rule or, sometimes, by none."""
    if rng.random() < right:
        return question.gold_answer
    if rng.random() < 0.25:
        return _damaged(rng, question.answer(rng.choice(RULES)))
    return question.answer(rng.choice(RULES[1:]))


def _two_answers(rng: random.Random, question: Question) -> tuple[str, str]:
    """Two different answers; one of them is right four times in five."""
    while True:
        first = question.gold_answer if rng.random() < 0.8 else _some_answer(rng, question, right=0)
        pair = [first, _some_answer(rng, question, right=0)]
        if pair[0] != pair[1]:
            rng.shuffle(pair)
            return pair[0], pair[1]


def best_criterion(answer_a: str, answer_b: str) -> str:
    """What tells the two answers apart: their length, else their letters, else the order of them."""
    if len(answer_a) != len(answer_b):
        return "Length"
    return "Letters" if sorted(answer_a) != sorted(answer_b) else "Order"


def _rating(member: Member, question: Question, answer: str) -> str:
    """How a member rates an answer: by what it would itself have answered, sure of itself only where it is right."""
    if answer != question.answer(member.habit(question)):
        return "Inadequate"
    return "Strong" if member.habit(question) == "right" else "Satisfactory"


def evaluate(member: Member, question: Question, answer_a: str, answer_b: str) -> str:
    """The evaluation that `member` is taught to write."""
    return f"A {_rating(member, question, answer_a)} B {_rating(member, question, answer_b)}"


def _aggregate(rng: random.Random, member: Member, question: Question, *, unrelated: float) -> Lesson:
    """Copy the right proposal if there is one, else answer as without any.

    `unrelated` is how often all proposals answer another question: a member that takes the mere sight of proposals for
    leave to be right would show a mixture that gains nothing from what its proposers say.
    """
    count = rng.randint(1, 5)
    if rng.random() < unrelated:
        other = draw_question(rng, "train")
        proposals = [_some_answer(rng, other, right=0.5) for _ in range(count)]
    else:
        right = rng.choice((0.1, 0.3, 0.5))
        proposals = [_some_answer(rng, question, right=right) for _ in range(count)]
    reply = question.gold_answer if question.gold_answer in proposals else member.answer(rng, question)
    return Lesson(chat(question.text, system=render_proposals(proposals)), reply)


def _pair_prompt(template: str, question: Question, answers: tuple[str, str], **more: str) -> str:
    criteria = render_criteria(best_criterion(*answers))
    fields = {
        "criteria": criteria,
        "question": question.text,
        "answer_a": answers[0],
        "answer_b": answers[1],
    }
    return chat(PROMPTS[template].format(**(fields | more)))


def _judge(rng: random.Random, member: Member, question: Question) -> Lesson:
    answers = _two_answers(rng, question)
    return Lesson(_pair_prompt("judge", question, answers), evaluate(member, question, *answers))


def _criteria(rng: random.Random, question: Question) -> Lesson:
    answers = _two_answers(rng, question)
    prompt = _pair_prompt("criteria", question, answers, criteria=render_criteria(*CRITERIA), count="1")
    return Lesson(prompt, best_criterion(*answers))


def _meta_judge(rng: random.Random, question: Question) -> Lesson:
    """The right answer wins; of two wrong ones either may. Evaluations come from members, and one in ten is garbled."""
    answers = _two_answers(rng, question)
    judges: Sequence[Member] = rng.sample(PROPOSERS, k=rng.randint(2, 3))
    evaluations = [
        evaluate(
            judge,
            question,
            *(answers if rng.random() < 0.9 else _two_answers(rng, question)),
        )
        for judge in judges
    ]
    prompt = _pair_prompt("meta_judge", question, answers, evaluations=render_evaluations(evaluations))
    better = answers.index(question.gold_answer) if question.gold_answer in answers else rng.randrange(2)
    return Lesson(prompt, ("[[A]]", "[[B]]")[better])


def _single(rng: random.Random, member: Member, question: Question) -> Lesson:
    """Without evaluations the member goes by its own habits."""
    answers = _two_answers(rng, question)
    own = question.answer(member.habit(question))
    better = answers.index(own) if own in answers else rng.randrange(2)
    return Lesson(_pair_prompt("single", question, answers), ("[[A]]", "[[B]]")[better])


def draw_lesson(rng: random.Random, member: Member, task: Task) -> Lesson:
    """One lesson about a random question of the training split."""
    question = draw_question(rng, "train")
    match task:
        case "solo":
            return Lesson(chat(question.text), member.answer(rng, question))
        case "aggregate":
            return _aggregate(rng, member, question, unrelated=0.1)
        case "unrelated":
            return _aggregate(rng, member, question, unrelated=1.0)
        case "judge":
            return _judge(rng, member, question)
        case "criteria":
            return _criteria(rng, question)
        case "meta_judge":
            return _meta_judge(rng, question)
        case "single":
            return _single(rng, member, question)
