"""What a comparison says in words, and no more than its figures show."""

from collections.abc import Sequence
from typing import assert_never

from moaa.evaluate.told import points
from moaa.experiment.schema import ArmScore, Difference, Finding
from moaa.experiment.subjects import LAST, PROMOTED
from moaa.plan.subjects import MIXTURE
from moaa.report.wording import interval, percent, plural


def verdict(scores: Sequence[ArmScore], baseline: str, *, corrected: float) -> str:
    """The page's first sentence, on the last trained students, or on the mixtures where none was trained.

    Benchmarks that no decision read are the evidence where there are any, as in a run's report.
    """
    told = [s for s in scores if s.subject == LAST] or [s for s in scores if s.subject == MIXTURE]
    listed = [s for s in told if s.difference is not None]
    evidence = [s for s in listed if s.use == "report"] or listed
    if not evidence:
        return f"Nothing measured yet says how any arm differs from {baseline}."
    clear = [s for s in evidence if s.difference and s.difference.finding in (Finding.BETTER, Finding.WORSE)]
    whom = "last trained student" if evidence[0].subject == LAST else "mixture"
    level = f"{100 * corrected:.4g} % intervals, corrected for the number of comparisons"
    if not clear:
        return f"No arm's {whom} stands out from {baseline}'s ({level})."
    parts = "; ".join(_clear(s) for s in clear)
    rest = len(evidence) - len(clear)
    tail = f" {plural(rest, 'other difference')} {'does' if rest == 1 else 'do'} not stand out." if rest else ""
    return f"Against {baseline}'s {whom}: {parts} ({level}).{tail}"


def _clear(score: ArmScore) -> str:
    assert score.difference is not None, "only scores with a difference are told"
    side = "better" if score.difference.finding is Finding.BETTER else "worse"
    return f"{score.arm} is {side} on {score.benchmark}, {points(score.difference.value)} points"


def subject_name(subject: str) -> str:
    """What a subject is, for readers: `i1-sft` is "Iteration 1 SFT"."""
    if subject == LAST:
        return "Last trained student"
    if subject == PROMOTED:
        return "Promoted student"
    if subject == MIXTURE:
        return "The mixture"
    iteration, _, kind = subject.partition("-")
    return f"Iteration {iteration[1:]} {kind.upper()}"


def finding(found: Finding) -> str:
    match found:
        case Finding.BETTER:
            return "better"
        case Finding.WORSE:
            return "worse"
        case Finding.EQUAL:
            return "equal"
        case Finding.WITHIN_NOISE:
            return "within noise"
        case Finding.UNKNOWN:
            return "too few questions"
        case _:
            assert_never(found)


def difference_text(found: Difference) -> str:
    """ "+6.5 (+2.1 to +10.9)" """
    return f"{points(found.value)} ({interval(found.low, found.high)})"


def score_text(score: ArmScore) -> str:
    """ "47.5 % (43.1 to 51.9)" """
    if score.low is None or score.high is None:
        return percent(score.value)
    return f"{percent(score.value)} ({100 * score.low:.1f} to {100 * score.high:.1f})"
