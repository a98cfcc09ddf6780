"""Which rows each optimiser step holds, and how they are laid out over workers and micro-steps. Pure.

The rows of a step depend on seed, row count, batch size and epochs only, never on workers or packing: a run that goes
on with another number of workers trains on the same batches. Every batch is full. Where a batch counts sequences
(`batchOf`), these take the place of rows; what they hold depends on the rows' lengths and maxLength alone. A *bin* is
what one worker holds at a time; a step has accumulation × workers bins, in the order in which the sampler hands them
out.
"""

import bisect
import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from moaa.api.training import LearningRateSchedule

Batch = list[int]
"""Row indices of one optimiser step."""


def count_steps(rows: int, *, epochs: Decimal, batch_size: int) -> int:
    return math.ceil(epochs * rows / batch_size)


def batches(rows: int, *, epochs: Decimal, batch_size: int, seed: int) -> list[Batch]:
    """Row indices of every step.

    The stream of rows is one permutation after another; the last batch is filled from the permutation that follows, so
    fewer than `batch_size` rows are seen once more than `epochs` asks for, and none is dropped.
    """
    needed = count_steps(rows, epochs=epochs, batch_size=batch_size) * batch_size
    stream: list[int] = []
    epoch = 0
    while len(stream) < needed:
        permutation = list(range(rows))
        random.Random(f"{seed}/{epoch}").shuffle(permutation)
        stream += permutation
        epoch += 1
    return [stream[i : i + batch_size] for i in range(0, needed, batch_size)]


@dataclass(frozen=True)
class Layout:
    """Bins of all steps: `bins[(step * accumulation + micro_step) * workers + worker]` is a list of rows."""

    bins: list[list[int]]
    accumulation: int
    """Micro-steps of each optimiser step."""


def lay_out(steps: Sequence[Batch], *, widths: Sequence[int], workers: int, micro_batch_size: int) -> Layout:
    """Bins of `micro_batch_size` rows each, to be padded to their widest row. The batch size is divisible by workers ×
    micro_batch_size (checked in the resource).

    A step's rows go from wide to narrow: those of a bin are alike, so little is padding, and so are the bins of a
    micro-step, so its workers finish together. The step holds the same rows in any order.
    """
    bins = [one for batch in steps for one in bins_of_rows(batch, widths=widths, micro_batch_size=micro_batch_size)]
    return Layout(bins=bins, accumulation=len(steps[0]) // (workers * micro_batch_size))


def fill_sequences(lengths: Sequence[int], *, capacity: int) -> list[list[int]]:
    """Rows of every sequence of at most `capacity` tokens, by best-fit decreasing as TRL packs (`bfd`): the longest row
    first, each into the fullest sequence that has room. No row is longer than `capacity`, and none is cut.

    >>> fill_sequences([3, 9, 6, 4], capacity=10)
    [[1], [2, 3], [0]]
    """
    filled: list[list[int]] = []
    rooms: list[tuple[int, int]] = []
    """Of sequences that are not full, with their number; ascending."""
    for row in widest_first(range(len(lengths)), lengths):
        place = bisect.bisect_left(rooms, (lengths[row], -1))
        if place < len(rooms):
            room, number = rooms.pop(place)
            filled[number].append(row)
        else:
            room, number = capacity, len(filled)
            filled.append([row])
        if room > lengths[row]:
            bisect.insort(rooms, (room - lengths[row], number))
    return filled


def lay_out_sequences(
    steps: Sequence[Batch],
    *,
    sequences: Sequence[Sequence[int]],
    lengths: Sequence[int],
    workers: int,
    micro_batch_size: int,
) -> Layout:
    """Bins of `micro_batch_size` sequences each, given as the rows in them. `steps` hold numbers of sequences;
    `lengths` are those of rows."""
    loads = [sum(lengths[row] for row in rows) for rows in sequences]
    layout = lay_out(steps, widths=loads, workers=workers, micro_batch_size=micro_batch_size)
    bins = [[row for number in one for row in sequences[number]] for one in layout.bins]
    return Layout(bins=bins, accumulation=layout.accumulation)


def widest_first(rows: Sequence[int], widths: Sequence[int]) -> list[int]:
    return sorted(rows, key=lambda row: (-widths[row], row))


def pack(
    steps: Sequence[Batch], *, lengths: Sequence[int], workers: int, micro_batch_size: int, capacity: int
) -> Layout:
    """Bins of at most `capacity` tokens, the most that `micro_batch_size` rows can have, as few micro-steps as will do,
    evenly filled.

    A step holds the same rows as without packing, so the gradient is the same; only the padding and the short
    micro-steps go. The number of micro-steps must be one for all steps, so it is what the fullest step needs.
    """
    most = len(steps[0]) // (workers * micro_batch_size)
    fullest = max(sum(lengths[row] for row in batch) for batch in steps)
    for accumulation in range(max(1, math.ceil(fullest / (workers * capacity))), most + 1):
        bins: list[list[int]] = []
        for batch in steps:
            filled = _fill(batch, lengths, accumulation * workers, capacity)
            if filled is None:
                break
            bins += filled
        else:
            return Layout(bins=bins, accumulation=accumulation)
    return lay_out(steps, widths=lengths, workers=workers, micro_batch_size=micro_batch_size)


def _fill(batch: Batch, lengths: Sequence[int], count: int, capacity: int) -> list[list[int]] | None:
    """`count` bins, each longest remaining row into the emptiest bin; None when one would overflow.

    Neighbouring bins are alike in size, so that the workers of one micro-step finish together.
    """
    heap: list[tuple[int, int]] = [(0, i) for i in range(count)]
    bins: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for row in widest_first(batch, lengths):
        load, i = heapq.heappop(heap)
        loads[i] = load + lengths[row]
        if loads[i] > capacity:
            return None
        bins[i].append(row)
        heapq.heappush(heap, (loads[i], i))
    return [bins[i] for i in sorted(range(count), key=lambda i: (-loads[i], i))]


def bins_of_rows(rows: Sequence[int], *, widths: Sequence[int], micro_batch_size: int) -> list[list[int]]:
    """Rows to be looked at once, padded, from wide to narrow; the last bin may hold fewer."""
    ordered = widest_first(rows, widths)
    return [ordered[i : i + micro_batch_size] for i in range(0, len(ordered), micro_batch_size)]


def bins_of_tokens(rows: Sequence[int], *, lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows to be looked at once, end to end: as many neighbours by length as `capacity` tokens hold, at least one."""
    bins: list[list[int]] = []
    room = 0
    for row in widest_first(rows, lengths):
        if not bins or lengths[row] > room:
            bins.append([])
            room = capacity
        bins[-1].append(row)
        room -= lengths[row]
    return bins


def learning_rate_factor(
    step: int, *, steps: int, warmup_steps: int, schedule: LearningRateSchedule, min_ratio: float
) -> float:
    """Linear warm-up, then `schedule` down to `min_ratio` at `steps`; multiplies the peak learning rate of step `step`
    (from 0)."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    match schedule:
        case LearningRateSchedule.COSINE:
            left = 0.5 * (1.0 + math.cos(math.pi * progress))
        case LearningRateSchedule.LINEAR:
            left = 1.0 - progress
        case LearningRateSchedule.CONSTANT:
            return 1.0
        case _:
            assert_never(schedule)
    return min_ratio + (1.0 - min_ratio) * left
