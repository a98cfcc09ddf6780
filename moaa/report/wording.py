"""Numbers and findings in words. A sentence claims what the figures show and no more."""

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_never

from moaa.evaluate.told import points
from moaa.report.schema import FigureSummary, GainSummary, Headline
from moaa.scoring.figures import Unit


def percent(value: float) -> str:
    """0.4375 is "43.8 %", with a space that no line ends at."""
    return f"{100 * value:.1f}\u00a0%"


def published(figure: FigureSummary) -> str:
    """A figure of the field in its unit: "25.3 %", "7.94 of 10", "–" where there is none."""
    if figure.value is None:
        return "–"
    match figure.unit:
        case Unit.SHARE:
            return percent(figure.value)
        case Unit.GRADE:
            return f"{bare(figure.value, figure.unit)} of 10"
        case Unit.COUNT:
            return bare(figure.value, figure.unit)
        case _:
            assert_never(figure.unit)


def bare(value: float, unit: Unit) -> str:
    """The number alone, where its unit stands above it."""
    match unit:
        case Unit.SHARE:
            return f"{100 * value:.1f}"
        case Unit.GRADE:
            return f"{value:.2f}"
        case Unit.COUNT:
            return count(value)
        case _:
            assert_never(unit)


def seconds(value: float) -> str:
    """5 is "5 s", 90 is "1 min 30 s", 7500 is "2 h 5 min", 100000 is "1 d 3 h"."""
    if value < 60:
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    total = round(value)
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def moment(text: str) -> str:
    """2026-03-02T08:00:00Z is "2026-03-02 08:00"; tables say that times are UTC."""
    return text[:16].replace("T", " ")


def count(value: float) -> str:
    """12 is "12", 15300 is "15.3 k", 266000000 is "266 M"."""
    for start, unit, suffix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= start:
            scaled = value / unit
            return f"{scaled:.0f} {suffix}" if scaled >= 100 else f"{scaled:.1f} {suffix}"
    return f"{value:,.0f}"


def dollars(value: float) -> str:
    return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"


def decimal(value: Decimal) -> str:
    """0.01 is "0.01", 0.000008 is "8e-6"."""
    return f"{value.normalize():e}" if abs(value) < Decimal("0.001") and value else f"{value.normalize():f}"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def interval(low: float | None, high: float | None) -> str:
    """Ends of a gain's interval in points; says so when there is none."""
    return "too few prompts" if low is None or high is None else f"{points(low)} to {points(high)}"


def gain_text(gain: GainSummary, confidence: float) -> str:
    """ "41.0 % to 47.5 % on math (+6.5 points, 95 % interval +2.1 to +10.9, 400 prompts)" """
    spread = "too few prompts for an interval"
    if gain.low is not None and gain.high is not None:
        spread = f"{confidence:.3g} % interval {points(gain.low)} to {points(gain.high)}"
    return (
        f"{percent(gain.baseline_value)} to {percent(gain.candidate_value)} on {gain.benchmark} "
        f"({points(gain.value)} points, {spread}, "
        f"{plural(gain.n, 'prompt')})"
    )


def headline(
    gains: Sequence[GainSummary],
    *,
    promoted: str,
    is_start: bool,
    closed: int,
    progress: tuple[int, int],
    failed: Sequence[str],
    confidence: float,
    against_mixture: Sequence[GainSummary],
) -> Headline:
    """The report's first sentence.

    The evidence is benchmarks that no decision read, if there are any: the others chose the student, so they flatter
    it. `progress` is stages done and in all; `closed` counts finished promotions; `confidence` is in percent.
    """
    done, total = progress
    chosen_by = [g for g in gains if g.use == "selection"]
    evidence = [g for g in gains if g.use == "report"] or chosen_by
    conclusion, verdict = _conclude(
        evidence, promoted=promoted, is_start=is_start, closed=closed, confidence=confidence
    )
    if conclusion == "Open":
        state = f"The run has stopped, {' and '.join(failed)} failed" if failed else "The run is still open"
        verdict = f"{state}: {done} of {plural(total, 'stage')} done, no student promoted yet."
    elif done < total:
        verdict = f"So far, with {done} of {plural(total, 'stage')} done: {verdict[0].lower()}{verdict[1:]}"
    if evidence and conclusion not in ("Open", "NotPromoted"):
        verdict += _aside(chosen_by, is_evidence=evidence is chosen_by, confidence=confidence)
    return Headline.model_validate(
        {
            "conclusion": conclusion,
            "verdict": verdict,
            "promoted": promoted,
            "gains": list(gains),
            "against_mixture": list(against_mixture),
        }
    )


def _aside(chosen_by: Sequence[GainSummary], *, is_evidence: bool, confidence: float) -> str:
    """The sentence on the benchmarks that chose the student."""
    if not chosen_by:
        return ""
    if is_evidence:
        return " The gate chose this student by the same prompts, which flatters it a little."
    told = "; ".join(gain_text(g, confidence) for g in chosen_by)
    return f" On what the gate reads: {told}."


def _conclude(
    gains: Sequence[GainSummary], *, promoted: str, is_start: bool, closed: int, confidence: float
) -> tuple[str, str]:
    """Conclusion and sentence; the sentence of an open run is the caller's."""
    if not closed:
        return "Open", ""
    if is_start:
        return "NotPromoted", "No trained student passed the gate: the student is what it was at the start."
    if not gains:
        return (
            "NotMeasured",
            f"The student is now {promoted}; nothing measured says whether it is better than the start.",
        )
    better = [g for g in gains if g.low is not None and g.low > 0]
    worse = [g for g in gains if g.high is not None and g.high < 0]
    first = gain_text((better or worse or list(gains))[0], confidence)
    rest = len(gains) - len(better) - len(worse)
    unsure = f" On {plural(rest, 'other benchmark')} the change is within noise." if rest and (better or worse) else ""
    if better and worse:
        other = gain_text(worse[0], confidence)
        return "Mixed", f"The student gained and lost: {first}, but {other}.{unsure}"
    if better:
        more = f", and on {plural(len(better) - 1, 'more benchmark')}" if len(better) > 1 else ""
        return "Better", f"The student is better than it was: {first}{more}.{unsure}"
    if worse:
        return "Worse", f"The promoted student is worse than the start: {first}.{unsure}"
    return "WithinNoise", f"No gain stands out from noise: {first}. More prompts would narrow the interval."
