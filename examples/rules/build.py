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
class Size:
    """How much each of the cast is taught."""

    topics: int
    """Of a member's lessons, the first of the taught ones: one lesson for each of its rules."""
    epochs: int
    """Of a member."""
    chair_topics: int
    aggregated: int
    """Lessons of the chair, each once: triples of proposals."""
    judged: int
    """And pairs of answers, each shown in both orders."""


SIZES: Mapping[str, Size] = {
    "small": Size(topics=20, epochs=4, chair_topics=20, aggregated=140, judged=50),
    "whole": Size(topics=40, epochs=3, chair_topics=80, aggregated=500, judged=250),
}
LEARNING_RATE = 1e-4


def lessons(name: str, world: World, size: Size, *, seed: int) -> list[Lesson]:
    rules = [BY_NAME[rule] for rule in world.rules]
    prompts = effective(load(RESOURCE).spec.prompts)
    if name == CHAIR:
        teacher = Teacher(taught(seed)[: size.chair_topics], rules, prompts, seed=str(seed))
        return [*teacher.aggregate(size.aggregated), *teacher.judge(size.judged)]
    topics = taught(seed)[: size.topics]
    own = [rule for rule in rules if rule.name in CAST[name]]
    return list(Teacher(topics, rules, prompts, seed=f"{name}/{seed}").solo(own, topics))


def build(name: str, base: Path, out: Path, learnt: Sequence[Lesson], epochs: int, *, seed: str) -> None:
    """Teach one of the cast and write it to `out`/`name`, unless it is there."""
    folder = out / name
    if folder.exists():
        log.info("%s is there: nothing to teach", folder)
        return
    started = time.monotonic()
    tokenizer = load_tokenizer(base)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    teach(model, tokenizer, learnt, epochs=epochs, learning_rate=LEARNING_RATE, seed=seed)
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
        learnt = lessons(name, world, size, seed=options.seed)
        epochs, order = (1, f"{options.seed}") if name == CHAIR else (size.epochs, f"{name}/{options.seed}")
        build(name, options.base, options.out, learnt, epochs, seed=order)


if __name__ == "__main__":
    main()
