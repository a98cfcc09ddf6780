"""The plan's nouns: kinds of stages, a stage, and the graph of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    RESOLVE = "resolve"
    STAGE_DATA = "stage-data"
    GENERATE = "generate"
    SFT = "sft"
    SAMPLE = "sample"
    JUDGE = "judge"
    DPO = "dpo"
    AVERAGE = "average"
    EVALUATE = "evaluate"
    PROMOTE = "promote"
    ANCHORS = "anchors"


@dataclass(frozen=True)
class Stage:
    """One node of the graph.

    A model is named either by its declared name or, when it is a student, by the stage that made it: `@i1-sft` is
    the output `model` of stage i1-sft. `$student` never appears here: the graph has resolved it.
    """

    id: str
    """`i<iteration>-<kind>`, with `-sft`, `-dpo` or `-average` after evaluate; unique in the graph."""
    kind: Kind
    iteration: int
    needs: tuple[str, ...] = ()
    """Stages whose results it reads."""
    serves: tuple[str, ...] = ()
    """Models that must answer while it runs, in the order in which rows first need them."""
    student: str | None = None
    """Training, sample, evaluate and generate: the student concerned, as a declared name or `@stage`."""
    ref_model: str | None = None
    """dpo: whose log-probabilities are the reference."""
    candidates: tuple[str, ...] = ()
    """promote: students that stand for promotion, the previous one first; average: the students before and after."""
    waits: tuple[str, ...] = ()
    """Further stages that have to be done before it starts. It reads nothing of them: what they do again repeats
    nothing here and stops nothing that runs."""

    @property
    def after(self) -> tuple[str, ...]:
        """All stages that come before it."""
        return (*self.needs, *self.waits)


@dataclass(frozen=True)
class Graph:
    stages: Mapping[str, Stage] = field(default_factory=dict)
    """Ordered so that every stage comes after those it needs."""
