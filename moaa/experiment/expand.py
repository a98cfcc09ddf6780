"""From an experiment to its runs: every arm, combination of the grid and seed as one checked MoAA resource.

All runs use the base's storage, so a stage that several depend on in the same way is made once. A run is called after
its arm and a digest of its spec: an arm that is edited is another run, which finds what is still the same and never
takes an iteration that was closed under other words for its own.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from pydantic import JsonValue

from moaa.api import MoAA
from moaa.api.reading.load import load, load_document
from moaa.api.reading.yaml_text import path_text
from moaa.errors import Problem, ResourceError, UsageError
from moaa.experiment.file import Experiment, Patch, read_experiment
from moaa.experiment.patch import merged, steps_of, with_field
from moaa.plan.canonical import digest_of
from moaa.plan.history.repeats import differences

DIGEST_CHARS = 6
MAX_VALUE = 40
"""Characters of a grid's value that names an arm."""
OWNED = {
    "storage": "all arms lie in the base's store",
    "suspend": "an experiment starts when it is told to",
    "seed": "write seeds, which every arm runs with, so that arms are compared at equal seeds",
}
"""Fields of spec that neither an arm nor the grid may change, and why."""


@dataclass(frozen=True)
class Run:
    """One resource to carry out."""

    arm: str
    """For readers: the arm's name, with the grid's values. Runs of the same arm differ in their seed alone."""
    seed: int
    resource: MoAA

    @property
    def label(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    @property
    def name(self) -> str:
        return self.resource.metadata.name


@dataclass(frozen=True)
class Expanded:
    """A whole experiment."""

    name: str
    runs: tuple[Run, ...]
    """Arms in the order of the file, and within each the seeds. At least one."""

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.arm for run in self.runs))

    def of(self, arm: str) -> tuple[Run, ...]:
        """The runs of one arm, a seed each."""
        return tuple(run for run in self.runs if run.arm == arm)

    def changes(self, arm: str) -> list[str]:
        """Where an arm differs from the first one, field by field; seeds left out."""
        first, other = (_plain(self.of(name)[0].resource) for name in (self.arms[0], arm))
        return [str(change) for change in differences(first, other, "spec")]

    def only(self, arms: Collection[str]) -> "Expanded":
        """The experiment with the first arm and these.

        Raises:
            UsageError: there is no such arm.
        """
        if unknown := [arm for arm in arms if arm not in self.arms]:
            raise UsageError(f"--arm {unknown[0]}: there is no such arm; the arms are {'; '.join(self.arms)}")
        kept = {self.arms[0], *arms} if arms else set(self.arms)
        return replace(self, runs=tuple(run for run in self.runs if run.arm in kept))


@dataclass(frozen=True)
class _Cell:
    """An arm with one combination of the grid."""

    arm: str
    label: str
    document: dict[str, JsonValue]


@dataclass(frozen=True)
class _Value:
    """One value of the grid."""

    field: str
    number: int
    """From 1."""
    value: JsonValue

    def __str__(self) -> str:
        """`spec.training.dpo.beta` with "0.1" is "beta 0.1"; lists and mappings are named by their number."""
        is_short = not isinstance(self.value, dict | list) and len(str(self.value)) <= MAX_VALUE
        shown = json.dumps(self.value).strip('"') if is_short else f"#{self.number}"
        return f"{path_text(steps_of(self.field)[-1:])} {shown}"


def expand(path: Path) -> Expanded:
    """Read an experiment and check every run of it.

    Raises:
        ResourceError: the file, the base or an arm is wrong; every mistake is named at once, those of arms by arm and
            field. Arms cannot be checked while the base is wrong.
    """
    experiment, problems = read_experiment(path)
    misplaced = list(_misplaced(experiment))
    problems += misplaced
    base = _base(path, experiment.base, problems)
    runs: list[Run] = []
    for cell in _cells(_placed(experiment), base, problems):
        try:
            checked = load_document(cell.document, name=cell.label, folder=path.resolve().parent)
        except ResourceError as error:
            problems += [Problem(f"arm {cell.label}: {p.path}", p.found, p.remedy) for p in error.problems]
            continue
        seeds = list(dict.fromkeys(experiment.seeds or [checked.spec.seed]))
        runs += [Run(cell.label, seed, named(checked, cell.arm, seed)) for seed in seeds]
    problems += [] if misplaced else _doubles(runs)
    if problems:
        raise ResourceError(str(path), problems)
    return Expanded(experiment.metadata.name, tuple(runs))


def _base(path: Path, name: str, problems: Sequence[Problem]) -> MoAA:
    """Raises ResourceError: it holds mistakes; they are told with the `problems` of the experiment's file, if any."""
    try:
        return load(path.parent / name)
    except ResourceError as error:
        if not problems:
            raise
        told = [Problem(f"base {name}: {p.path}", p.found, p.remedy) for p in error.problems]
        raise ResourceError(str(path), [*problems, *told]) from error


def _placed(experiment: Experiment) -> Experiment:
    """Without the fields that `_misplaced` names."""
    patches = {arm: _allowed(patch) for arm, patch in experiment.arms.items()}
    grid = {field: values for field, values in experiment.grid.items() if _refusal(field) is None}
    return experiment.with_(common=_allowed(experiment.common), arms=patches, grid=grid)


def _allowed(patch: Patch) -> Patch:
    return Patch(spec={name: value for name, value in patch.spec.items() if name not in OWNED})


def _misplaced(experiment: Experiment) -> Iterator[Problem]:
    """Fields that an arm or the grid may not change, and paths that are none."""
    patches = {"common": experiment.common, **{f"arms.{arm}": patch for arm, patch in experiment.arms.items()}}
    for place, patch in patches.items():
        for name in [name for name in OWNED if name in patch.spec]:
            yield Problem(f"{place}.spec.{name}", "", f"is not an arm's to change: {OWNED[name]}")
    for field in experiment.grid:
        if (why := _refusal(field)) is not None:
            yield Problem(f"grid.{field}", "", why)


def _refusal(field: str) -> str | None:
    """Why the grid may not change this field; None: it may."""
    try:
        steps = steps_of(field)
    except ValueError as error:
        return str(error)
    if steps[0] != "spec" or len(steps) < 2:
        return "is not a field of spec; write its whole path, as spec.training.dpo.beta"
    return f"is not the grid's to change: {OWNED[str(steps[1])]}" if steps[1] in OWNED else None


def _cells(experiment: Experiment, base: MoAA, problems: list[Problem]) -> Iterator[_Cell]:
    """Every arm under every combination; a field that cannot be set joins `problems`."""
    document = base.model_dump(mode="json", by_alias=True, exclude_unset=True)
    common = merged(document, {"spec": experiment.common.spec})
    axes = [
        [_Value(field, number, value) for number, value in enumerate(values, start=1)]
        for field, values in experiment.grid.items()
    ]
    for arm, patch in experiment.arms.items():
        for values in product(*axes):
            point = {value.field: value.value for value in values}
            label = ", ".join([arm, *map(str, values)])
            try:
                yield _Cell(arm, label, _with_point(merged(common, {"spec": patch.spec}), point))
            except ValueError as error:
                problems.append(Problem(f"arm {label}", "", str(error)))


def _with_point(document: JsonValue, point: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Raises ValueError: a field cannot be set."""
    for field, value in point.items():
        try:
            document = with_field(document, steps_of(field), value)
        except ValueError as error:
            raise ValueError(f"{field} {error}") from error
    assert isinstance(document, dict), "a mapping with fields set is a mapping"
    return document


def named(resource: MoAA, arm: str, seed: int) -> MoAA:
    """The resource with that seed, called after its arm and a digest of all that it asks for."""
    spec = resource.spec.with_(seed=seed)
    digest = _digest(resource.with_(spec=spec))
    metadata = resource.metadata.with_(name=f"{arm}-{digest[:DIGEST_CHARS]}")
    return resource.with_(spec=spec, metadata=metadata)


def _plain(resource: MoAA) -> dict[str, object]:
    return resource.spec.model_dump(mode="json", by_alias=True, exclude={"seed"})


def _digest(resource: MoAA) -> str:
    """Of all that a run is, prices left out: a new price makes no other run."""
    return digest_of(resource.spec.model_dump(mode="json", by_alias=True, exclude={"cost"}))


def _doubles(runs: list[Run]) -> Iterator[Problem]:
    """Arms that ask for the same as an earlier one."""
    first: dict[str, Run] = {}
    for run in runs:
        same = first.setdefault(_digest(run.resource), run)
        if same is not run:
            yield Problem(f"arm {run.arm}", "", f"asks for the same as arm {same.arm} (seed {run.seed}); remove one")
