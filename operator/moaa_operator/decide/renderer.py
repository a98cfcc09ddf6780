"""`Renderer`: what a decision needs of rendering. Manifests are plain JSON, a pure function of the arguments."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.contract.job import StageJob
from moaa.errors import Problem
from moaa.weights.served import ServedModel
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import Check, Owner
from moaa_operator.settings import Settings


class Rendering(Protocol):
    """`moaa_operator.render.Rendered`, or a test's stand-in. Bound to one MoAA for one decision."""

    def refusals(self, missing: Collection[str] = ...) -> list[Problem]: ...

    def policies(self) -> list[Manifest]: ...

    def servers(self, models: Iterable[ServedModel], replicas: Mapping[str, int] = ...) -> list[Manifest]: ...

    def gang(self, stage: str, fingerprint: str, members: list[str], *, attempt: int) -> str: ...

    def server_url(self, model: ServedModel) -> str: ...

    def stage(self, job: StageJob, *, attempt: int, shards: int | None) -> list[Manifest]: ...

    def finalise(self, job: StageJob, *, attempt: int) -> list[Manifest]: ...

    def check(self, job: Spec, role: Check, *, attempt: int) -> list[Manifest]: ...


Renderer = Callable[[MoAA, Owner, Settings], Rendering]
"""`moaa_operator.render.bind`, or a test's."""
