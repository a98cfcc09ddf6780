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
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from examples.real.build import QUIET
from examples.rules.courses import CHAIR, SIZES, Course, courses
from examples.rules.data import WORLDS
from examples.rules.lessons import CAST
from examples.rules.train import teach
from moaa_jobs.training.rows.tokenizer import load_tokenizer

log = logging.getLogger(__name__)


LEARNING_RATE = 1e-4


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
