"""Teach the cast, from SmolLM2-135M-Instruct, and write each as a Hugging Face folder.

    python -m examples.rules.build --world small --out runs/rules/models

A folder that is there is kept: it appears under its name only when it is whole. The same seed draws the same lessons.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from examples.real.build import QUIET
from examples.rules.data import WORLDS, World
from examples.rules.lessons import CAST, Lesson, Teacher
from examples.rules.rules import BY_NAME
from examples.rules.topics import taught
from examples.rules.train import teach
from moaa.api.prompts import effective
from moaa.api.reading.load import load
from moaa_jobs.training.rows.tokenizer import load_tokenizer

log = logging.getLogger(__name__)
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
    "whole": Size(40, 3, 80, (Chair(aggregated=400, judged=150), Chair(council=400, judged=100))),
}
LEARNING_RATE = 1e-4


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


def build(name: str, base: Path, out: Path, taught_by: Sequence[Course]) -> None:
    """Teach one of the cast and write it to `out`/`name`, unless it is there."""
    folder = out / name
    if folder.exists():
        log.info("%s is there: nothing to teach", folder)
        return
    started = time.monotonic()
    tokenizer = load_tokenizer(base)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    for course in taught_by:
        teach(model, tokenizer, course.lessons, epochs=course.epochs, learning_rate=LEARNING_RATE, seed=course.seed)
    unfinished = out / f"{name}.{os.getpid()}.unfinished"
    try:
        shutil.copytree(base, unfinished)
        model.save_pretrained(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    log.info("%s taught in %.0f s", folder, time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=list(WORLDS), required=True)
    parser.add_argument("--base", type=Path, default=Path("runs/real/model"), help="made by examples.real.build")
    parser.add_argument("--out", type=Path, required=True, help="gets one folder for each model")
    parser.add_argument("--only", choices=[*CAST, CHAIR], nargs="+", default=[*CAST, CHAIR])
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other lessons and their order")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.update(QUIET)
    torch.set_num_threads(options.threads)
    world, size = WORLDS[options.world], SIZES[options.world]
    for name in options.only:
        build(name, options.base, options.out, courses(name, world, size, seed=options.seed))


if __name__ == "__main__":
    main()
