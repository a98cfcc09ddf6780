"""Which rows are not trained on but measured, as training goes on. Pure.

Prompts are drawn, not rows: all rows of one prompt, and all sequences of a row, fall on one side. Which prompts depends
on their text, the share and the run's seed; never on the order of rows, on workers or on attempts.
"""

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal

from moaa.conversation import Message


def prompt_of(messages: Sequence[Message]) -> str:
    """What a row begins with, up to its first answer, as a key: equal prompts have equal keys."""
    asked: list[tuple[str, str]] = []
    for message in messages:
        if message["role"] == "assistant":
            break
        asked.append((message["role"], message["content"].strip()))
    return json.dumps(asked)


def held_out(prompts: Sequence[str], *, share: Decimal, seed: int) -> frozenset[str]:
    """Part `share` of the different prompts, one at least; fewer than all of them, so none of a single one."""
    different = sorted(set(prompts), key=lambda prompt: hashlib.sha256(f"{seed}/{prompt}".encode()).digest())
    count = min(max(1, int(share * len(different))), len(different) - 1)
    return frozenset(different[:count])


def passes(rows: Sequence[int], *, workers: int) -> list[Sequence[int]]:
    """Rows of every pass, a worker each; what is left over is looked at by all workers, row by row.

    >>> passes([5, 6, 7, 8, 9], workers=3)
    [[5, 6, 7], [8], [9]]
    """
    whole = len(rows) - len(rows) % workers
    return [*(rows[i : i + workers] for i in range(0, whole, workers)), *([row] for row in rows[whole:])]


def mean_over(values: Sequence[float], looks: Sequence[Sequence[int]]) -> float:
    """The mean over rows, of a mean over each pass's rows."""
    return sum(value * len(rows) for value, rows in zip(values, looks, strict=True)) / sum(map(len, looks))
