"""The tiny world: questions about five letters, six operations on them, and the ways to get each one wrong.

Every question has one right answer, so a claim about the method can be measured against truth instead of against
another model's taste. Nothing here trains or serves a model: `lessons.py` says what each model is taught about this
world, `build.py` teaches it. Standard library only, so that tests and the data files need no torch.

What always holds:
- an operand belongs to exactly one split, by its hash; models are taught with operands of `train` only, and the SFT,
  preference, selection and report files each own a split, so no operand is ever seen in two roles;
- every operand repeats at least one letter, so that `unique` always has something to do;
- the files that feed the pipeline carry no gold answer.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

LETTERS = "abcdefghij"
OPERAND_LENGTH = 5

Split = Literal["train", "sft", "preference", "selection", "report"]
Rule = Literal["right", "slip", "long"]
RULES: tuple[Rule, ...] = ("right", "slip", "long")

# Upper ends of each split's share of the hash, in percent.
SPLIT_ENDS: tuple[tuple[int, Split], ...] = (
    (60, "train"),
    (80, "sft"),
    (90, "preference"),
    (94, "selection"),
    (100, "report"),
)


def _shift(operand: str, step: int) -> str:
    return "".join(LETTERS[(LETTERS.index(letter) + step) % len(LETTERS)] for letter in operand)


def _first_of_each(operand: str) -> str:
    return "".join(dict.fromkeys(operand))


# Each operation with its right rule and two wrong ones. `slip` is a plausible mistake; `long` is a mistake that says
# more than was asked, so that a judge who likes long answers is led astray.
OPERATIONS: dict[str, dict[Rule, Callable[[str], str]]] = {
    "reverse": {
        "right": lambda x: x[::-1],
        "slip": lambda x: x[0] + x[:0:-1],
        "long": lambda x: x[-1] + x[::-1],
    },
    "sort": {
        "right": lambda x: "".join(sorted(x)),
        "slip": lambda x: "".join(sorted(x, reverse=True)),
        "long": lambda x: "".join(sorted(x)) + x[0],
    },
    "rotate": {
        "right": lambda x: x[2:] + x[:2],
        "slip": lambda x: x[-2:] + x[:-2],
        "long": lambda x: x[2:] + x[:3],
    },
    "next": {
        "right": lambda x: _shift(x, 1),
        "slip": lambda x: _shift(x, -1),
        "long": lambda x: _shift(x, 1) + _shift(x[-1], 1),
    },
    "swap": {
        "right": lambda x: x[-1] + x[1:-1] + x[0],
        "slip": lambda x: x[1] + x[0] + x[2:],
        "long": lambda x: x[-1] + x[1:-1] + x[0] + x[-1],
    },
    "unique": {
        "right": _first_of_each,
        "slip": lambda x: _first_of_each(x[::-1]),
        "long": lambda x: x,
    },
}


@dataclass(frozen=True)
class Question:
    """One task: an operation's name and the letters to apply it to."""

    operation: str
    operand: str

    @property
    def text(self) -> str:
        """What the user writes, such as `reverse badca`."""
        return f"{self.operation} {self.operand}"

    def answer(self, rule: Rule = "right") -> str:
        """The answer that `rule` gives; a wrong rule may happen to agree with the right one."""
        return OPERATIONS[self.operation][rule](self.operand)

    @property
    def gold_answer(self) -> str:
        return self.answer("right")


def split_of(operand: str) -> Split:
    """The one split an operand belongs to."""
    share = int.from_bytes(hashlib.sha256(operand.encode()).digest()[:4], "big") % 100
    return next(split for end, split in SPLIT_ENDS if share < end)


def draw_operand(rng: random.Random, split: Split) -> str:
    """A random operand of `split` that repeats at least one letter."""
    while True:
        operand = "".join(rng.choices(LETTERS, k=OPERAND_LENGTH))
        if len(set(operand)) < OPERAND_LENGTH and split_of(operand) == split:
            return operand


def draw_question(rng: random.Random, split: Split) -> Question:
    """A random question of `split`; every operation is equally likely."""
    return Question(rng.choice(tuple(OPERATIONS)), draw_operand(rng, split))


def distinct_questions(split: Split, count: int, *, seed: int) -> list[Question]:
    """`count` questions of `split` without a repeated operand, operations in turn so that each is equally frequent."""
    rng = random.Random(f"{split}/{seed}")
    operations = tuple(OPERATIONS)
    operands: dict[str, None] = {}
    while len(operands) < count:
        operands[draw_operand(rng, split)] = None
    return [Question(operations[i % len(operations)], operand) for i, operand in enumerate(operands)]


@dataclass(frozen=True)
class QuestionFile:
    """One committed JSONL file of questions; `gold` says whether it may hold answers (evaluation only)."""

    split: Split
    count: int
    gold: bool

    def lines(self, world: int = 0) -> Iterator[str]:
        for index, question in enumerate(distinct_questions(self.split, self.count, seed=2 * world)):
            row: dict[str, object] = {
                "id": f"{self.split}-{index:04d}",
                "messages": [{"role": "user", "content": question.text}],
            }
            if self.gold:
                row["answer"] = question.gold_answer
            yield json.dumps(row)


FILES = (
    QuestionFile("sft", 1200, gold=False),
    QuestionFile("preference", 720, gold=False),
    QuestionFile("selection", 198, gold=True),
    QuestionFile("report", 600, gold=True),
)


ANCHORS = 48


def anchor_lines(world: int = 0) -> Iterator[str]:
    """Labelled pairs to measure judges on: operands of the preference split that its file does not have. The wrong
    answer is in turn a slip, too long, and too short, so that length tells nothing."""
    asked = {question.operand for question in distinct_questions("preference", 720, seed=2 * world)}
    questions = (q for q in distinct_questions("preference", 1000, seed=2 * world + 1) if q.operand not in asked)
    for index, question in enumerate(islice(questions, ANCHORS)):
        right = question.gold_answer
        wrongs = [question.answer("slip"), question.answer("long"), right[:-1]]
        turned = wrongs[index // len(OPERATIONS) % 3 :] + wrongs
        wrong = next(text for text in turned if text != right)
        yield json.dumps({"id": f"anchor-{index:02d}", "prompt": question.text, "chosen": right, "rejected": wrong})


def write_files(folder: Path, world: int = 0) -> None:
    """Write every question file, and the labelled pairs; the same bytes each time. World 0 is the committed one, the
    others ask other questions."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        (folder / f"{file.split}.jsonl").write_text(
            "".join(f"{line}\n" for line in file.lines(world)), encoding="utf-8"
        )
    (folder / "anchors.jsonl").write_text("".join(f"{line}\n" for line in anchor_lines(world)), encoding="utf-8")
