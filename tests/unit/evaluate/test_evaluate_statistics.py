"""Figures against numbers computed by hand, and intervals that cover as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.evaluate.statistics import (
    CHUNK_CELLS,
    Estimate,
    equal_length_scores,
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


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def equal_length_rate(scores: list[float], lengths: list[float], baseline_lengths: list[float]) -> float | None:
    values = equal_length_scores(scores, lengths, baseline_lengths)
    return None if values is None else float(np.mean(values))


def test_length_control_recovers_the_model_it_fits() -> None:
    """Soft labels exactly from sigmoid(w tanh(d / std) + b) give back sigmoid(b)."""
    rng = np.random.default_rng(3)
    own, base = rng.integers(100, 3000, size=400).astype(float), np.full(400, 1500.0)
    difference = base - own
    z = -0.8 * np.tanh(difference / difference.std(ddof=1)) + logit(0.4)
    scores = 1 / (1 + np.exp(-z))
    assert equal_length_rate(scores.tolist(), own.tolist(), base.tolist()) == pytest.approx(0.4, abs=1e-4)


def test_length_control_by_hand() -> None:
    """Two groups of opposite length difference: b is the mean of their logits, by symmetry of tanh."""
    own, base = [100.0] * 4 + [300.0] * 4, [200.0] * 8
    scores = [0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0]  # shorter answers win 1/4, longer ones 3/4
    assert equal_length_rate(scores, own, base) == pytest.approx(0.5, abs=1e-5)
    scores = [0.25] * 4 + [0.9] * 4
    expected = 1 / (1 + math.exp(-(logit(0.25) + logit(0.9)) / 2))
    assert equal_length_rate(scores, own, base) == pytest.approx(expected, abs=1e-4)


def test_swapping_the_sides_mirrors_the_rate() -> None:
    rng = np.random.default_rng(5)
    scores, own, base = rng.choice([0.0, 0.5, 1.0], 50), rng.random(50) * 900 + 100, rng.random(50) * 900 + 100
    there = equal_length_rate(scores.tolist(), own.tolist(), base.tolist())
    back = equal_length_rate((1 - scores).tolist(), base.tolist(), own.tolist())
    assert there is not None
    assert back is not None
    assert there + back == pytest.approx(1, abs=1e-6)


def test_length_control_without_length_differences() -> None:
    assert equal_length_rate([1.0, 0.0, 0.5], [5.0, 6.0, 7.0], [5.0, 6.0, 7.0]) == 0.5
    assert equal_length_rate([1.0, 0.0], [5.0, 6.0], [7.0, 8.0]) is None
    assert equal_length_rate([1.0], [5.0], [7.0]) is None


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_length_control_survives_a_clean_sweep(score: float) -> None:
    found = equal_length_rate([score] * 20, [float(i) for i in range(20)], [10.0] * 20)
    assert found == pytest.approx(score, abs=1e-3)


def test_length_control_survives_separation_by_length() -> None:
    found = equal_length_rate([0.0] * 10 + [1.0] * 10, [1.0 + i for i in range(20)], [10.5] * 20)
    assert found is not None
    assert 0.0 <= found <= 1.0


@pytest.mark.parametrize(
    ("scores", "own", "base", "match"),
    [
        ([], [], [], "0 scores"),
        ([1.0], [1.0, 2.0], [1.0, 2.0], "1 scores and 2"),
        ([1.5], [1.0], [2.0], "needs them in"),
    ],
)
def test_length_control_refuses(scores: list[float], own: list[float], base: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        equal_length_rate(scores, own, base)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 400), st.integers(1, 400)), min_size=2, max_size=30
    )
)
@settings(deadline=None)
def test_what_questions_contribute_comes_to_the_length_controlled_win_rate(rows: list[tuple[float, int, int]]) -> None:
    scores, own, other = map(list, zip(*rows, strict=True))
    rate, values = equal_length_rate(scores, own, other), equal_length_scores(scores, own, other)
    assert (rate is None) == (values is None)
    if rate is not None and values is not None:
        assert sum(values) / len(values) == pytest.approx(rate, abs=1e-6)


def test_without_a_difference_in_length_questions_contribute_their_scores() -> None:
    assert equal_length_scores([1.0, 0.5, 0.0], [7, 8, 9], [7, 8, 9]) == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("slope", [0.0, -0.75, -1.5])
@pytest.mark.parametrize("longer", [-600.0, 600.0])
def test_at_equal_length_length_alone_is_no_gain_whatever_the_judge_makes_of_it(slope: float, longer: float) -> None:
    """Two students of equal skill, one of which writes a third more or less."""
    rng = np.random.default_rng(9)
    base = rng.normal(2000, 400, 400)
    rates = []
    for shift in (0.0, longer):
        own = base + shift + rng.normal(0, 700, 400)
        difference = base - own
        scores = 1 / (1 + np.exp(-(slope * np.tanh(difference / difference.std(ddof=1)) - 0.5)))
        rates.append(equal_length_rate(scores.tolist(), own.tolist(), base.tolist()))
    assert rates[0] == pytest.approx(rates[1], abs=1e-4)
