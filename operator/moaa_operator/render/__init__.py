"""What the operator wants to exist, as plain manifests. Pure: resource, results and settings in, objects out.

Every object carries an owner reference, the run's label, its role and a digest of what of the resource it was made
from (`labels`). Names are a function of owner, stage, fingerprint and attempt (`names`), so that rendering twice is
harmless. Deployments and Services are to be applied; ConfigMaps, Jobs and RayJobs are to be created once, since what
they say is of the moment they were made in. Nothing here asks a cluster, a store or a clock.
"""

from collections.abc import Iterable

from moaa.api import MoAA
from moaa.api.base import Spec
from moaa.contract.job import StageJob
from moaa.plan.kinds.table import TRAINING
from moaa_operator.decide.served import ServedModel
from moaa_operator.kube.owner import Owner
from moaa_operator.render import job as jobs
from moaa_operator.render import rayjob, server
from moaa_operator.render.admission import refusals
from moaa_operator.render.metadata import Manifest, Role
from moaa_operator.settings import Settings


def servers(models: Iterable[ServedModel], resource: MoAA, owner: Owner, settings: Settings) -> list[Manifest]:
    """Service and Deployment of every model, each once.

    Raises:
        ResourceError: weights that pods cannot reach, or a template that says what it may not.
    """
    return server.servers(models, resource, owner, settings)


def server_url(model: ServedModel, owner: Owner) -> str:
    """Where a model answers once its server is up, up to /v1; for `StageJob.endpoints`."""
    return server.url(owner, model)


def stage_children(
    job: StageJob, resource: MoAA, owner: Owner, *, attempt: int, shards: int | None, settings: Settings
) -> list[Manifest]:
    """What carries out one attempt of a stage: its job file, then a RayJob for training, else a Job.

    `shards` None: one pod works on the whole stage; otherwise one pod a shard, and `finalise_children` afterwards.

    Raises:
        ResourceError: the workers' template says what it may not.
        StageError: the job file is too large for a ConfigMap.
    """
    if job.kind in TRAINING:
        return rayjob.ray_job(job, resource, owner, attempt=attempt, settings=settings)
    return jobs.stage_job(job, resource, owner, attempt=attempt, shards=shards, settings=settings)


def finalise_children(
    job: StageJob, resource: MoAA, owner: Owner, *, attempt: int, settings: Settings
) -> list[Manifest]:
    """A light Job that publishes the manifest from finished shards, or reads the one there is, and answers with the
    result. Raises StageError as `stage_children`."""
    return jobs.finalise_job(job, resource, owner, attempt=attempt, settings=settings)


def inspect_children(job: Spec, resource: MoAA, owner: Owner, *, attempt: int, settings: Settings) -> list[Manifest]:
    """A light Job that looks up results which the status lacks; `job` is the file that `moaa_jobs inspect` reads."""
    return jobs.check_job(job, resource, owner, Role.INSPECT, attempt=attempt, settings=settings)


def preflight_children(job: Spec, resource: MoAA, owner: Owner, *, attempt: int, settings: Settings) -> list[Manifest]:
    """A light Job that tries the store: bucket, credentials, conditional puts."""
    return jobs.check_job(job, resource, owner, Role.PREFLIGHT, attempt=attempt, settings=settings)


__all__ = [
    "Manifest",
    "Role",
    "finalise_children",
    "inspect_children",
    "preflight_children",
    "refusals",
    "server_url",
    "servers",
    "stage_children",
]
