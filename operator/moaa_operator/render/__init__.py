"""Render what the operator wants to exist, as plain manifests. Pure: resource, results and settings in, objects out.

Every object carries an owner reference, the run's label, its role and a digest of what of the resource it was made
from (`context`). Names are a function of owner, stage, fingerprint and attempt (`names`), so that rendering twice is
harmless. What servers consist of is to be applied. ConfigMaps, Jobs and RayJobs are to be created once, since what
they say is of the moment they were made in. Nothing here asks a cluster, a store or a clock.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.contract.job import StageJob
from moaa.errors import Problem
from moaa.plan.kinds.kind import Alone, OnRay, Sharded
from moaa.plan.kinds.table import KINDS
from moaa.weights.served import ServedModel
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import Check, Owner
from moaa_operator.render import admission, names, pod, rayjob, server
from moaa_operator.render import job as jobs
from moaa_operator.render.context import RenderContext
from moaa_operator.render.serving import fitting
from moaa_operator.settings import Settings


@dataclass(frozen=True)
class Rendered:
    """The manifests of one MoAA; what a decision asks for is made here."""

    context: RenderContext

    def refusals(self, missing: Collection[str] = ()) -> list[Problem]:
        """Every field of the resource that a cluster cannot carry out, or that the installation does not allow.

        `missing` are kinds of objects that this cluster does not know.
        """
        resource, settings = self.context.resource, self.context.settings
        found = [*admission.refusals(resource, settings.allowed), *fitting.too_large(resource, settings.machine_gpus)]
        return [*found, *fitting.without_groups(resource, missing)]

    def policies(self) -> list[Manifest]:
        """Who reaches the run's pods."""
        return pod.policies(self.context)

    def servers(
        self, models: Iterable[ServedModel], replicas: Mapping[str, int] = MappingProxyType({})
    ) -> list[Manifest]:
        """Service and Deployment, or LeaderWorkerSet, of every model, each once.

        `replicas` are those of declared models; others have what `serving.replicas` says.

        Raises:
            ResourceError: weights that pods cannot reach, or a template that says what it may not.
        """
        return server.servers(self.context, models, replicas)

    def gang(self, stage: str, fingerprint: str, members: list[str], *, attempt: int) -> str:
        """The name of the pod group of servers that an attempt brings up together."""
        return names.gang_of(self.context.owner, stage, fingerprint, attempt, members)

    def server_url(self, model: ServedModel) -> str:
        """Where a model answers once its server is up, up to /v1; for `StageJob.endpoints`."""
        return server.url(self.context, model)

    def stage(self, job: StageJob, *, attempt: int, shards: int | None) -> list[Manifest]:
        """What carries out one attempt of a stage: its job file, then a RayJob for training, else a Job.

        `shards` None: one pod works on the whole stage; otherwise one pod a shard, and `finalise` afterwards.

        Raises:
            ResourceError: the workers' template says what it may not.
            StageError: the job file is too large for a ConfigMap.
        """
        match KINDS[job.kind].runs:
            case Alone() | Sharded():
                return jobs.stage_job(self.context, job, attempt=attempt, shards=shards)
            case OnRay():
                return rayjob.ray_job(self.context, job, attempt=attempt)
            case other:
                assert_never(other)

    def finalise(self, job: StageJob, *, attempt: int) -> list[Manifest]:
        """A light Job that publishes the manifest from finished shards, or reads the one there is, and answers with the
        result.

        Raises:
            StageError: the job file is too large for a ConfigMap.
        """
        return jobs.finalise_job(self.context, job, attempt=attempt)

    def check(self, job: Spec, role: Check, *, attempt: int) -> list[Manifest]:
        """A light Job that asks the store, with `job` as its file.

        PREFLIGHT tries bucket, credentials and conditional puts. INSPECT looks up results that the status lacks.

        Raises:
            StageError: the job file is too large for a ConfigMap.
        """
        return jobs.check_job(self.context, job, role, attempt=attempt)


def bind(resource: MoAA, owner: Owner, settings: Settings) -> Rendered:
    """The rendering of one MoAA. A `moaa_operator.decide.renderer.Renderer`."""
    return Rendered(RenderContext(resource, owner, settings))
