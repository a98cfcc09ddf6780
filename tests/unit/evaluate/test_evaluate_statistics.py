"""Figures against numbers computed by hand, and intervals that cover as often as they say."""

import numpy as np
import pytest

from moaa.evaluate.statistics import (
    CHUNK_CELLS,
    Estimate,
    gain,
    mean_estimate,
    mean_of_means,
    paired,
)


def test_mean_of_scores() -> None:
    found = mean_estimate([1.0, 0.0, 0.5, 0.5], resamples=2000, confidence=0.95)
    assert found.mean == 0.5
    assert found.rows == 4
    assert found.low is not None
    assert found.high is not None
    # Exact: the mean of 4 draws from {0, 1/4: 1/2 twice, 1}: P(mean <= 1/8) = 9/256 > 2.5 %, P(mean = 0) = 1/256.
    assert (found.low, found.high) == (0.125, 0.875)


def test_two_questions_by_hand() -> None:
    """Means of two draws from {0, 1} are 0, 1/2, 1 with 1/4, 1/2, 1/4: the middle 40 % is 1/2, 60 % is everything."""
    narrow = mean_estimate([0.0, 1.0], resamples=4000, confidence=0.4)
    wide = mean_estimate([0.0, 1.0], resamples=4000, confidence=0.6)
    assert (narrow.low, narrow.high) == (0.5, 0.5)
    assert (wide.low, wide.high) == (0.0, 1.0)


def test_intervals_are_reproducible_and_shrink_with_rows() -> None:
    few, many = [0.0, 1.0] * 10, [0.0, 1.0] * 1000
    assert mean_estimate(few, resamples=500, confidence=0.95) == mean_estimate(few, resamples=500, confidence=0.95)
    a, b = (mean_estimate(s, resamples=500, confidence=0.95) for s in (few, many))
    assert a.low is not None
    assert a.high is not None
    assert b.low is not None
    assert b.high is not None
    assert (b.high - b.low) / (a.high - a.low) == pytest.approx(0.1, rel=0.15)


def test_equal_scores_have_no_width() -> None:
    assert mean_estimate([0.25] * 9, resamples=100, confidence=0.95) == Estimate(0.25, 0.25, 0.25, 9)


def test_one_question_has_no_interval() -> None:
    assert mean_estimate([1.0], resamples=100, confidence=0.95) == Estimate(1.0, None, None, 1)


@pytest.mark.parametrize("benchmarks", [[], [[]], [[1.0], []]])
def test_no_scores_are_refused(benchmarks: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one score in every benchmark"):
        mean_of_means(benchmarks, resamples=100, confidence=0.95)


def test_benchmarks_weigh_the_same_whatever_their_size() -> None:
    found = mean_of_means([[1.0, 1.0], [0.0] * 98], resamples=100, confidence=0.95)
    assert found == Estimate(0.5, 0.5, 0.5, 100)


def test_draws_in_chunks_cover_every_resample() -> None:
    size = CHUNK_CELLS // 64
    found = mean_estimate([0.5] * size, resamples=130, confidence=0.9)
    assert found == Estimate(0.5, 0.5, 0.5, size)


def test_pairs_are_by_question() -> None:
    assert paired({"b": 1.0, "a": 0.5, "x": 1.0}, {"a": 0.25, "b": 0.0, "y": 1.0}) == [0.25, 1.0]


def test_gain_is_the_mean_of_paired_differences() -> None:
    before = {"m": {"1": 0.0, "2": 1.0}, "n": {"1": 0.5}}
    after = {"m": {"1": 1.0, "2": 1.0, "3": 1.0}, "n": {"1": 0.25}}
    assert gain(after, before, resamples=100, confidence=0.95) == Estimate((0.5 - 0.25) / 2, None, None, 3)


def test_pairing_removes_what_questions_have_in_common() -> None:
    rng = np.random.default_rng(0)
    before = {str(i): float(s) for i, s in enumerate(rng.random(200))}
    after = {i: s + 0.01 for i, s in before.items()}
    found = gain({"m": after}, {"m": before}, resamples=200, confidence=0.95)
    assert found.low == pytest.approx(0.01)
    assert found.high == pytest.approx(0.01)


def test_students_without_common_questions_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="benchmark m: no question"):
        gain({"m": {"1": 1.0}}, {"m": {"2": 1.0}}, resamples=100, confidence=0.95)
    with pytest.raises(ValueError, match="benchmarks differ"):
        gain({"m": {"1": 1.0}}, {}, resamples=100, confidence=0.95)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """300 data sets of 100 questions with true mean 0.3: a 90 % interval covers 270 of them, give or take."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        found = mean_estimate((rng.random(100) < 0.3).tolist(), resamples=300, confidence=0.9)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.3 <= found.high
    assert 0.85 <= covered / 300 <= 0.95
