"""Jobs: one pod a shard for stages of model calls, one pod for the others, light ones for what ends or checks.

Exit codes of `python -m moaa_jobs` decide what a failed pod means. 64 (permanent) ends the Job. 69 (fenced) and 75
(rows wait for a model) end their shard without another try: the next attempt is the operator's. Anything else is tried
again a few times within the attempt. A pod that Kubernetes itself took away counts as nothing. Nothing is removed by
age: the operator removes a Job when its outcome is recorded, since a vanished Job would look like one never run.
"""

from collections.abc import Mapping, Sequence

from moaa.api import MoAA
from moaa.api.base import SecretKey, Spec
from moaa.contract.job import StageJob
from moaa.plan.canonical import text_digest
from moaa.plan.kinds.table import TRAINING
from moaa.plan.stage import Kind
from moaa_operator.kube.owner import ATTEMPT_ANNOTATION, FINGERPRINT_ANNOTATION, STAGE_LABEL, Owner
from moaa_operator.render import pod
from moaa_operator.render.configmap import job_file
from moaa_operator.render.metadata import Manifest, Role, labels, metadata
from moaa_operator.render.names import attempt_of, child, finalise_of
from moaa_operator.settings import NodeRole, Settings

EXIT_PERMANENT, EXIT_FENCED, EXIT_DEFERRED = 64, 69, 75
CONTAINER = "job"
PROGRESS_PORT = 8090
"""Where a job's pod shows its progress (GET /progress); 8080 is Ray's own metrics port."""
TERMINATION_LOG = "/dev/termination-log"
TRIES_AGAIN = 2
"""Of a pod (of one shard, where there are several) within an attempt; after that the attempt has failed."""
DEADLINE_S = 14 * 24 * 3600
"""A stage's Job that runs longer is ended and tried again: nothing waits for ever."""
LIGHT_DEADLINE_S = 3600
GRACE_S = 60
"""A job that is told to stop flushes its ledger first."""

_HUB_OF_MODELS = frozenset({Kind.RESOLVE, Kind.GENERATE, Kind.SAMPLE, Kind.JUDGE, Kind.EVALUATE})
"""Ask the Hub about models: their commits, or tokenizers to count prompts with."""
_DATA = frozenset({Kind.RESOLVE, Kind.STAGE_DATA})
_CALLS = frozenset({Kind.GENERATE, Kind.SAMPLE, Kind.JUDGE, Kind.EVALUATE})


def secrets_of(resource: MoAA, kind: Kind) -> list[SecretKey]:
    """Which of the resource's secrets a stage of this kind needs; storage aside."""
    spec = resource.spec
    found: list[SecretKey | None] = []
    if kind in _HUB_OF_MODELS:
        found += [model.token_secret for model in spec.models]
    if kind in TRAINING:
        found += [spec.model(spec.student).token_secret]
    if kind in _CALLS:
        found += [secret for model in spec.models if model.endpoint for secret in model.endpoint.secrets]
    if kind in _DATA:
        sources = [*spec.data.sft, *spec.data.preference, *spec.evaluation.selection, *spec.evaluation.report]
        found += [source.token_secret for source in sources]
    return [secret for secret in found if secret is not None]


def stage_marks(job: StageJob, attempt: int) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and annotations that say which attempt of which stage a child belongs to."""
    return (
        {STAGE_LABEL: job.stage},
        {FINGERPRINT_ANNOTATION: job.fingerprint, ATTEMPT_ANNOTATION: str(attempt)},
    )


def stage_job(
    job: StageJob, resource: MoAA, owner: Owner, *, attempt: int, shards: int | None, settings: Settings
) -> list[Manifest]:
    """ConfigMap and Job of one attempt of a stage that is not training; `shards` None: one pod does it all."""
    name = attempt_of(owner, job.stage, job.fingerprint, attempt)
    marks, notes = stage_marks(job, attempt)
    more = [] if shards is None else [_shard_variable()]
    template = _template(
        resource,
        owner,
        settings,
        Role.STAGE,
        name=name,
        marks=marks,
        secrets=secrets_of(resource, job.kind),
        resources=pod.requests_with_memory_limit(settings.job_cpu, settings.job_memory),
        environment=more,
    )
    body = _job(template, DEADLINE_S, tries_again=TRIES_AGAIN)
    if shards is not None:
        body |= _indexed(shards, settings)
    made_from = {"fingerprint": job.fingerprint, "attempt": attempt, "shards": shards}
    return [
        job_file(job, name, owner, Role.STAGE, extra_labels=marks, annotations=notes),
        _manifest(metadata(owner, name, Role.STAGE, made_from=made_from, extra_labels=marks, annotations=notes), body),
    ]


def finalise_job(job: StageJob, resource: MoAA, owner: Owner, *, attempt: int, settings: Settings) -> list[Manifest]:
    """ConfigMap and light Job that publish the manifest from the finished shards, and answer with the result.

    Model calls are over by then: it gets no endpoint and no secret but the store's.
    """
    name = finalise_of(owner, job.stage, job.fingerprint, attempt)
    marks, notes = stage_marks(job, attempt)
    # A training stage's module needs what only its image has, even to find that all is done.
    image = settings.train_image if job.kind in TRAINING else settings.jobs_image
    template = _light(resource, owner, settings, Role.FINALISE, name=name, marks=marks, image=image)
    made_from = {"fingerprint": job.fingerprint, "attempt": attempt}
    return [
        job_file(job, name, owner, Role.FINALISE, extra_labels=marks, annotations=notes),
        _manifest(
            metadata(owner, name, Role.FINALISE, made_from=made_from, extra_labels=marks, annotations=notes),
            _job(template, LIGHT_DEADLINE_S, tries_again=TRIES_AGAIN),
        ),
    ]


def check_job(
    job: Spec, resource: MoAA, owner: Owner, role: Role, *, attempt: int, settings: Settings
) -> list[Manifest]:
    """ConfigMap and light Job of `inspect` or `preflight`, which ask the store on the operator's behalf.

    Another question is another Job, whatever its attempt: two of them never share a name.
    """
    question = text_digest(job.model_dump_json(by_alias=True))
    name = child(owner, f"{role}-a{attempt}", str(role), question)
    marks = {STAGE_LABEL: str(role)}
    notes = {FINGERPRINT_ANNOTATION: question, ATTEMPT_ANNOTATION: str(attempt)}
    template = _light(resource, owner, settings, role, name=name, marks=marks, command=str(role))
    made_from = {"question": question, "attempt": attempt}
    return [
        job_file(job, name, owner, role, extra_labels=marks, annotations=notes),
        _manifest(
            metadata(owner, name, role, made_from=made_from, extra_labels=marks, annotations=notes),
            _job(template, LIGHT_DEADLINE_S, tries_again=TRIES_AGAIN),
        ),
    ]


def job_variables(resource: MoAA, secrets: Sequence[SecretKey]) -> list[Manifest]:
    """What every container that runs `python -m moaa_jobs` is told."""
    told = {
        "MOAA_WORK_DIR": pod.WORK_DIR,
        "MOAA_TERMINATION_LOG": TERMINATION_LOG,
        "MOAA_PROGRESS_PORT": str(PROGRESS_PORT),
    }
    return [
        *pod.variables(told),
        *pod.storage_variables(resource.spec.storage),
        *pod.secret_variables(secrets),
    ]


def _shard_variable() -> Manifest:
    """MOAA_SHARD is the pod's completion index."""
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return {"name": "MOAA_SHARD", "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _light(
    resource: MoAA,
    owner: Owner,
    settings: Settings,
    role: Role,
    *,
    name: str,
    marks: Mapping[str, str],
    command: str | None = None,
    image: str | None = None,
) -> Manifest:
    return _template(
        resource,
        owner,
        settings,
        role,
        name=name,
        marks=marks,
        secrets=[],
        resources=pod.requests_with_memory_limit(settings.light_cpu, settings.light_memory),
        command=command,
        image=image,
    )


def _template(
    resource: MoAA,
    owner: Owner,
    settings: Settings,
    role: Role,
    *,
    name: str,
    marks: Mapping[str, str],
    secrets: Sequence[SecretKey],
    resources: Manifest,
    environment: Sequence[Manifest] = (),
    command: str | None = None,
    image: str | None = None,
) -> Manifest:
    container = pod.container(
        CONTAINER,
        image or settings.jobs_image,
        settings,
        command=["python", "-m", "moaa_jobs", *([command] if command else []), "--job", pod.JOB_PATH],
        env=[*job_variables(resource, secrets), *environment],
        mounts=[pod.job_mount()],
        resources=resources,
        ports=[{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}],
    )
    return pod.pod_template(
        resource,
        settings,
        role=NodeRole.SYSTEM,
        labels=labels(owner, role, marks),
        containers=[container],
        volumes=[pod.job_volume(name)],
        priority_class=settings.job_priority_class,
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
        # Every shard gets its turn, so that whatever can be asked now is in the ledger afterwards.
        "maxFailedIndexes": shards,
        "podFailurePolicy": {"rules": _failure_rules("FailIndex")},
    }


def _failure_rules(gives_up: str) -> list[Manifest]:
    """`gives_up`: what ends with exit codes that another try of the same pod cannot change."""

    def on_exit(codes: list[int], action: str) -> Manifest:
        return {"action": action, "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": codes}}

    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        on_exit([EXIT_PERMANENT], "FailJob"),
        on_exit([EXIT_FENCED, EXIT_DEFERRED], gives_up),
    ]


def _manifest(about: Manifest, body: Manifest) -> Manifest:
    spec = {field: value for field, value in body.items() if value is not None}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": spec}
