"""What `moaa search` prints and writes: every trial, how the best differs from the base, and the best as YAML."""

import json
from collections.abc import Iterator

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moaa.search.space import PROMPTS, Space
from moaa.search.trials import Searched, Tried, best, gain
from moaa.tables import Fitted

REFUSED_SHOWN = 5


def trial_line(one: Tried, number: int) -> str:
    """Told as soon as a trial is measured."""
    found = f"failed: {one.problem}" if one.problem else f"{100 * one.value:.1f}"
    return f"trial {number}, {one.run.arm} ({one.run.name}): {found}"


def result_view(space: Space, found: Searched) -> RenderableType:
    """A table, the best first, then sentences and the mixture to copy."""
    table = Table(title=f"{space.search.metadata.name}: {len(found.tried) - 1} mixtures tried", title_justify="left")
    table.add_column("mixture")
    for name in ("score", "minus base", f"USD / {PROMPTS:,}", f"GPU-h / {PROMPTS:,}"):
        table.add_column(name, justify="right", no_wrap=True)
    measured = sorted((one for one in found.tried if one.scores), key=lambda one: -one.value)
    for one in measured:
        table.add_row(one.run.arm, f"{100 * one.value:.1f}", _difference(space, found, one), *_costs(one))
    least = (f"GPU-h / {PROMPTS:,}", f"USD / {PROMPTS:,}", "minus base")
    return Group(Fitted(table, least), *map(Text, _sentences(space, found)), Text(mixture_yaml(best(found.tried))))


def _difference(space: Space, found: Searched, one: Tried) -> str:
    base, evaluation = found.tried[0], space.resource.spec.evaluation
    if one is base:
        return ""
    interval = gain(
        one,
        base,
        resamples=evaluation.bootstrap,
        confidence=float(evaluation.confidence),
        compared=len(found.tried) - 1,
    )
    if interval.low is None or interval.high is None:
        return f"{100 * interval.mean:+.1f}"
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def _costs(one: Tried) -> tuple[str, str]:
    usd, hours = one.cost.usd, one.cost.gpu_hours
    return "?" if usd is None else f"{usd:.2f}", "?" if hours is None else f"{hours:.2f}"


def _sentences(space: Space, found: Searched) -> Iterator[str]:
    confidence = float(space.resource.spec.evaluation.confidence)
    yield (
        f"Intervals hold at {100 * confidence:g} % for all {len(found.tried) - 1} mixtures at once. The best of many "
        "is a little lucky all the same: measure it on questions that the search has not seen."
    )
    if len(found.tried) - 1 < space.search.trials:
        yield f"{space.search.trials} trials were asked for; nothing else was suggested that is within the limits"
    for one in found.tried:
        if one.problem:
            yield f"{one.run.arm} could not be measured: {one.problem}"
    listed = list(found.refused.items())
    for name, why in listed[:REFUSED_SHOWN]:
        yield f"not tried: {name}: {why}"
    if len(listed) > REFUSED_SHOWN:
        yield f"not tried: {len(listed) - REFUSED_SHOWN} more, in search.json"


def mixture_yaml(one: Tried) -> str:
    """The mixture as it stands in a resource."""
    spec = one.run.resource.model_dump(mode="json", by_alias=True, exclude_unset=True)["spec"]
    text: str = yaml.safe_dump({"mixture": spec["mixture"]}, sort_keys=False, allow_unicode=True)
    return text


def result_json(found: Searched) -> str:
    """For programs: every trial with its scores by benchmark and question."""
    trials = [
        {
            "mixture": one.run.arm,
            "run": one.run.name,
            "score": one.value if one.scores else None,
            "usd": None if one.cost.usd is None else str(one.cost.usd),
            "gpuHours": one.cost.gpu_hours,
            "problem": one.problem,
            "scores": one.scores,
        }
        for one in found.tried
    ]
    return json.dumps({"trials": trials, "refused": found.refused}, indent=1, ensure_ascii=False) + "\n"
