"""`lc_estimate` on made-up subjects whose win rate at equal length is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moaa.scoring.length import JUDGE_DEVIATION, LEAST_SCALE, SLOPE, Judged, Subject, lc_estimate
from moaa.scoring.logistic import Floats, sigmoid

COUNT = 500
GAMMA = np.random.default_rng(1).normal(size=COUNT)


def subject(skill: float, *, longer: float, seed: int, hard: bool = False, width: float = 500) -> Subject:
    """A judge with AlpacaEval's taste for length; answers are `longer` characters longer on average."""
    rng = np.random.default_rng(seed)
    baseline = rng.normal(2000, 300, COUNT)
    own = baseline + longer + rng.normal(0, width, COUNT)
    difference = baseline - own
    p = sigmoid(SLOPE * np.tanh(difference / difference.std(ddof=1)) + GAMMA + skill)
    scores = (rng.random(COUNT) < p).astype(float) if hard else p
    rows = zip(map(float, scores), map(float, own), map(float, baseline), strict=True)
    return {str(i): Judged(*row) for i, row in enumerate(rows)}


def true_rate(skill: float) -> float:
    return float(sigmoid(GAMMA + skill).mean())


OTHERS = [
    subject(skill, longer=longer, seed=seed) for seed, (skill, longer) in enumerate([(-1, 300), (0, -200), (1, 0)])
]


@pytest.mark.parametrize("longer", [-400, 0, 400])
def test_length_neither_helps_nor_hurts(longer: float) -> None:
    found = lc_estimate(subject(-0.5, longer=longer, seed=20), OTHERS)
    assert found.rate == pytest.approx(true_rate(-0.5), abs=0.005)
    assert found.others == 3


@pytest.mark.parametrize("longer", [-400, 400])
def test_hard_verdicts_come_near(longer: float) -> None:
    others = [subject(s, longer=0, seed=30 + i, hard=True) for i, s in enumerate((-1, -0.5, 0, 0.5, 1, 1.5))]
    found = lc_estimate(subject(-0.5, longer=longer, seed=21, hard=True), others)
    assert found.rate == pytest.approx(true_rate(-0.5), abs=0.05)


def test_a_judge_that_does_not_care_for_length_makes_short_answers_look_good() -> None:
    """The price of a fixed slope, as the module says; a slope of the judge's own does not pay it."""
    rng = np.random.default_rng(12)
    baseline = rng.normal(2000, 300, COUNT)
    own = 0.7 * baseline + rng.normal(0, 500, COUNT)
    rows = zip(map(float, sigmoid(GAMMA - 0.5)), map(float, own), map(float, baseline), strict=True)
    me = {str(i): Judged(*row) for i, row in enumerate(rows)}
    assert lc_estimate(me, OTHERS).rate - true_rate(-0.5) == pytest.approx(0.17, abs=0.03)
    by_judge = lc_estimate(me, OTHERS, slope_deviation=JUDGE_DEVIATION)
    assert by_judge.rate == pytest.approx(true_rate(-0.5), abs=0.03)


def test_without_other_subjects_difficulty_is_left_out_and_that_is_said() -> None:
    found = lc_estimate(subject(-0.5, longer=0, seed=22), [])
    assert found.others == 0
    assert found.rate == pytest.approx(true_rate(-0.5), abs=0.04)


def test_subjects_that_tell_nothing_do_not_count() -> None:
    me = subject(0.3, longer=200, seed=23)
    itself = {name: Judged(0.5, row.baseline_length, row.baseline_length) for name, row in me.items()}
    stranger = {"elsewhere": Judged(1.0, 1.0, 1.0)}
    alone = lc_estimate(me, [])
    assert lc_estimate(me, [itself, stranger, {}]) == alone
    mixed = lc_estimate(me, [itself, *OTHERS])
    assert mixed.others == 3
    assert mixed.rate == pytest.approx(lc_estimate(me, OTHERS).rate, abs=1e-9)


def test_a_subject_that_lacks_the_hard_questions_shifts_nothing() -> None:
    """Its mean is over easier questions; taken as it is, it would make the ones it lacks look easy."""
    me = subject(-0.5, longer=400, seed=24)
    easy = {name: row for name, row in subject(3.0, longer=0, seed=25).items() if GAMMA[int(name)] > -1}
    assert lc_estimate(me, [*OTHERS, easy]).rate == pytest.approx(true_rate(-0.5), abs=0.01)


def test_without_a_difference_of_length_it_is_the_raw_rate() -> None:
    me = {name: Judged(row.score, 100.0, 100.0) for name, row in subject(0.4, longer=0, seed=26).items()}
    raw = float(np.mean([row.score for row in me.values()]))
    assert lc_estimate(me, []).rate == pytest.approx(raw, abs=1e-5)
    assert lc_estimate(me, OTHERS).rate == pytest.approx(raw, abs=1e-5)


def test_one_character_more_everywhere_is_no_standard_deviation() -> None:
    """Answers of 101 to 103 characters against 100: by their own spread alone they would lose more than 30 points."""
    me = {str(i): Judged(0.5, 101.0 + i % 3, 100.0) for i in range(60)}
    assert lc_estimate(me, []).rate == pytest.approx(float(sigmoid(np.array(SLOPE * np.tanh(2 / 25)))), abs=0.002)
    assert LEAST_SCALE == 0.25


def test_longer_by_the_same_everywhere_is_held_against_it() -> None:
    me = {str(i): Judged(float(i % 4 > 0), 300.0, 100.0) for i in range(60)}
    assert lc_estimate(me, []).rate < 0.5 < 0.75


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_clean_sweep_stays_a_clean_sweep(score: float) -> None:
    me = {str(i): Judged(score, float(i), 10.0) for i in range(20)}
    assert lc_estimate(me, []).rate == pytest.approx(score, abs=2e-3)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        pytest.param({}, "no row", id="nothing"),
        pytest.param(
            {"a": Judged(1.2, 1, 1)}, r"scores from 1.2 to 1.2: a win rate needs scores in \[0, 1\]", id="grade"
        ),
        pytest.param({"a": Judged(-0.1, 1, 1)}, r"in \[0, 1\]", id="negative"),
    ],
)
def test_what_is_no_win_rate_is_refused(rows: Subject, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        lc_estimate(rows, [])


judged = st.builds(Judged, st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 50), st.integers(0, 50))
subjects = st.dictionaries(st.sampled_from("abcdefghij"), judged, min_size=1)


@settings(max_examples=60)
@given(subjects, st.lists(subjects, max_size=3))
def test_contributions_average_to_the_estimate_whatever_the_rows(me: Subject, others: list[Subject]) -> None:
    found = lc_estimate(me, others)
    values: Floats = np.array(list(found.contributions.values()))
    assert list(found.contributions) == list(me)
    assert values.mean() == pytest.approx(found.rate, abs=1e-9)
    assert 0 <= round(found.rate, 9) <= 1
    assert 0 <= found.others <= len(others)
