"""A RayJob: one attempt of sft or dpo on a Ray cluster of its own, gone as soon as the attempt ends.

The driver runs beside the Ray head, which offers no CPUs, so everything else runs on the workers; their number is
fixed. Ray Train repairs a lost worker in a live cluster. KubeRay makes no second cluster: when a RayJob ends, the
operator makes a new one with a new name. The same image runs head, workers and submitter.

These rules of KubeRay are kept (`validation.go`, 1.6 and 1.7): a name has 47 characters at most; no TTL without
shutdown; a suspended RayJob shuts down after it finishes; a token needs Ray 2.52. KubeRay adds /dev/shm itself.

A template of the resource (`training.resources.template`) is for the workers and knows the container `ray-worker`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from moaa.api.base import decimal_text
from moaa.api.training import TrainingResources
from moaa.contract.job import StageJob
from moaa.plan.ids import RESOLVE
from moaa.plan.stage import Kind
from moaa_operator.kube.kueue import QUEUE_LABEL
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import Role
from moaa_operator.render import pod
from moaa_operator.render.attempt import job_file, job_variables, of_attempt, secrets_of
from moaa_operator.render.context import Child, RenderContext
from moaa_operator.render.names import MAX_RAYJOB, attempt_of
from moaa_operator.render.template import merge
from moaa_operator.settings import NodeRole, Settings

WORKER = "ray-worker"
TEMPLATE_PATH = "spec.training.resources.template"
OBJECT_STORE_BYTES = "100000000"
"""Nothing of size passes through Ray's object store."""
GRACE_S = 60
"""A worker that gets SIGTERM lets its checkpoint's upload finish."""
SUBMITTER_CPU, SUBMITTER_MEMORY = "200m", "512Mi"
"""It starts the driver and follows its log: 63 MiB were measured."""
RAY_ENVIRONMENT: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Else equal lines of several workers are folded into one.
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
SUBMITTER_TRIES_AGAIN = 6
"""The submitter follows the driver's log, and dies with the stream. KubeRay then ends the RayJob although the driver
goes on, unless the submitter may start again: it submits only what Ray does not know, and follows the log once more."""
START_MINUTES = 60
"""Beyond `serving.scheduleMinutes`, for images and Ray itself, before a RayJob that never ran is given up."""


def ray_job(context: RenderContext, job: StageJob, *, attempt: int) -> list[Manifest]:
    """ConfigMap and RayJob of one attempt of a training stage.

    Raises:
        ResourceError: the workers' template says what it may not.
        StageError: the job file is too large for a ConfigMap.
    """
    resource, settings = context.resource, context.settings
    name = attempt_of(context.owner, job.stage, job.fingerprint, attempt, limit=MAX_RAYJOB)
    child = of_attempt(job, Role.STAGE, name, attempt)
    about = context.metadata(
        context.queued(child),
        made_from={"fingerprint": job.fingerprint, "attempt": attempt},
    )
    resolved = job.results.get(RESOLVE)
    parts = _Parts(context, child, job.kind, None if resolved is None else resolved.gib_of(resource.spec.student))
    manifest = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": about,
        "spec": {
            # Kueue sets it itself for what it admits.
            **({} if QUEUE_LABEL in context.queue_labels() else {"suspend": resource.spec.suspend}),
            "submissionMode": "K8sJobMode",
            # It lands in a shell line: nothing of the user's is in it.
            "entrypoint": f"python -m moaa_jobs --job {pod.JOB_PATH}",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 0,
            "backoffLimit": 0,
            "preRunningDeadlineSeconds": 60 * (resource.spec.serving.schedule_minutes + START_MINUTES),
            "activeDeadlineSeconds": 3600 * settings.training_deadline_hours,
            "submitterConfig": {"backoffLimit": SUBMITTER_TRIES_AGAIN},
            "submitterPodTemplate": parts.submitter(),
            "rayClusterSpec": {
                "rayVersion": settings.ray_version,
                # Ray's API runs whatever it is sent. KubeRay makes a token for each cluster and gives it to its pods.
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {
                        "num-cpus": "0",
                        "num-gpus": "0",
                        "dashboard-host": "0.0.0.0",
                        "object-store-memory": OBJECT_STORE_BYTES,
                    },
                    "template": parts.head(),
                },
                "workerGroupSpecs": [parts.worker_group()],
            },
        },
    }
    return [job_file(context, child, job), manifest]


class _Parts:
    """Pod templates of one RayJob."""

    def __init__(self, context: RenderContext, child: Child, kind: Kind, gib: int | None) -> None:
        """`gib`: of the weights that a worker brings, where that is known."""
        resource = context.resource
        self._context = context
        self._child = child
        self._gib = gib
        self._environment = [
            *pod.variables({**RAY_ENVIRONMENT, **_accelerator(resource.spec.training.resources)}),
            *job_variables(resource, secrets_of(resource, kind)),
        ]

    def submitter(self) -> Manifest:
        """KubeRay adds the command. It needs no secret: the driver runs on the head."""
        container = pod.container(
            self._context,
            "ray-job-submitter",
            self._context.settings.train_image,
            env=pod.variables(RAY_ENVIRONMENT),
            resources=pod.requests_with_memory_limit(SUBMITTER_CPU, SUBMITTER_MEMORY),
        )
        return self._pod(container, restartPolicy="Never")

    def head(self) -> Manifest:
        settings = self._context.settings
        container = pod.container(
            self._context,
            "ray-head",
            settings.train_image,
            env=self._environment,
            mounts=[pod.job_mount()],
            # No ports: were there one, KubeRay would give the head's Service that one instead of Ray's own.
            # `num-cpus` says that Ray has none, so a limit would only slow its start.
            resources=pod.requests_with_memory_limit(settings.head_cpu, settings.head_memory),
        )
        return self._pod(container, volumes=[pod.job_volume(self._child.name)], terminationGracePeriodSeconds=GRACE_S)

    def worker_group(self) -> Manifest:
        """A fixed number of equal pods, each with as many workers as may share a machine."""
        wanted, settings = self._context.resource.spec.training.resources, self._context.settings
        together = workers_per_pod(wanted, settings)
        pods, gpus = wanted.workers // together, together * wanted.gpus_per_worker
        cpu = str(wanted.cpus_per_worker) if "cpus_per_worker" in wanted.model_fields_set else settings.worker_cpu
        memory = f"{decimal_text(wanted.memory_gib)}Gi" if wanted.memory_gib else settings.worker_memory
        container = pod.container(
            self._context,
            WORKER,
            settings.train_image,
            env=self._environment,
            resources=pod.with_disk(
                pod.requests_as_limits(pod.times(cpu, together), pod.times(memory, together), gpus),
                self._context,
                self._gib,
            ),
            # NVIDIA's hook writes into the root file system when it adds the driver.
            read_only=gpus == 0,
        )
        template = self._pod(
            container,
            nodes=NodeRole.TRAINING,
            tolerations=[dict(pod.NVIDIA_TOLERATION)] if gpus else (),
            terminationGracePeriodSeconds=GRACE_S,
        )
        return {
            "groupName": "workers",
            "replicas": pods,
            "minReplicas": pods,
            "maxReplicas": pods,
            "rayStartParams": {
                "num-cpus": str(together * wanted.cpus_per_worker),
                "num-gpus": str(gpus),
                "object-store-memory": OBJECT_STORE_BYTES,
            },
            "template": merge(template, wanted.template, TEMPLATE_PATH, own=frozenset({WORKER})),
        }

    def _pod(
        self,
        container: Manifest,
        *,
        nodes: NodeRole = NodeRole.SYSTEM,
        volumes: Sequence[Manifest] = (),
        **more: Any,
    ) -> Manifest:
        return pod.pod_template(
            self._context,
            nodes=nodes,
            labels=self._context.labels(self._child),
            containers=[container],
            volumes=volumes,
            priority_class=self._context.settings.training_priority_class,
            **more,
        )


def workers_per_pod(resources: TrainingResources, settings: Settings) -> int:
    """The most that the settings allow and that divides the workers; 1 without GPUs, which nothing ties together."""
    if resources.gpus_per_worker == 0:
        return 1
    most = min(settings.training_workers_per_pod, resources.workers)
    return next(n for n in range(most, 0, -1) if resources.workers % n == 0)


def _accelerator(resources: TrainingResources) -> dict[str, str]:
    """Without GPUs DeepSpeed needs this variable; with them it finds out by itself."""
    return {} if resources.gpus_per_worker else {"DS_ACCELERATOR": "cpu"}
