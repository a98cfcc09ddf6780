"""What an experiment's file may say, and reading it: a base resource, named arms, a grid, seeds.

    apiVersion: moaa.dev/v1alpha1
    kind: Experiment
    metadata: {name: teachers}
    base: ../paper-llama-8b.yaml
    arms:
      mixture: {}
      one-teacher: {spec: {mixture: {layers: [{proposers: [{model: wizardlm}]}]}}}
    grid: {spec.training.dpo.beta: ["0.01", "0.1"]}
    seeds: [0, 1]

The first arm is the one that the others are compared with.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

from pydantic import Field, JsonValue, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from moaa.api.base import Spec
from moaa.api.reading.load import read_text
from moaa.api.reading.wording import shown, suggestion, value_at
from moaa.api.reading.yaml_text import Document, Path, path_text, read_documents
from moaa.errors import Problem, ResourceError

MAX_NAME = 17
"""Characters of an arm: a run is called after its arm, a hyphen and six digits, and has at most 24."""
ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=MAX_NAME)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


FileT = TypeVar("FileT", bound=Spec)


class ExperimentMetadata(Spec):
    name: Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=63)]


class Patch(Spec):
    """What an arm changes, as a JSON merge patch of the base (RFC 7396): mappings are merged, null removes, and
    everything else, lists too, replaces what stood there."""

    spec: dict[str, JsonValue] = {}


class Experiment(Spec):
    """Arms of one base resource, for comparison."""

    api_version: Literal["moaa.dev/v1alpha1"]
    kind: Literal["Experiment"]
    metadata: ExperimentMetadata
    base: Annotated[str, StringConstraints(min_length=1)]
    """Path of a MoAA file, from the experiment's own folder. All arms use its storage."""
    common: Patch = Patch()
    """What every arm changes, before its own patch."""
    arms: Annotated[dict[ArmName, Patch], Field(min_length=1, max_length=64)] = {"base": Patch()}
    """By name; the first is what the others are compared with."""
    grid: Annotated[dict[str, Annotated[list[JsonValue], Field(min_length=1, max_length=64)]], Field(max_length=8)] = {}
    """Fields (spec.training.dpo.beta, spec.data.sft[0].limit) and their values; every arm is tried with every
    combination."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=64)] | None = None
    """Each arm runs once with each; absent: once, with the base's seed."""


def read_experiment(path: FilePath) -> tuple[Experiment, list[Problem]]:
    """The experiment, and every mistake of the file itself; with mistakes, it lacks the fields and arms that hold them.

    Raises:
        ResourceError: the file cannot be read, or nothing is left of it that could be read on.
    """
    document = read_mapping(path, "Experiment")
    try:
        experiment = parsed(path, document, Experiment, {("metadata",): ExperimentMetadata, ("common",): Patch})
    except ResourceError as error:
        cause = error.__cause__
        assert isinstance(cause, ValidationError), "what is wrong in a field was found by its class"
        rest = _without(document.value, [details["loc"] for details in cause.errors(include_url=False)])
        try:
            return Experiment.model_validate(rest, strict=True, by_alias=True, by_name=False), list(error.problems)
        except ValidationError:
            raise error from None
    seeds = experiment.seeds or []
    doubled = Problem("seeds", "", "hold one twice; write each once", document.line(("seeds",)))
    return experiment, [] if len(set(seeds)) == len(seeds) else [doubled]


def _without(value: object, places: Iterable[tuple[int | str, ...]]) -> dict[str, object]:
    """The mapping without the arms, the fields of the grid and the other fields in which these places lie."""
    rest: dict[str, object] = dict(value) if isinstance(value, dict) else {}
    for first, *further in places:
        entries = rest.get(str(first))
        if first in ("arms", "grid") and further and isinstance(entries, dict):
            rest[str(first)] = {name: entry for name, entry in entries.items() if name != further[0]}
        else:
            rest.pop(str(first), None)
    return {name: entry for name, entry in rest.items() if name != "arms" or entry}


def read_mapping(path: FilePath, kind: str) -> Document:
    """The one mapping of a file of that kind. Raises ResourceError: it cannot be read, or holds something else."""
    documents = read_documents(read_text(path))
    if broken := [problem for document in documents for problem in document.problems]:
        raise ResourceError(str(path), broken)
    if not documents:
        raise _one(path, f"holds nothing; write a file of kind {kind}")
    if len(documents) > 1:
        raise _one(path, f"holds {len(documents)} documents; keep the one of kind {kind}")
    if not isinstance(documents[0].value, dict):
        raise _one(path, f"is not a mapping of fields; it starts with apiVersion, kind: {kind}, metadata")
    return documents[0]


def parsed(
    path: FilePath, document: Document, kind: type[FileT], parts: Mapping[Path, type[Spec]] = MappingProxyType({})
) -> FileT:
    """The document as `kind`. `parts` are the classes of fields below it, for the names that a mistake is told.

    Raises:
        ResourceError: it holds mistakes; all of them are named.
    """
    try:
        return kind.model_validate(document.value, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = [_problem(document, details, {(): kind, **parts}) for details in error.errors(include_url=False)]
        raise ResourceError(str(path), problems) from error


def _problem(document: Document, details: ErrorDetails, parts: Mapping[Path, type[Spec]]) -> Problem:
    path: Path = tuple(step for step in details["loc"] if step != "[key]")
    fields = _fields(path[:-1], parts)
    sentence = {
        "extra_forbidden": f"is not a field here; {suggestion(str(path[-1]), fields, what='fields here')}",
        "missing": "is required",
        "string_pattern_mismatch": "must be lower-case letters, digits and '-', starting with a letter",
        "string_too_long": f"is too long; an arm's name has at most {MAX_NAME} characters",
        "too_short": "is empty; give it an entry",
        "literal_error": f"is not read by this command; write {details.get('ctx', {}).get('expected')}",
    }.get(details["type"], details["msg"][:1].lower() + details["msg"][1:])
    return Problem(path_text(path), shown(value_at(document.value, path), path), sentence, document.line(path))


def _fields(path: Path, parts: Mapping[Path, type[Spec]]) -> list[str]:
    kind = Patch if path[:1] == ("arms",) else parts.get(path, parts[()])
    return [info.alias or name for name, info in kind.model_fields.items()]


def _one(path: FilePath, sentence: str) -> ResourceError:
    return ResourceError(str(path), [Problem(".", "", sentence)])
