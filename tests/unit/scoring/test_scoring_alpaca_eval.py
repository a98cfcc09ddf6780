"""AlpacaEval 2 on made-up verdicts; `python -m benchmarks.official` holds it against published figures."""

import numpy as np
import pytest

from moaa.scoring.alpaca_eval import Gamed, Known, length_controlled, score_of, win_rate
from moaa.scoring.length import Judged, Subject
from moaa.scoring.logistic import sigmoid

COUNT = 400
RNG = np.random.default_rng(11)
GAMMA = RNG.normal(size=COUNT)
OWN, BASELINE = RNG.integers(200, 3000, COUNT), RNG.integers(800, 2500, COUNT)
NAMES = [str(i) for i in range(COUNT)]
DIFFICULTY = dict(zip(NAMES, map(float, GAMMA), strict=True))


def made(length: float, difficulty: float, model: float) -> Subject:
    """Soft verdicts that follow the model of length control exactly."""
    delta = BASELINE - OWN
    scores = sigmoid(length * np.tanh(delta / delta.std(ddof=1)) + difficulty * GAMMA + model)
    rows = zip(map(float, scores), map(float, OWN), map(float, BASELINE), strict=True)
    return {name: Judged(*row) for name, row in zip(NAMES, rows, strict=True)}


def gamed(length: float, difficulty: float) -> list[Gamed]:
    x = RNG.normal(size=COUNT)
    scores = sigmoid(length * np.tanh(x) + difficulty * GAMMA)
    return [Gamed(name, float(s), float(d)) for name, s, d in zip(NAMES, scores, x, strict=True)]


@pytest.mark.parametrize(("preference", "score"), [(1.0, 0.0), (2.0, 1.0), (1.5, 0.5), (0.0, 0.5), (1.25, 0.25)])
def test_preferences_are_scores(preference: float, score: float) -> None:
    assert score_of(preference) == score


@pytest.mark.parametrize("preference", [0.5, -1.0, 2.1])
def test_other_preferences_are_refused(preference: float) -> None:
    with pytest.raises(ValueError, match="AlpacaEval's are 0"):
        score_of(preference)


def test_raw_win_rate_by_hand() -> None:
    found = win_rate([1.0, 0.75, 0.5, 0.25])
    assert (found.rate, found.discrete) == (0.625, 0.625)
    assert (found.wins, found.losses, found.draws) == (2, 1, 1)
    assert found.standard_error == pytest.approx(np.std([1.0, 0.75, 0.5, 0.25], ddof=1) / 2)
    with pytest.raises(ValueError, match="at least one score"):
        win_rate([])


def test_the_model_of_length_control_is_recovered() -> None:
    found = length_controlled(made(-1.2, 0.8, -0.6), Known(DIFFICULTY, gamed(-1.2, 0.8)))
    assert found.weights == pytest.approx((-1.2, 0.8, -0.6), abs=1e-3)
    expected = sigmoid(0.8 * GAMMA - 0.6)
    assert found.rate == pytest.approx(expected.mean(), abs=1e-4)
    assert found.rate != pytest.approx(
        float(sigmoid(np.array(-0.6))), abs=5e-3
    )  # the mean over questions, not the middle one
    assert found.standard_error == pytest.approx(expected.std(ddof=1) / np.sqrt(COUNT), rel=1e-3)
    assert np.mean(list(found.contributions.values())) == pytest.approx(found.rate, abs=1e-9)


def test_gamed_rows_weigh_a_tenth() -> None:
    """They pull the slope towards theirs; ten times as many rows at a tenth weigh as much as the model's own."""
    own, pull = made(0.0, 0.8, -0.6), gamed(-2.0, 0.8)
    alone = length_controlled(own, Known(DIFFICULTY, [])).weights[0]
    few = length_controlled(own, Known(DIFFICULTY, pull)).weights[0]
    many = length_controlled(own, Known(DIFFICULTY, pull * 10)).weights[0]
    assert alone == pytest.approx(0.0, abs=1e-3)
    assert -0.4 < few < -0.1
    assert -1.4 < many < -0.8


def test_difficulty_goes_by_question_whatever_the_order_and_whatever_is_missing() -> None:
    known = Known(DIFFICULTY, gamed(-1.2, 0.8))
    whole = made(-1.2, 0.8, -0.6)
    backwards = {name: whole[name] for name in reversed(NAMES)}
    assert length_controlled(backwards, known).rate == pytest.approx(length_controlled(whole, known).rate, abs=1e-9)
    lacking = {name: row for name, row in whole.items() if name != "3"}
    assert length_controlled(lacking, known).weights == pytest.approx((-1.2, 0.8, -0.6), abs=0.02)


def test_length_control_needs_difficulty_and_a_spread_of_lengths() -> None:
    rows = made(-1.2, 0.8, -0.6)
    with pytest.raises(ValueError, match="399 questions have no difficulty, the first is '1'"):
        length_controlled(rows, Known({"0": 0.1}, []))
    with pytest.raises(ValueError, match="no row"):
        length_controlled({}, Known(DIFFICULTY, []))
    same = {name: Judged(0.5, row.baseline_length, row.baseline_length) for name, row in rows.items()}
    with pytest.raises(ValueError, match="50 % by definition"):
        length_controlled(same, Known(DIFFICULTY, []))
