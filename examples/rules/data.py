"""Write a world's prompts as JSON lines, in IFEval's row format: `prompt`, `instruction_id_list`, `kwargs`.

    python -m examples.rules.data --world small --out runs/rules/seed-0/data

Training prompts are about taught topics, those of the report about topics that no lesson and no training prompt names.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.rules.lessons import FORMS, Question, Teacher
from examples.rules.rules import BY_NAME
from examples.rules.topics import REPORT, SELECTION, taught

ANCHORS = 48
UNTAUGHT = 16
"""Topics with sentences, the last ones of a seed, that are in no lesson of the chair."""


@dataclass(frozen=True)
class World:
    """A size: which rules, about how many topics."""

    rules: tuple[str, ...]
    sft: int
    """Topics of the prompts that the mixture answers, the first of the taught ones."""
    preference: int
    """Topics of the prompts that the student samples, the next ones."""
    report: int

    @property
    def taught(self) -> int:
        """Topics of the cast's lessons."""
        return self.sft + self.preference


WORLDS: Mapping[str, World] = {
    "small": World(("title", "upper", "end", "json", "quotation", "lower"), sft=12, preference=8, report=16),
    "whole": World(tuple(BY_NAME), sft=48, preference=32, report=20),
}


def questions(topics: Sequence[str], rules: Sequence[str], *, form: int, seed: str) -> Iterator[Question]:
    """One of every topic and rule. Calls with another `form` ask no question twice."""
    rng = random.Random(seed)
    for number, topic in enumerate(topics):
        for place, rule in enumerate(BY_NAME[name] for name in rules):
            asked = FORMS[(form + number + place) % len(FORMS)]
            yield Question(topic, asked, rule, rng.choice(rule.arguments))


def questions_in_every_form(topics: Sequence[str], rules: Sequence[str], *, seed: str) -> Iterator[Question]:
    """One of every topic, rule and form."""
    for form in range(len(FORMS)):
        yield from questions(topics, rules, form=form, seed=f"{seed}/{form}")


def row(question: Question, name: str) -> dict[str, object]:
    return {
        "id": name,
        "prompt": question.text,
        "instruction_id_list": [question.rule.instruction_id],
        "kwargs": [dict(question.kwargs)],
    }


def files(world: World, *, seed: int) -> dict[str, list[Question]]:
    """Questions by the name of their file. The report's are the same for every seed."""
    topics = taught(seed)
    return {
        "sft": list(questions(topics[: world.sft], world.rules, form=0, seed=f"sft/{seed}")),
        "preference": list(questions(topics[world.sft : world.taught], world.rules, form=1, seed=f"pairs/{seed}")),
        "selection": list(questions(SELECTION[: world.report], world.rules, form=2, seed="selection")),
        "report": list(questions(REPORT[: world.report], world.rules, form=2, seed="report")),
    }


def anchors(world: World, *, seed: int) -> Iterator[dict[str, object]]:
    """Labelled pairs to measure judges on, about topics of which the chair has no lessons."""
    rules = [BY_NAME[name] for name in world.rules]
    teacher = Teacher(taught(seed)[-UNTAUGHT:], rules, {}, seed=f"anchors/{seed}")
    for number, (question, right, wrong) in enumerate(teacher.pairs(ANCHORS)):
        yield {"id": f"anchor-{number:02d}", "prompt": question.text, "chosen": right, "rejected": wrong}


def write(world: World, out: Path, *, seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "anchors.jsonl").write_text(_lines(anchors(world, seed=seed)))
    for name, asked in files(world, seed=seed).items():
        rows = (row(question, f"{name}-{number:04d}") for number, question in enumerate(asked))
        (out / f"{name}.jsonl").write_text(_lines(rows))


def _lines(rows: Iterable[dict[str, object]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=list(WORLDS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="another seed takes other topics to train on")
    options = parser.parse_args()
    write(WORLDS[options.world], options.out, seed=options.seed)


if __name__ == "__main__":
    main()
