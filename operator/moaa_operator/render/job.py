"""Jobs: one pod a shard for stages of model calls, one pod for the others, light ones for what ends or checks.

The exit code decides what a failed pod means (`moaa.contract.exits`). PERMANENT ends the Job. FENCED and DEFERRED end
their shard without another try: the operator makes the next attempt. Any other code is tried again a few times within
the attempt. A pod that Kubernetes itself took away does not count. No Job is removed by age: the operator removes it
once its outcome is recorded, since a vanished Job would look like one that never ran.
"""

from collections.abc import Sequence
from typing import assert_never

from moaa.api.base import SecretKey, Spec
from moaa.contract import environment, progress
from moaa.contract.exits import Exit
from moaa.contract.job import StageJob
from moaa.plan.canonical import text_digest
from moaa.plan.kinds.kind import Alone, OnRay, Sharded
from moaa.plan.kinds.table import KINDS
from moaa.plan.stage import Kind
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import ATTEMPT_ANNOTATION, FINGERPRINT_ANNOTATION, STAGE_LABEL, Check, Role
from moaa_operator.render import names, pod
from moaa_operator.render.attempt import job_file, job_variables, of_attempt, secrets_of
from moaa_operator.render.context import Child, RenderContext
from moaa_operator.settings import NodeRole, Settings

CONTAINER = "job"
TRIES_AGAIN = 2
"""Of a pod (of one shard, where there are several) within an attempt; after that the attempt has failed."""
DEADLINE_S = 14 * 24 * 3600
"""A stage's Job that runs longer is ended and tried again."""
LIGHT_DEADLINE_S = 3600
GRACE_S = 60
"""A job that gets SIGTERM flushes its ledger first."""


def stage_job(context: RenderContext, job: StageJob, *, attempt: int, shards: int | None) -> list[Manifest]:
    """ConfigMap and Job of one attempt of a stage that is not training; `shards` None: one pod does it all.

    Raises:
        StageError: the job file is too large for a ConfigMap.
    """
    settings = context.settings
    child = of_attempt(job, Role.STAGE, names.attempt_of(context.owner, job.stage, job.fingerprint, attempt), attempt)
    template = _template(
        context,
        child,
        secrets=secrets_of(context.resource, job.kind),
        resources=pod.requests_with_memory_limit(settings.job_cpu, settings.job_memory),
        variables=[] if shards is None else [_shard_variable()],
        image=settings.jobs_image,
    )
    body = _job(template, DEADLINE_S, tries_again=TRIES_AGAIN)
    if shards is not None:
        body |= _indexed(shards, settings)
    made_from = {"fingerprint": job.fingerprint, "attempt": attempt, "shards": shards}
    return [
        job_file(context, child, job),
        _manifest(context.metadata(context.queued(child), made_from=made_from), body),
    ]


def finalise_job(context: RenderContext, job: StageJob, *, attempt: int) -> list[Manifest]:
    """ConfigMap and light Job that publish the manifest from the finished shards, and answer with the result.

    Model calls are over by then: it gets no endpoint and no secret but the store's.

    Raises:
        StageError: the job file is too large for a ConfigMap.
    """
    child = of_attempt(
        job, Role.FINALISE, names.finalise_of(context.owner, job.stage, job.fingerprint, attempt), attempt
    )
    made_from = {"fingerprint": job.fingerprint, "attempt": attempt}
    body = _light(context, child, image=_image(context.settings, job.kind))
    return [
        job_file(context, child, job),
        _manifest(context.metadata(context.queued(child), made_from=made_from), body),
    ]


def check_job(context: RenderContext, job: Spec, role: Check, *, attempt: int) -> list[Manifest]:
    """ConfigMap and light Job of `inspect` or `preflight`, which ask the store on the operator's behalf.

    Another question is another Job, whatever its attempt: two of them never share a name.

    Raises:
        StageError: the job file is too large for a ConfigMap.
    """
    question = text_digest(job.model_dump_json(by_alias=True))
    child = Child(
        names.child(context.owner, f"{role}-a{attempt}", str(role), question),
        role,
        labels={STAGE_LABEL: str(role)},
        annotations={FINGERPRINT_ANNOTATION: question, ATTEMPT_ANNOTATION: str(attempt)},
    )
    made_from = {"question": question, "attempt": attempt}
    body = _light(context, child, image=context.settings.jobs_image, command=str(role))
    return [
        job_file(context, child, job),
        _manifest(context.metadata(context.queued(child), made_from=made_from), body),
    ]


def _image(settings: Settings, kind: Kind) -> str:
    """A training stage's module needs what only its image has, even to find that all is done."""
    match KINDS[kind].runs:
        case Alone() | Sharded():
            return settings.jobs_image
        case OnRay():
            return settings.train_image
        case other:
            assert_never(other)


def _shard_variable() -> Manifest:
    """MOAA_SHARD is the pod's completion index."""
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return {"name": environment.SHARD, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _light(context: RenderContext, child: Child, *, image: str, command: str | None = None) -> Manifest:
    settings = context.settings
    template = _template(
        context,
        child,
        secrets=[],
        resources=pod.requests_with_memory_limit(settings.light_cpu, settings.light_memory),
        image=image,
        command=command,
    )
    return _job(template, LIGHT_DEADLINE_S, tries_again=TRIES_AGAIN)


def _template(
    context: RenderContext,
    child: Child,
    *,
    secrets: Sequence[SecretKey],
    resources: Manifest,
    image: str,
    variables: Sequence[Manifest] = (),
    command: str | None = None,
) -> Manifest:
    container = pod.container(
        context,
        CONTAINER,
        image,
        command=["python", "-m", "moaa_jobs", *([command] if command else []), "--job", pod.JOB_PATH],
        env=[*job_variables(context.resource, secrets), *variables],
        mounts=[pod.job_mount()],
        resources=resources,
        ports=[{"name": "progress", "containerPort": progress.PORT, "protocol": "TCP"}],
    )
    return pod.pod_template(
        context,
        nodes=NodeRole.SYSTEM,
        labels=context.labels(child),
        containers=[container],
        volumes=[pod.job_volume(child.name)],
        priority_class=context.settings.job_priority_class,
        restartPolicy="Never",
        terminationGracePeriodSeconds=GRACE_S,
    )


def _job(template: Manifest, deadline_s: int, *, tries_again: int) -> Manifest:
    return {
        "backoffLimit": tries_again,
        "activeDeadlineSeconds": deadline_s,
        # Two pods must never work on one shard because the first is only on its way out.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules("FailJob")},
        "template": template,
    }


def _indexed(shards: int, settings: Settings) -> Manifest:
    return {
        "completionMode": "Indexed",
        "completions": shards,
        "parallelism": min(shards, settings.shards_at_once),
        "backoffLimit": None,
        "backoffLimitPerIndex": TRIES_AGAIN,
        # Every shard gets its turn, so that all calls that can be made now are in the ledger afterwards.
        "maxFailedIndexes": shards,
        "podFailurePolicy": {"rules": _failure_rules("FailIndex")},
    }


def _failure_rules(gives_up: str) -> list[Manifest]:
    """`gives_up`: what ends with exit codes that another try of the same pod cannot change."""

    def on_exit(codes: list[int], action: str) -> Manifest:
        return {"action": action, "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": codes}}

    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        on_exit([Exit.PERMANENT.value], "FailJob"),
        on_exit([Exit.FENCED.value, Exit.DEFERRED.value], gives_up),
    ]


def _manifest(about: Manifest, body: Manifest) -> Manifest:
    spec = {field: value for field, value in body.items() if value is not None}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": spec}
