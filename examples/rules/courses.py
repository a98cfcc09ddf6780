"""How much each of the cast is taught, and the lessons that come of it; `build.py` teaches them. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from examples.rules.data import World
from examples.rules.lessons import CAST, Lesson, Teacher
from examples.rules.rules import BY_NAME
from examples.rules.topics import taught
from moaa.api.prompts import effective
from moaa.api.reading.load import load

RESOURCE = Path(__file__).resolve().parent / "moaa.yaml"
CHAIR = "chair"


@dataclass(frozen=True)
class Chair:
    """One phase of the chair's lessons, each of which it is taught once."""

    aggregated: int = 0
    """Triples of proposals, wrong ones of any kind."""
    council: int = 0
    """Triples as the members propose."""
    judged: int = 0
    """Pairs of answers, each shown in both orders."""


@dataclass(frozen=True)
class Size:
    """How much each of the cast is taught."""

    topics: int
    """Of a member's lessons, the first of the taught ones: one lesson for each of its rules."""
    epochs: int
    """Of a member."""
    chair_topics: int
    chair: tuple[Chair, ...]


SIZES: Mapping[str, Size] = {
    "small": Size(20, 4, 20, (Chair(aggregated=140, judged=50), Chair(council=160, judged=30))),
    "whole": Size(40, 3, 64, (Chair(aggregated=400, judged=150), Chair(council=400, judged=100))),
}


@dataclass(frozen=True)
class Course:
    """What one of the cast is taught in one go."""

    lessons: list[Lesson]
    epochs: int
    seed: str
    """Of the lessons and their order."""


def courses(name: str, world: World, size: Size, *, seed: int) -> list[Course]:
    rules = [BY_NAME[rule] for rule in world.rules]
    prompts = effective(load(RESOURCE).spec.prompts)
    if name != CHAIR:
        topics, drawn = taught(seed)[: size.topics], f"{name}/{seed}"
        own = [rule for rule in rules if rule.name in CAST[name]]
        return [Course(list(Teacher(topics, rules, prompts, seed=drawn).solo(own, topics)), size.epochs, drawn)]
    found = []
    for number, phase in enumerate(size.chair):
        drawn = f"{seed}/{number}" if number else f"{seed}"
        teacher = Teacher(taught(seed)[: size.chair_topics], rules, prompts, seed=drawn)
        made = (teacher.aggregate(phase.aggregated), teacher.council(phase.council), teacher.judge(phase.judged))
        found.append(Course(list(chain.from_iterable(made)), 1, drawn))
    return found
