"""Numbers as people write them, and the sentence on top of the report: honest about noise."""

from decimal import Decimal

import pytest

from moaa.evaluate.told import points
from moaa.report import wording
from moaa.report.schema import GainSummary, Headline, Use

NBSP = "\u00a0"


def gain(
    value: float, low: float | None, high: float | None, *, use: Use = "report", name: str = "arena"
) -> GainSummary:
    return GainSummary(
        benchmark=name, use=use, metric="win rate", baseline="start (llama)", candidate="iteration 1 DPO",
        baseline_value=0.5, candidate_value=0.5 + value, value=value, low=low, high=high, n=400,
    )  # fmt: skip


def headline(*gains: GainSummary, **changes: object) -> Headline:
    settings: dict[str, object] = {
        "promoted": "iteration 1 DPO", "is_start": False, "closed": 1, "progress": (9, 9), "failed": [],
        "confidence": 95.0, "against_mixture": [],
    }  # fmt: skip
    return wording.headline(gains, **{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.031, "+3.1"),
        (-0.02, "−2.0"),
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (1e-17, "0.0"),
        (0.0004, "+0.04"),
        (-0.00004321, "−0.004"),
        (0.0005, "+0.1"),
        (1.0, "+100.0"),
    ],
)
def test_points(value: float, text: str) -> None:
    assert points(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.25, "1.2 s"), (42, "42 s"), (90, "1 min 30 s"), (7500, "2 h 5 min"), (100000, "1 d 3 h"), (59.99, "60 s")],
)
def test_seconds(value: float, text: str) -> None:
    assert wording.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (9999, "9,999"), (15300, "15.3 k"), (1.53e5, "153 k"), (266e6, "266 M"), (2.1e9, "2.1 G")],
)
def test_count(value: float, text: str) -> None:
    assert wording.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [("8e-6", "8e-6"), ("0.01", "0.01"), ("3", "3"), ("0", "0"), ("2.50", "2.5")]
)
def test_decimal(value: str, text: str) -> None:
    assert wording.decimal(Decimal(value)) == text


def test_a_gain_beyond_its_interval_is_called_better() -> None:
    head = headline(gain(0.054, 0.021, 0.089))
    assert head.conclusion == "Better"
    assert head.verdict == (
        f"The student is better than it was: 50.0{NBSP}% to 55.4{NBSP}% on arena "
        "(+5.4 points, 95 % interval +2.1 to +8.9, 400 prompts)."
    )


@pytest.mark.parametrize(
    ("gains", "conclusion", "phrase"),
    [
        ([gain(0.02, -0.01, 0.05)], "WithinNoise", "No gain stands out from noise"),
        ([gain(0.02, 0.0, 0.05)], "WithinNoise", "No gain stands out from noise"),
        ([gain(-0.05, -0.08, -0.02)], "Worse", "worse than the start"),
        ([gain(0.05, 0.01, 0.09), gain(-0.05, -0.09, -0.01, name="code")], "Mixed", "gained and lost"),
        ([gain(0.05, 0.01, 0.09), gain(0.01, -0.02, 0.04, name="code")], "Better", "within noise"),
        ([gain(0.3, None, None)], "WithinNoise", "too few prompts"),
        ([], "NotMeasured", "nothing measured"),
    ],
)
def test_conclusions(gains: list[GainSummary], conclusion: str, phrase: str) -> None:
    head = headline(*gains)
    assert head.conclusion == conclusion
    assert phrase in head.verdict


def test_what_chose_the_student_is_no_evidence_when_there_is_better() -> None:
    head = headline(gain(0.2, 0.1, 0.3, use="selection", name="math"), gain(0.01, -0.02, 0.04))
    assert head.conclusion == "WithinNoise", "the report benchmark decides"
    assert "On what the gate reads: 50.0" in head.verdict


def test_evidence_that_also_chose_the_student_says_so() -> None:
    head = headline(gain(0.2, 0.1, 0.3, use="selection", name="math"))
    assert head.conclusion == "Better"
    assert "flatters" in head.verdict


def test_the_start_that_was_kept_is_no_gain() -> None:
    head = headline(is_start=True, promoted="start (llama)")
    assert head.conclusion == "NotPromoted"
    assert "what it was at the start" in head.verdict


def test_open_runs_say_how_far_they_are() -> None:
    assert headline(closed=0, progress=(3, 9)).verdict == (
        "The run is still open: 3 of 9 stages done, no student promoted yet."
    )
    assert headline(closed=0, progress=(3, 9), failed=["i1-sft"]).verdict.startswith(
        "The run has stopped, i1-sft failed"
    )
    assert headline(gain(0.05, 0.02, 0.08), progress=(9, 17)).verdict.startswith(
        "So far, with 9 of 17 stages done: the student is better"
    )
