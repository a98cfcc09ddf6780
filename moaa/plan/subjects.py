"""Which models an evaluate stage measures, and under which labels.

| stage | labels |
|---|---|
| iteration 0 | `base`; with `members` every other proposer by its name, `aggregator`, `mixture` (see below) |
| later | `sft`, `dpo` or `average`, the student of that iteration |

A mixture of method Combined gives no one answer, so it has no `mixture`; one of method Single is its aggregator and
measured as `mixture` alone. A model with two parts is measured once, under the first of `base`, `aggregator` and its
name that applies to it.
"""

from dataclasses import dataclass
from enum import StrEnum

from moaa.api import MoAA
from moaa.plan.graph import benchmarks
from moaa.plan.ids import made_by
from moaa.plan.stage import Stage
from moaa.plan.students import measure, mixture_method, resolved_mixture

BASE, AGGREGATOR, MIXTURE = "base", "aggregator", "mixture"
"""Labels with a meaning of their own. A declared model of that name gets `model-` before it."""
_TAKEN = frozenset({BASE, AGGREGATOR, MIXTURE, "sft", "dpo", "average"})


class How(StrEnum):
    ALONE = "Alone"
    """The model answers by itself."""
    MIXTURE = "Mixture"
    """The whole mixture answers; `model` is the first that may write its answer."""


@dataclass(frozen=True)
class Subject:
    """One row of the results' table."""

    label: str
    how: How
    model: str
    """A name of `Stage.serves`."""


def subjects(resource: MoAA, stage: Stage) -> list[Subject]:
    """In the order of the report. Labels are unique, and no model is measured alone twice.

    Raises:
        ValueError: the stage measures nothing (it is no evaluate stage).
    """
    if stage.student is None:
        raise ValueError(f"{stage.id}: names no student to measure")
    if stage.iteration:
        return [Subject((made_by(stage.student) or "").rpartition("-")[2], How.ALONE, stage.student)]
    found = [Subject(BASE, How.ALONE, stage.student)]
    mixture = resource.spec.mixture
    if resource.spec.evaluation.members and mixture is not None:
        resolved = resolved_mixture(resource, stage)
        aggregator = resolved.aggregator.model if resolved.aggregator and resolved.layers else None
        names = dict.fromkeys(proposer.model for proposer in resolved.proposers)
        alone = [name for name in names if name not in (stage.student, aggregator)]
        found += [Subject(label_of(name), How.ALONE, name) for name in alone]
        if aggregator not in (stage.student, None):
            found.append(Subject(AGGREGATOR, How.ALONE, aggregator))
        method = mixture_method(resource, stage)
        if len(method.names) == 1:
            found.append(Subject(MIXTURE, How.MIXTURE, method.authors[0]))
    measured = {subject.model for subject in found}
    yardsticks = [measure(benchmark, resource, stage).yardstick for benchmark in benchmarks(resource.spec)]
    others = [name for name in dict.fromkeys(yardsticks) if name is not None and name not in measured]
    found += [Subject(label_of(name), How.ALONE, name) for name in others]
    return found


def label_of(model: str) -> str:
    """The label of a declared model that is measured alone."""
    return f"model-{model}" if model in _TAKEN else model
