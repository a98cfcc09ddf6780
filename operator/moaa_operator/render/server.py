"""A model server: a Deployment of vLLM and the headless Service by which its replicas are found.

A pod first brings the weights (`python -m moaa_jobs.fetch`), then starts vLLM on them, offline and without any secret.
It is ready once it has answered a real request for one token on loopback (`canary.py`); from then on readiness is
`/health`. A server with requests that gives no token for ten minutes is started again. A pod that is deleted leaves the
Service first, then finishes its requests.

A template of the resource (`serving.template`) knows the containers `weights` and `vllm`.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote

from moaa.api import MoAA
from moaa.api.base import decimal_text
from moaa.api.models import Model, ModelKind, Serving
from moaa.api.resource import Storage
from moaa.contract import environment
from moaa.contract.vllm import CPU_ENVIRONMENT, ENVIRONMENT, MODULE, arguments, chat_arguments
from moaa.contract.weights import BringWeights
from moaa.errors import Problem, ResourceError
from moaa.plan.ids import made_by
from moaa.weights.served import ServedModel
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import MODEL_ANNOTATION, ROLE_LABEL, RUN_LABEL, Owner, Role
from moaa_operator.render import pod
from moaa_operator.render.context import SERVER_LABEL, Child, RenderContext
from moaa_operator.render.names import server_of
from moaa_operator.render.template import merge
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
_STORE_FIELDS = frozenset(Storage.model_fields) - {"weights"}
"""Where the same weights come from is no edit of a server."""
CANARY = Path(__file__).with_name("canary.py").read_text()


def url(owner: Owner, served: ServedModel) -> str:
    """Base URL (up to /v1) of a model's Service; it resolves to every ready replica."""
    return f"http://{server_of(owner, served.served_name, served.digest)}.{owner.namespace}.svc:{PORT}/v1"


def server(context: RenderContext, served: ServedModel, replicas: Mapping[str, int]) -> list[Manifest]:
    """Service and Deployment of one model, with the replicas of the declared model of its name, if it is among them.

    Raises:
        ResourceError: its weights cannot be had on Kubernetes, or its template says what it may not.
    """
    resource, owner = context.resource, context.owner
    model = resource.spec.model(resource.spec.student if made_by(served.name) else served.name)
    path = f"spec.models[{resource.spec.models.index(model)}]"
    count = replicas.get(model.name, model.serving.replicas)
    model = model.with_(serving=model.serving.with_(replicas=count))
    _check_source(model, served, path)
    name = server_of(owner, served.served_name, served.digest)
    child = Child(name, Role.SERVER, labels={SERVER_LABEL: name}, annotations={MODEL_ANNOTATION: served.name})
    selector = {RUN_LABEL: owner.name, SERVER_LABEL: name}
    bring = _bring(served, model, resource)
    # Without defaults: a field that a later version adds must not look like an edit.
    made_from = {
        "weights": bring.model_dump(
            mode="json",
            include={"storage": set(_STORE_FIELDS), "model": True, "digest": True, "folder": True},
            exclude_defaults=True,
        ),
        "serving": model.serving.model_dump(mode="json", exclude_defaults=True),
        "account": resource.spec.service_account_name,
        "scheduleMinutes": resource.spec.serving.schedule_minutes,
        **({"chat": chat} if (chat := chat_arguments(model)) else {}),
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": context.metadata(context.queued(child), made_from=made_from),
        "spec": {
            "replicas": model.serving.replicas,
            # There may be no spare GPU for a second pod beside the first.
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": 60 * (resource.spec.serving.schedule_minutes + model.serving.startup_minutes),
            "selector": {"matchLabels": selector},
            "template": merge(
                _pod(context, child, bring, served, model),
                model.serving.template,
                f"{path}.serving.template",
                own=CONTAINERS,
            ),
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": context.metadata(child, made_from=selector),
        "spec": {
            "clusterIP": "None",
            "selector": selector,
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        },
    }
    return [service, deployment]


def servers(context: RenderContext, models: Iterable[ServedModel], replicas: Mapping[str, int]) -> list[Manifest]:
    """Service and Deployment of every model; one of several names gets them once.

    Raises:
        ResourceError: as `server`.
    """
    once = {server_of(context.owner, served.served_name, served.digest): served for served in models}
    return [child for served in once.values() for child in server(context, served, replicas)]


def _check_source(model: Model, served: ServedModel, path: str) -> None:
    if served.folder is None and (model.source or "").startswith("file://"):
        remedy = "is a folder of one machine, which pods do not see; use hf://, s3:// or pvc:// on Kubernetes"
        raise ResourceError("the resource", [Problem(f"{path}.source", str(model.source), remedy)])


def _bring(served: ServedModel, model: Model, resource: MoAA) -> BringWeights:
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


def _pod(context: RenderContext, child: Child, bring: BringWeights, served: ServedModel, model: Model) -> Manifest:
    settings, serving = context.settings, model.serving
    return pod.pod_template(
        context,
        nodes=NodeRole.INFERENCE,
        labels=context.labels(child),
        account=settings.server_account(context.owner.namespace, context.resource.spec.service_account_name),
        init_containers=[_weights_container(context, bring)],
        containers=[_vllm_container(context, bring, served, model)],
        volumes=_volumes(bring, serving),
        priority_class=settings.server_priority_class,
        terminationGracePeriodSeconds=LEAVE_S + FINISH_S + 10,
        tolerations=[dict(pod.NVIDIA_TOLERATION)] if serving.gpus else (),
        **({"affinity": _together()} if serving.gpus else {}),
    )


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


def _vllm_container(context: RenderContext, bring: BringWeights, served: ServedModel, model: Model) -> Manifest:
    settings, name, serving = context.settings, served.served_name, model.serving
    health = {"httpGet": {"path": "/health", "port": PORT}}
    variables = {
        **ENVIRONMENT,
        "VLLM_CACHE_ROOT": f"{pod.HOME}/.cache/vllm",
        **(CPU_ENVIRONMENT if serving.gpus == 0 else {}),
    }
    # Kubernetes would put the container's variables in place of $(NAME).
    chat = [argument.replace("$(", "$$(") for argument in chat_arguments(model)]
    first = ["score"] if model.kind is ModelKind.REWARD else []
    command = ["python3", "-m", MODULE, "--config", OPTIONS, "--model", WEIGHTS, "--port", str(PORT)]
    command += ["--shutdown-timeout", str(FINISH_S), *arguments(serving, served_name=name, chat=chat)]
    return pod.container(
        context,
        "vllm",
        settings.vllm_image if serving.gpus else settings.vllm_cpu_image,
        command=command,
        env=pod.variables(variables),
        mounts=[*_mounts(bring), {"name": "shm", "mountPath": "/dev/shm"}],
        resources=pod.with_disk(_resources(serving, settings), context, None if bring.claim else served.gib),
        # NVIDIA's hook writes into the root file system when it adds the driver.
        read_only=serving.gpus == 0,
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        startupProbe={
            "exec": {"command": ["python3", "-c", CANARY, "start", str(PORT), name, LAST_TOKEN, *first]},
            "periodSeconds": PROBE_S,
            "timeoutSeconds": CANARY_TIMEOUT_S,
            "failureThreshold": math.ceil(60 * serving.startup_minutes / PROBE_S),
        },
        readinessProbe={**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        livenessProbe={
            "exec": {"command": ["python3", "-c", CANARY, "alive", str(PORT), LAST_TOKEN]},
            "periodSeconds": ALIVE_S,
            "timeoutSeconds": ALIVE_TIMEOUT_S,
            "failureThreshold": 3,
        },
        lifecycle={"preStop": {"exec": {"command": ["/bin/sleep", str(LEAVE_S)]}}},
    )


def _resources(serving: Serving, settings: Settings) -> Manifest:
    if serving.gpus == 0:
        memory = f"{decimal_text(serving.memory_gib)}Gi" if serving.memory_gib is not None else settings.server_memory
        return pod.requests_with_memory_limit(settings.server_cpu, memory)
    resources = pod.requests_with_memory_limit(
        pod.times(settings.server_cpu, serving.gpus), pod.times(settings.server_memory, serving.gpus)
    )
    resources["limits"]["nvidia.com/gpu"] = str(serving.gpus)
    return resources


def _shared_memory(serving: Serving) -> str:
    """vLLM's processes exchange tensors through it; it counts against the container's memory."""
    return f"{max(1, 2 * serving.gpus)}Gi"
