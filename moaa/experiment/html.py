"""The comparison as one HTML file, in the report's style: nothing is loaded, nothing runs, all text is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment

from moaa.experiment import wording
from moaa.experiment.schema import ArmScore, Comparison, Finding
from moaa.report.draw import charts
from moaa.report.draw.charts import Dot
from moaa.report.figures import SPAN_POINTS, Figure, figure
from moaa.report.html import environment, page_text

SERIES = {Finding.BETTER: 0, Finding.WORSE: 1, Finding.EQUAL: 6, Finding.WITHIN_NOISE: 6, Finding.UNKNOWN: 6}
"""Colours of findings."""


@dataclass(frozen=True)
class _Group:
    """One benchmark."""

    benchmark: str
    metric: str
    use: str
    subjects: Sequence[tuple[str, Sequence[ArmScore]]]
    """Title and lines of every subject."""
    figures: Sequence[Figure]

    @property
    def has_seeds(self) -> bool:
        return any(line.seeds > 1 for _, lines in self.subjects for line in lines)


def render(found: Comparison) -> str:
    """The whole page."""
    names = dict.fromkeys(score.benchmark for score in found.scores)
    groups = [_group(found, [score for score in found.scores if score.benchmark == name]) for name in names]
    return page_text(_environment(), "comparison.html.j2", found=found, groups=groups)


@cache
def _environment() -> Environment:
    """One a process, since it keeps the templates that it has compiled."""
    made = environment("moaa.experiment")
    made.filters["finding"] = wording.finding
    return made


def _group(found: Comparison, scores: Sequence[ArmScore]) -> _Group:
    by_subject = {
        name: [score for score in scores if score.subject == name] for name in dict.fromkeys(s.subject for s in scores)
    }
    first = scores[0]
    shown = next(iter(by_subject))
    title = f"{wording.subject_name(shown)} on {first.benchmark}"
    figures = [_score_figure(title, by_subject[shown], first.metric)]
    if any(score.difference for score in by_subject[shown]):
        figures.append(_difference_figure(title, by_subject[shown], found.baseline))
    titled = [(wording.subject_name(name), lines) for name, lines in by_subject.items()]
    return _Group(first.benchmark, first.metric, first.use, titled, figures)


def _score_figure(title: str, scores: Sequence[ArmScore], metric: str) -> Figure:
    dots = [
        Dot(score.arm, 100 * score.value, _hundred(score.low), _hundred(score.high), wording.score_text(score))
        for score in scores
    ]
    return figure(title, f"{metric.capitalize()}, %.", lambda width: _plot(dots, title, width, bounds=(0, 100)))


def _difference_figure(title: str, scores: Sequence[ArmScore], baseline: str) -> Figure:
    dots = [
        Dot(
            label=score.arm,
            value=100 * found.value,
            low=_hundred(found.low),
            high=_hundred(found.high),
            text=wording.difference_text(found),
            series=SERIES[found.finding],
            shape="diamond",
        )
        for score in scores
        if (found := score.difference) is not None
    ]
    caption = f"Percentage points against {baseline} on the same questions. An interval that holds zero is no evidence."
    return figure(
        f"{title}: difference",
        caption,
        lambda width: _plot(dots, f"{title}: difference", width, bounds=(-100, 100), zero_label=baseline),
    )


def _plot(
    dots: Sequence[Dot], title: str, width: int, *, bounds: tuple[float, float], zero_label: str | None = None
) -> str:
    desc = "; ".join(f"{dot.label}: {dot.text}" for dot in dots)
    return charts.interval_plot(
        dots, title=title, desc=desc, width=width, bounds=bounds, zero_label=zero_label, min_span=SPAN_POINTS
    )


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value
