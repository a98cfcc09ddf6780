"""Order, layout and schedule: same rows a step whatever the workers, every row once an epoch."""

import math
import random
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.api.training import LearningRateSchedule
from moaa_jobs.training.rows.order import (
    batches,
    bins_of_rows,
    bins_of_tokens,
    fill_sequences,
    lay_out,
    lay_out_sequences,
    learning_rate_factor,
    pack,
)

COSINE = LearningRateSchedule.COSINE


@given(
    rows=st.integers(1, 60),
    epochs=st.decimals("0.2", "4", places=1),
    batch_size=st.integers(1, 16),
    seed=st.integers(0, 3),
)
def test_every_row_is_seen_as_often_as_every_other_give_or_take_one(
    rows: int, epochs: Decimal, batch_size: int, seed: int
) -> None:
    steps = batches(rows, epochs=epochs, batch_size=batch_size, seed=seed)
    assert all(len(batch) == batch_size for batch in steps)
    seen = Counter(row for batch in steps for row in batch)
    counts = [seen[row] for row in range(rows)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) - epochs * rows < batch_size
    assert sum(counts) >= epochs * rows


def test_order_depends_on_the_seed_only() -> None:
    first = batches(20, epochs=Decimal(2), batch_size=5, seed=1)
    assert first == batches(20, epochs=Decimal(2), batch_size=5, seed=1)
    assert first != batches(20, epochs=Decimal(2), batch_size=5, seed=2)
    assert first[:4] != first[4:]


def test_bins_follow_each_other_as_the_sampler_hands_them_out() -> None:
    layout = lay_out([[1, 2, 3, 4, 5, 6, 7, 8]], widths=[5] * 9, workers=2, micro_batch_size=2)
    assert layout.accumulation == 2
    assert layout.bins == [[1, 2], [3, 4], [5, 6], [7, 8]]


@given(
    widths=st.lists(st.integers(1, 50), min_size=16, max_size=40),
    workers=st.sampled_from([1, 2, 4]),
    micro=st.sampled_from([1, 2, 4]),
)
def test_a_step_keeps_its_rows_and_takes_no_more_slots_than_in_any_order(
    widths: list[int], workers: int, micro: int
) -> None:
    steps = batches(len(widths), epochs=Decimal(2), batch_size=16, seed=0)
    layout = lay_out(steps, widths=widths, workers=workers, micro_batch_size=micro)
    of_step = layout.accumulation * workers

    def slots(bins: list[list[int]]) -> int:
        """Of all micro-steps: every worker waits for the widest bin."""
        return sum(
            max(widths[row] for item in bins[i : i + workers] for row in item) for i in range(0, of_step, workers)
        )

    for step, batch in enumerate(steps):
        bins = layout.bins[step * of_step : (step + 1) * of_step]
        assert sorted(row for item in bins for row in item) == sorted(batch)
        assert slots(bins) <= slots([batch[i : i + micro] for i in range(0, 16, micro)])


def test_wide_rows_share_a_micro_step() -> None:
    layout = lay_out([[0, 1, 2, 3, 4, 5, 6, 7]], widths=[1, 9, 2, 8, 3, 7, 4, 6], workers=2, micro_batch_size=2)
    assert layout.bins == [[1, 3], [5, 7], [6, 4], [2, 0]]


@given(
    lengths=st.lists(st.integers(1, 50), min_size=16, max_size=40),
    workers=st.sampled_from([1, 2, 4]),
    micro=st.sampled_from([1, 2, 4]),
)
def test_packing_keeps_the_rows_of_every_step_within_capacity(lengths: list[int], workers: int, micro: int) -> None:
    steps = batches(len(lengths), epochs=Decimal(2), batch_size=16, seed=0)
    layout = pack(steps, lengths=lengths, workers=workers, micro_batch_size=micro, capacity=micro * 50)
    plain = lay_out(steps, widths=lengths, workers=workers, micro_batch_size=micro)
    assert layout.accumulation <= plain.accumulation
    of_step = layout.accumulation * workers
    assert len(layout.bins) == len(steps) * of_step
    for step, batch in enumerate(steps):
        bins = layout.bins[step * of_step : (step + 1) * of_step]
        assert sorted(row for item in bins for row in item) == sorted(batch)
        assert all(item for item in bins)
        assert all(sum(lengths[row] for row in item) <= micro * 50 for item in bins)


def test_rows_to_be_looked_at_once_are_cut_by_count_or_by_tokens() -> None:
    sizes = [3, 9, 1, 7, 5]
    assert bins_of_rows([0, 1, 3, 4], widths=sizes, micro_batch_size=3) == [[1, 3, 4], [0]]
    assert bins_of_tokens([0, 1, 2, 3, 4], lengths=sizes, capacity=12) == [[1], [3, 4], [0, 2]]
    assert bins_of_tokens([], lengths=sizes, capacity=12) == []


def test_packing_takes_as_few_micro_steps_as_the_fullest_step_needs() -> None:
    lengths = [10] * 16
    layout = pack([list(range(16))], lengths=lengths, workers=2, micro_batch_size=1, capacity=40)
    assert layout.accumulation == 2
    assert all(len(item) == 4 for item in layout.bins)


@pytest.mark.parametrize(("workers", "micro"), [(2, 4), (4, 2), (1, 8)])
def test_even_the_fewest_micro_steps_are_filled_evenly(workers: int, micro: int) -> None:
    """One micro-step holds the whole step: its workers wait for the longest bin."""
    lengths = [100, 90, 80, 70, 10, 10, 20, 20]
    layout = pack([list(range(8))], lengths=lengths, workers=workers, micro_batch_size=micro, capacity=micro * 100)
    assert layout.accumulation == 1
    loads = [sum(lengths[row] for row in rows) for rows in layout.bins]
    assert len(loads) == workers
    assert sum(loads) / (workers * max(loads)) >= 0.95


def factor(step: int, schedule: LearningRateSchedule = COSINE, min_ratio: float = 0.0) -> float:
    return learning_rate_factor(step, steps=10, warmup_steps=2, schedule=schedule, min_ratio=min_ratio)


def test_the_learning_rate_warms_up_and_falls_as_half_a_cosine() -> None:
    rates = [factor(step) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.5)
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)
    assert factor(10) == pytest.approx(0.0)


def test_a_line_falls_evenly_and_a_constant_does_not() -> None:
    assert [factor(step, LearningRateSchedule.LINEAR) for step in (2, 4, 6, 10)] == pytest.approx([1, 0.75, 0.5, 0])
    assert [factor(step, LearningRateSchedule.CONSTANT) for step in (0, 2, 10)] == pytest.approx([1 / 3, 1, 1])


@pytest.mark.parametrize("schedule", [COSINE, LearningRateSchedule.LINEAR])
def test_the_rate_ends_at_its_least_part_and_warms_up_as_ever(schedule: LearningRateSchedule) -> None:
    rates = [factor(step, schedule, 0.2) for step in range(12)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.6)
    assert rates[10:] == pytest.approx([0.2, 0.2])


def test_without_warm_up_the_first_step_is_the_highest() -> None:
    assert learning_rate_factor(0, steps=4, warmup_steps=0, schedule=COSINE, min_ratio=0.0) == 1.0


def test_sequences_are_filled_with_whole_rows() -> None:
    lengths = [random.Random(i).randint(10, 600) for i in range(500)]
    filled = fill_sequences(lengths, capacity=1000)
    assert sorted(row for rows in filled for row in rows) == list(range(500)), "each row once"
    loads = [sum(lengths[row] for row in rows) for rows in filled]
    assert max(loads) <= 1000
    assert sum(loads) > 0.97 * 1000 * len(filled)
    assert fill_sequences([3, 9, 6, 4], capacity=10) == [[1], [2, 3], [0]]
    assert fill_sequences([5, 5, 5], capacity=5) == [[0], [1], [2]]


def test_a_batch_of_sequences_is_the_same_for_any_number_of_workers() -> None:
    lengths = [20 + 13 * i % 70 for i in range(200)]
    sequences = fill_sequences(lengths, capacity=100)
    steps = batches(len(sequences), epochs=Decimal(2), batch_size=8, seed=3)
    assert len(steps) == math.ceil(2 * len(sequences) / 8)
    layouts = {
        workers: lay_out_sequences(steps, sequences=sequences, lengths=lengths, workers=workers, micro_batch_size=micro)
        for workers, micro in ((1, 1), (4, 2), (2, 2))
    }
    rows_of_steps = []
    for workers, layout in layouts.items():
        size = layout.accumulation * workers
        assert len(layout.bins) == size * len(steps)
        of_steps = [layout.bins[i : i + size] for i in range(0, len(layout.bins), size)]
        rows_of_steps.append([sorted(row for rows in bins for row in rows) for bins in of_steps])
        assert max(sum(lengths[row] for row in rows) for rows in layout.bins) <= 200
    assert rows_of_steps[0] == rows_of_steps[1] == rows_of_steps[2]
    assert layouts[4].accumulation == 1
