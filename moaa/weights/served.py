"""Which servers answer for the models that stages name, and under which names. Pure.

A promoted student is the folder that an earlier stage wrote, or the declared student: one server answers for every
name of the same weights, so that a promotion never loads them a second time.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from moaa.api import MoAA
from moaa.api.models import Endpoint
from moaa.plan.ids import RESOLVE, made_by
from moaa.plan.kinds.table import STUDENTS
from moaa.plan.result import StageResult
from moaa.plan.stage import Kind
from moaa.weights.find import find


@dataclass(frozen=True)
class ServedModel:
    """Weights to serve."""

    name: str
    """A declared model's name, or `@<stage>` for a student."""
    digest: str
    """Of the weights."""
    source: str | None
    """The declared model's, with its scheme; None for a student."""
    folder: str | None
    """Where a student's weights lie, relative to the store's root; None for a declared model."""
    gib: int | None = field(default=None, compare=False)
    """GiB that a server brings, rounded up; of a student as large as the model it was trained from. None: not known, or
    hardly any."""

    @property
    def served_name(self) -> str:
        """What requests call it, and a part of its server's name."""
        return served_name(self.name)


def served_name(name: str) -> str:
    """What requests call a model, also a part of the names of servers and log files.

    >>> served_name("@i1-sft"), served_name("qwen")
    ('student-i1-sft', 'qwen')
    """
    return re.sub(r"[^a-z0-9-]", "", name.replace("@", "student-"))


def server_of(name: str, resource: MoAA, results: Mapping[str, StageResult]) -> ServedModel | None:
    """The server that answers for a name of `Stage.serves`, or None when the model is an endpoint.

    Raises:
        StageError: the stage that makes the student has no result, or one without a model.
    """
    name = _canonical(name, resource, results)
    found = find(name, resource, results)
    if isinstance(found, Endpoint):
        return None
    resolved = results.get(RESOLVE)
    gib = None if resolved is None else resolved.gib_of(found.model.name)
    return ServedModel(name, found.digest, found.source, found.folder, gib)


def servers_of(names: Iterable[str], resource: MoAA, results: Mapping[str, StageResult]) -> dict[str, ServedModel]:
    """`server_of` for those of `names` that we serve; names of the same weights share one."""
    found = {name: server_of(name, resource, results) for name in names}
    return {name: server for name, server in found.items() if server is not None}


def _canonical(name: str, resource: MoAA, results: Mapping[str, StageResult]) -> str:
    """The name under which the weights were made."""
    maker = made_by(name)
    if maker is None or maker not in results or results[maker].kind is not Kind.PROMOTE:
        return name
    if "model" not in results[maker].outputs:
        return name
    made = results[maker].outputs["model"]
    if made.uri is None:
        return resource.spec.student
    twins = [r.stage for r in results.values() if r.kind in STUDENTS and r.outputs["model"].digest == made.digest]
    return f"@{twins[0]}" if twins else name
