"""What an edit of a field does again, found by trying it: another value in a resource that uses every field, and then
which stages depend on something else than before. Part of `make crd`:

    python -m scripts.reach > moaa/api/crd/repeated.json

Nothing of it is written by hand, so it says what the plan will do. Resources are made up (`reach_example`), their
stages' results too; these stay the same under the edit, so that what is found is what the edit itself repeats. What
rests on that follows by the graph.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Any, Literal, get_args, get_origin

from moaa.api import MoAA, MoAASpec
from moaa.api.base import ModelName, Spec
from moaa.api.crd.reference import ROOT, fields
from moaa.api.evaluation import Benchmark, ExactMatch, Instructions
from moaa.api.mixture import Aggregator, Judge, JudgeModel, Mixture
from moaa.plan.canonical import text_digest
from moaa.plan.digests import Document
from moaa.plan.graph import build
from moaa.plan.history.repeats import REPRODUCIBLE
from moaa.plan.ids import RESOLVE, STAGE_DATA
from moaa.plan.kinds.table import KINDS
from moaa.plan.result import Output, StageResult
from moaa.plan.slices import pinned_sources, staged
from moaa.plan.stage import Graph, Kind
from scripts.reach_example import EXAMPLE, OTHERS

NOTHING = "nothing"
EVERYTHING = "everything"
OTHERWISE = "then what gets other rows or weights"
MODEL_NAME = f"{ROOT}.models[].name"
ROWS = 1000
"""Of every table of the examples."""


@dataclass(frozen=True)
class Tried:
    """A resource, and what each of its stages depends on."""

    resource: MoAA
    graph: Graph
    documents: dict[str, tuple[Document, Document]]

    def differing(self, spec: MoAASpec) -> frozenset[str]:
        """Stages of both that depend on something else under `spec`. Another store holds no result at all."""
        now, then = self.resource.spec.storage, spec.storage
        if (now.uri, now.endpoint) != (then.uri, then.endpoint):
            return frozenset(self.graph.stages)
        other = tried(self.resource.model_copy(update={"spec": spec})).documents
        return frozenset(name for name, said in self.documents.items() if name in other and other[name] != said)


@cache
def examples() -> tuple[Tried, ...]:
    trees = [EXAMPLE, *({**EXAMPLE, "spec": {**EXAMPLE["spec"], **other}} for other in OTHERS)]
    return tuple(tried(MoAA.model_validate(tree)) for tree in trees)


def tried(resource: MoAA) -> Tried:
    graph = build(resource)
    results = _made_up(resource, graph)
    documents = {name: KINDS[stage.kind].document(stage, resource, results) for name, stage in graph.stages.items()}
    return Tried(resource, graph, documents)


def told() -> dict[str, str]:
    """What an edit of each field repeats, in words; nothing of a field that has one value only.

    Raises:
        ValueError: the examples do not use a field.
    """
    every = [field.path for field in fields()[1:]]
    found = {path: stages for path in every if (stages := first_of(path)) is not None}
    single = [path for path in every if path not in found]
    if single != ["spec.training.sft.adapter.type"]:
        raise ValueError(f"scripts/reach_example.py: no example uses {', '.join(single)}; add them there")
    return {path: in_words(stages) for path, stages in found.items()}


def first_of(path: str) -> frozenset[str] | None:
    """Stages that an edit of the field at `path`, or of any below it, repeats by itself. None: there is no edit."""
    # A pod template, which has no fields of its own here, is tried as a whole.
    near = [where for where in _fields_tried() if _is_under(where, path) or _is_under(path, where)]
    return frozenset().union(*map(_first_of_one, near)) if near else None


@cache
def _first_of_one(where: str) -> frozenset[str]:
    """As the first example says in which the field bears on anything: others use what the paper's recipe does not."""
    for number, example in enumerate(examples()):
        if found := frozenset().union(*map(example.differing, _edits(number).get(where, []))):
            return found
    return frozenset()


def _is_under(path: str, root: str) -> bool:
    return path == root or path.startswith((f"{root}.", f"{root}["))


def in_words(first: frozenset[str]) -> str:
    """These stages and what rests on them, as in `anchors, from judge on`.

    Iterations are one here: an edit acts in the open one. Stages behind resolve and stage-data are repeated only where
    those give something else.
    """
    graph = examples()[0].graph
    if not first:
        return NOTHING
    if first == set(graph.stages):
        return EVERYTHING
    order = list(graph.stages)
    reached = {name if name in order else f"i1{name[name.index('-') :]}" for name in first}
    for name in order:
        if name not in reached and (set(graph.stages[name].needs) - set(REPRODUCIBLE)) & reached:
            reached.add(name)
    stages = [graph.stages[name] for name in order if name in reached]
    loop = [stage for stage in graph.stages.values() if stage.iteration == 1 and stage.kind is not Kind.EVALUATE]
    again = [stage for stage in stages if stage in loop]
    is_rest = len(again) > 1 and again == loop[loop.index(again[0]) :]
    parts = [str(stage.kind) for stage in (stages[: stages.index(again[0])] if is_rest else stages)]
    if is_rest:
        parts.append(f"from {again[0].kind} on")
    if reached & set(REPRODUCIBLE) and again != loop:
        parts.append(OTHERWISE)
    return ", ".join(dict.fromkeys(parts))


def _made_up(resource: MoAA, graph: Graph) -> dict[str, StageResult]:
    """Results of all stages that depend on nothing but names."""
    sources = {RESOLVE: [name for name, _ in pinned_sources(resource)], STAGE_DATA: staged(resource)}
    models = {model.name: text_digest(str(number)) for number, model in enumerate(resource.spec.models)}
    return {
        name: StageResult(
            stage=name,
            kind=stage.kind,
            inputs=text_digest(name),
            fingerprint=text_digest(name),
            outputs={
                output: Output(digest=text_digest(f"{name} {output}"), rows=ROWS)
                for output in sources.get(name, KINDS[stage.kind].outputs)
            },
            models=models if name == RESOLVE else {},
        )
        for name, stage in graph.stages.items()
    }


@cache
def _fields_tried() -> list[str]:
    return list(dict.fromkeys(where for number in range(len(examples())) for where in _edits(number)))


@cache
def _edits(number: int) -> dict[str, list[MoAASpec]]:
    """Of an example: every field that holds no further ones, with the spec under another value of it.

    It is tried in one entry of a list, a model's in each, since models do different work. New values are not held
    against rules that join fields: a plan reads them one by one.
    """
    resource = examples()[number].resource
    names = [model.name for model in resource.spec.models]
    found: dict[str, list[MoAASpec]] = {}
    for where, spec in _edited(resource.spec, ROOT, names):
        assert isinstance(spec, MoAASpec)
        if where not in found or where.startswith(f"{ROOT}.models"):
            found.setdefault(where, []).append(spec)
    for name in names:
        tree = _renamed(resource.model_dump(by_alias=True, exclude_none=True, mode="json"), name, "renamed")
        found.setdefault(MODEL_NAME, []).append(MoAA.model_validate(tree).spec)
    return found


def _edited(part: Spec, path: str, names: list[str]) -> Iterator[tuple[str, Spec]]:
    for name, info in type(part).model_fields.items():
        under = f"{path}.{info.alias or name}"
        if under == MODEL_NAME:
            continue  # other fields use it: `_edits` renames it everywhere
        for where, other in _others(getattr(part, name), info.annotation, under, names):
            yield where, part.model_copy(update={**_members(part, name, names[0]), name: other})
    if isinstance(part, Benchmark):
        kind = ExactMatch if isinstance(part, Instructions) else Instructions
        shared = {name: getattr(part, name) for name in Benchmark.model_fields if name != "type"}
        yield f"{path}.type", kind.model_validate({**shared, "type": kind.__name__})


def _members(part: Spec, field: str, model: str) -> dict[str, object]:
    """Whom any other method of a mixture or judge may need."""
    match part:
        case Mixture() if field == "method":
            return {"aggregator": part.aggregator or Aggregator(model=model)}
        case Judge() if field == "method":
            one = JudgeModel(model=model)
            return {"judges": part.judges or [one], "aggregator": part.aggregator or one}
    return {}


def _others(value: object, annotation: Any, path: str, names: list[str]) -> Iterator[tuple[str, object]]:
    """Where something differs, and what stands there then. Nothing for a field that has one value only."""
    match value:
        case Spec():
            yield from _edited(value, path, names)
        case [_, *_]:
            for i, entry in enumerate(value):
                for where, other in _others(entry, annotation, f"{path}[]", names):
                    yield where, [*value[:i], other, *value[i + 1 :]]
        case []:
            yield from ((f"{path}[]", [other]) for other in islice(_values(annotation), 1))
        case dict():
            yield path, {**value, "other": "value"}
        case _:
            is_model = value in names or ModelName in get_args(annotation)
            possible = names if is_model else _values(annotation, value)
            yield from islice(((path, other) for other in possible if other != value), 1)


def _values(annotation: Any, value: object = None) -> Iterator[object]:
    """Values of a type, two at least where it has so many; none of an object. A text is made of the one there is."""
    if annotation is bool:
        yield from (True, False)
    elif annotation is int:
        yield from (3, 4)
    elif annotation is Decimal:
        yield from (Decimal("0.25"), Decimal("0.75"))
    elif annotation is str:
        yield f"{value or ''}x"
    elif isinstance(annotation, type) and issubclass(annotation, StrEnum):
        yield from annotation
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in sorted(get_args(annotation), key=_is_open):
            yield from _values(inner, value)


def _is_open(annotation: Any) -> bool:
    """Whether a type says more than a list of its values."""
    return get_origin(annotation) is not Literal


def _renamed(part: Any, name: str, other: str) -> Any:
    match part:
        case dict():
            return {key: _renamed(value, name, other) for key, value in part.items()}
        case list():
            return [_renamed(value, name, other) for value in part]
        case str() if part == name:
            return other
    return part


if __name__ == "__main__":
    print(json.dumps(told(), indent=1))
