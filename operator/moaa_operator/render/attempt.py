"""The parts of an attempt's Job or RayJob besides its pods: labels, job file, environment, secrets."""

from collections.abc import Sequence
from typing import assert_never

from moaa.api import MoAA
from moaa.api.base import SecretKey, Spec
from moaa.contract import environment, progress
from moaa.contract.job import StageJob
from moaa.errors import StageError
from moaa.plan.kinds.kind import Reads
from moaa.plan.kinds.table import KINDS
from moaa.plan.slices import pinned_sources
from moaa.plan.stage import Kind
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import ATTEMPT_ANNOTATION, FINGERPRINT_ANNOTATION, JOB_FILE, STAGE_LABEL, Role
from moaa_operator.render import pod
from moaa_operator.render.context import Child, RenderContext

TERMINATION_LOG = "/dev/termination-log"
MAX_BYTES = 1000 * 1024
"""Of a job file: a ConfigMap holds 1 MiB with its metadata."""


def of_attempt(job: StageJob, role: Role, name: str, attempt: int) -> Child:
    """A child of one attempt of a stage; labels and annotations say which."""
    notes = {FINGERPRINT_ANNOTATION: job.fingerprint, ATTEMPT_ANNOTATION: str(attempt)}
    return Child(name, role, labels={STAGE_LABEL: job.stage}, annotations=notes)


def job_file(context: RenderContext, child: Child, job: Spec) -> Manifest:
    """An immutable ConfigMap with `job` as JSON.

    Raises:
        StageError: it is larger than a ConfigMap may be.
    """
    text = job.model_dump_json(by_alias=True)
    if len(text.encode()) > MAX_BYTES:
        raise StageError(
            f"{child.name}: its job file has {len(text.encode())} bytes, more than the {MAX_BYTES} of a ConfigMap; "
            "shorten spec.prompts, or split the run into resources with fewer iterations"
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": context.metadata(child, made_from={"job": text}),
        "immutable": True,
        "data": {JOB_FILE: text},
    }


def secrets_of(resource: MoAA, kind: Kind) -> list[SecretKey]:
    """Which of the resource's secrets a stage of this kind needs; storage aside."""
    found = [secret for reads in Reads if reads in KINDS[kind].reads for secret in _secrets(resource, reads)]
    return [secret for secret in found if secret is not None]


def _secrets(resource: MoAA, reads: Reads) -> list[SecretKey | None]:
    spec = resource.spec
    match reads:
        case Reads.HUB_MODELS:
            return [model.token_secret for model in spec.models]
        case Reads.STUDENT:
            return [spec.model(spec.student).token_secret]
        case Reads.ENDPOINTS:
            return [secret for model in spec.models if model.endpoint for secret in model.endpoint.secrets]
        case Reads.DATA:
            return [source.token_secret for _, source in pinned_sources(resource)]
        case _:
            assert_never(reads)


def job_variables(resource: MoAA, secrets: Sequence[SecretKey]) -> list[Manifest]:
    """The environment of every container that runs `python -m moaa_jobs`."""
    given = {
        environment.WORK_DIR: pod.WORK_DIR,
        environment.TERMINATION_LOG: TERMINATION_LOG,
        environment.PROGRESS_PORT: str(progress.PORT),
    }
    return [
        *pod.variables(given),
        *pod.storage_variables(resource.spec.storage),
        *pod.secret_variables(secrets),
    ]
