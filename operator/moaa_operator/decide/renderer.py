"""What control asks of rendering: manifests as plain JSON, a pure function of what it is given."""

from collections.abc import Iterable
from typing import Any, Protocol

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.contract.job import StageJob
from moaa.errors import Problem
from moaa_operator.decide.served import ServedModel
from moaa_operator.kube.owner import Owner
from moaa_operator.settings import Settings

Manifest = dict[str, Any]


class Renderer(Protocol):
    """`moaa_operator.render`, or a stand-in of a test."""

    def refusals(self, resource: MoAA) -> list[Problem]: ...

    def servers(
        self, models: Iterable[ServedModel], resource: MoAA, owner: Owner, settings: Settings
    ) -> list[Manifest]: ...

    def server_url(self, model: ServedModel, owner: Owner) -> str: ...

    def stage_children(
        self, job: StageJob, resource: MoAA, owner: Owner, *, attempt: int, shards: int | None, settings: Settings
    ) -> list[Manifest]: ...

    def finalise_children(
        self, job: StageJob, resource: MoAA, owner: Owner, *, attempt: int, settings: Settings
    ) -> list[Manifest]: ...

    def inspect_children(
        self, job: Spec, resource: MoAA, owner: Owner, *, attempt: int, settings: Settings
    ) -> list[Manifest]: ...

    def preflight_children(
        self, job: Spec, resource: MoAA, owner: Owner, *, attempt: int, settings: Settings
    ) -> list[Manifest]: ...
