"""The pod template of a model server: bring the weights, then run vLLM on them.

A server over several machines has a template for its leader, which answers requests, and one for its workers. Each
runs the processes of its own GPUs. vLLM starts them without Ray: every machine is told its rank and where the leader
is, in variables that LeaderWorkerSet sets.
"""

import math
from enum import StrEnum
from pathlib import Path
from typing import assert_never
from urllib.parse import unquote

from moaa.api import MoAA
from moaa.api.base import decimal_text
from moaa.api.models import Model, ModelKind, Serving
from moaa.contract import environment
from moaa.contract.vllm import CLI, CPU_ENVIRONMENT, ENVIRONMENT, MODULE, arguments, chat_arguments
from moaa.contract.weights import BringWeights
from moaa.weights.served import ServedModel
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import ROLE_LABEL, TEMPLATE_ANNOTATION, Role
from moaa_operator.render import pod
from moaa_operator.render.context import Child, RenderContext
from moaa_operator.settings import NodeRole, Settings

PORT = pod.SERVER_PORT
FOLDER = "/model"
WEIGHTS = f"{FOLDER}/weights"
OPTIONS = f"{FOLDER}/vllm.yaml"
CLAIM = "/claim"
"""Where a pvc:// source is mounted."""
CONTAINERS = frozenset({"weights", "vllm"})
PROBE_S = 10
CANARY_TIMEOUT_S = 60
LEAVE_S = 5
"""Seconds between deletion and refusing work: endpoints and clients notice first."""
FINISH_S = 45
"""Then requests under way may finish."""
ALIVE_S = 30
ALIVE_TIMEOUT_S = 20
LAST_TOKEN = f"{pod.TMP}/last-token.json"
CANARY = Path(__file__).parents[1].joinpath("canary.py").read_text()
MASTER_PORT = 29501
"""Of a group's leader, where its workers find it first; what follows goes over ports that the system gives."""


class Rank(StrEnum):
    """Which part of a server a pod is."""

    ALONE = "Alone"
    LEADER = "Leader"
    WORKER = "Worker"


def bring_for(served: ServedModel, model: Model, resource: MoAA) -> BringWeights:
    """Only what bears on the weights and on the options that follow from them: editing replicas restarts nothing."""
    serving = Serving(gpus=model.serving.gpus, max_model_len=model.serving.max_model_len)
    claim = _claim(model.source) if served.folder is None else None
    return BringWeights(
        storage=resource.spec.storage,
        model=model.with_(serving=serving, license=None, extra_body={}, chat_template=None, chat_template_args={}),
        digest=served.digest,
        folder=served.folder,
        claim=f"{CLAIM}/{claim[1]}".rstrip("/") if claim else None,
        target=WEIGHTS,
        options=OPTIONS,
        deadline_s=60 * model.serving.startup_minutes,
    )


def server_pod(
    context: RenderContext,
    child: Child,
    bring: BringWeights,
    served: ServedModel,
    model: Model,
    *,
    rank: Rank,
) -> Manifest:
    """Metadata and spec of the pods of one rank; the resource's template is not merged yet."""
    settings, serving = context.settings, model.serving
    made = pod.pod_template(
        context,
        nodes=NodeRole.INFERENCE,
        labels=context.labels(child),
        account=settings.server_account(context.owner.namespace, context.resource.spec.service_account_name),
        init_containers=[_weights_container(context, bring)],
        containers=[_vllm_container(context, bring, served, model, rank)],
        volumes=_volumes(bring, serving),
        priority_class=settings.server_priority_class,
        terminationGracePeriodSeconds=LEAVE_S + FINISH_S + 10,
        tolerations=[dict(pod.NVIDIA_TOLERATION)] if serving.gpus else (),
        **({"affinity": _together()} if serving.gpus else {}),
    )
    notes = {name: note for name, note in child.annotations.items() if name == TEMPLATE_ANNOTATION}
    made["metadata"]["annotations"] |= notes
    return made


def _together() -> Manifest:
    """Servers would rather share a machine: spread over all, small ones leave no room for one that needs it whole."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {ROLE_LABEL: str(Role.SERVER)}}}
    wish = {"weight": 100, "podAffinityTerm": term}
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def _claim(source: str | None) -> tuple[str, str] | None:
    """Claim and folder of a pvc:// source; None for any other."""
    if source is None or not source.startswith("pvc://"):
        return None
    claim, _, folder = unquote(source.removeprefix("pvc://")).partition("/")
    return claim, folder.strip("/")


def _volumes(bring: BringWeights, serving: Serving) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "model", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _shared_memory(serving)}},
    ]
    claim = _claim(bring.model.source) if bring.claim else None
    if claim is not None:
        volumes.append({"name": "claim", "persistentVolumeClaim": {"claimName": claim[0], "readOnly": True}})
    return volumes


def _mounts(bring: BringWeights) -> list[Manifest]:
    """The same in both containers, so that the link to the weights leads to the same place in each."""
    mounts: list[Manifest] = [{"name": "model", "mountPath": FOLDER}]
    if bring.claim:
        mounts.append({"name": "claim", "mountPath": CLAIM, "readOnly": True})
    return mounts


def _weights_container(context: RenderContext, bring: BringWeights) -> Manifest:
    settings = context.settings
    secret = bring.model.token_secret
    return pod.container(
        context,
        "weights",
        settings.jobs_image,
        command=["python", "-m", "moaa_jobs.fetch"],
        env=[
            *pod.variables({environment.FETCH: bring.model_dump_json(by_alias=True, exclude_defaults=True)}),
            *pod.storage_variables(bring.storage),
            *pod.secret_variables([secret] if secret else []),
        ],
        mounts=_mounts(bring),
        # Costs nothing: the container beside it, which comes after it, asks for more.
        resources=pod.requests_with_memory_limit(settings.light_cpu, settings.job_memory),
    )


def _vllm_container(
    context: RenderContext, bring: BringWeights, served: ServedModel, model: Model, rank: Rank
) -> Manifest:
    settings, serving = context.settings, model.serving
    variables = {
        **ENVIRONMENT,
        "VLLM_CACHE_ROOT": f"{pod.HOME}/.cache/vllm",
        **(CPU_ENVIRONMENT if serving.gpus == 0 else {}),
    }
    # vLLM would ask the routing table, which may know no way out of the cluster.
    address = [] if rank is Rank.ALONE else [pod.field_variable("VLLM_HOST_IP", "status.podIP")]
    return pod.container(
        context,
        "vllm",
        settings.vllm_image if serving.gpus else settings.vllm_cpu_image,
        command=_command(served, model, rank),
        env=[*pod.variables(variables), *address],
        mounts=[*_mounts(bring), {"name": "shm", "mountPath": "/dev/shm"}],
        resources=pod.with_disk(_resources(serving, settings), context, None if bring.claim else served.gib),
        # NVIDIA's hook writes into the root file system when it adds the driver.
        read_only=serving.gpus == 0,
        lifecycle={"preStop": {"exec": {"command": ["/bin/sleep", str(LEAVE_S)]}}},
        **_answering(served, model, rank),
    )


def _command(served: ServedModel, model: Model, rank: Rank) -> list[str]:
    # Kubernetes would put the container's variables in place of $(NAME).
    chat = [argument.replace("$(", "$$(") for argument in chat_arguments(model)]
    nodes = model.serving.nodes
    group = ["--nnodes", str(nodes), "--master-addr", "$(LWS_LEADER_ADDRESS)", "--master-port", str(MASTER_PORT)]
    # `serve` wants the model in its place, before a file of options.
    worker = ["-m", CLI, "serve", WEIGHTS, "--config", OPTIONS]
    answering = ["-m", MODULE, "--config", OPTIONS, "--model", WEIGHTS]
    match rank:
        case Rank.ALONE:
            started = answering
        case Rank.LEADER:
            started = [*answering, *group, "--node-rank", "0"]
        case Rank.WORKER:
            started = [*worker, *group, "--node-rank", "$(LWS_WORKER_INDEX)", "--headless"]
        case _:
            assert_never(rank)
    common = ["--port", str(PORT), "--shutdown-timeout", str(FINISH_S)]
    return ["python3", *started, *common, *arguments(model.serving, served_name=served.served_name, chat=chat)]


def _answering(served: ServedModel, model: Model, rank: Rank) -> Manifest:
    """Port and probes. A worker has none: the leader's first token needs every rank, and a worker's end is the end of
    its group."""
    if rank is Rank.WORKER:
        return {}
    health = {"httpGet": {"path": "/health", "port": PORT}}
    start = ["start", str(PORT), served.served_name, LAST_TOKEN, *(["score"] if model.kind is ModelKind.REWARD else [])]
    return {
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": {
            "exec": {"command": ["python3", "-c", CANARY, *start]},
            "periodSeconds": PROBE_S,
            "timeoutSeconds": CANARY_TIMEOUT_S,
            "failureThreshold": math.ceil(60 * model.serving.startup_minutes / PROBE_S),
        },
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "exec": {"command": ["python3", "-c", CANARY, "alive", str(PORT), LAST_TOKEN]},
            "periodSeconds": ALIVE_S,
            "timeoutSeconds": ALIVE_TIMEOUT_S,
            "failureThreshold": 3,
        },
    }


def _resources(serving: Serving, settings: Settings) -> Manifest:
    if serving.gpus == 0:
        memory = f"{decimal_text(serving.memory_gib)}Gi" if serving.memory_gib is not None else settings.server_memory
        return pod.requests_with_memory_limit(settings.server_cpu, memory)
    gpus = serving.gpus // serving.nodes
    resources = pod.requests_with_memory_limit(
        pod.times(settings.server_cpu, gpus), pod.times(settings.server_memory, gpus)
    )
    resources["limits"]["nvidia.com/gpu"] = str(gpus)
    return resources


def _shared_memory(serving: Serving) -> str:
    """vLLM's processes exchange tensors through it; it counts against the container's memory."""
    return f"{max(1, 2 * serving.gpus // serving.nodes)}Gi"
