"""What every pod of a run has in common: account, security, scratch folders, environment, and who reaches it.

Pod Security `restricted` holds for each. The root file system is read-only, except for GPU servers and workers, where
the driver's hook writes to it; `/tmp` and the home folder are emptyDirs. Secrets come by secretKeyRef, by name of
Secret and key, so no object we write holds a value. The service account gives the pod its cloud identity; its API token
is not mounted.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from string import ascii_letters
from typing import Any, assert_never

from moaa.api.base import SecretKey, decimal_text
from moaa.api.models import Model
from moaa.api.resource import Storage
from moaa.contract import progress
from moaa_operator.kube.objects import Manifest
from moaa_operator.kube.owner import JOB_FILE, ROLE_LABEL, RUN_LABEL, Role
from moaa_operator.render.context import RANKS_LABEL, STAY_ANNOTATIONS, Child, RenderContext
from moaa_operator.render.names import child
from moaa_operator.settings import DiskRequests, NodeRole

SERVER_PORT = 8000
"""Of vLLM."""
DASHBOARD_PORT = 8265
"""Of a Ray head: its job API."""
USER = 1000
"""Of the images: MoAA's own have it in /etc/passwd; others run under any number."""
HOME = "/home/moaa"
TMP = "/tmp"
WORK_DIR = "/tmp/moaa"
DISK_BESIDE_GIB = 2
"""Beside weights: graphs that vLLM compiles, logs, what libraries leave in /tmp. Chosen, not measured."""
JOB_FOLDER = "/etc/moaa"
JOB_PATH = f"{JOB_FOLDER}/{JOB_FILE}"

POD_SECURITY: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
BASE_ENVIRONMENT: Mapping[str, str] = {
    "HOME": HOME,
    # Libraries ask for the user's name, which a number outside /etc/passwd has not.
    "USER": "moaa",
    "LOGNAME": "moaa",
    "PYTHONUNBUFFERED": "1",
}
NVIDIA_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def field_variable(name: str, path: str) -> Manifest:
    """A variable with a field of the pod, for example `status.podIP`."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def container_security(*, read_only: bool = True) -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": read_only,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def variables(values: Mapping[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in values.items()]


def secret_variable(name: str, secret: str, key: str, *, optional: bool = False) -> Manifest:
    reference = {"name": secret, "key": key} | ({"optional": True} if optional else {})
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def secret_variables(secrets: Sequence[SecretKey]) -> list[Manifest]:
    """MOAA_SECRET_<NAME>_<KEY> for each, once."""
    by_name = {secret.environment_variable: secret for secret in secrets}
    return [secret_variable(name, secret.name, secret.key) for name, secret in by_name.items()]


def storage_variables(storage: Storage) -> list[Manifest]:
    """How the store is reached. The two keys come from the Secret, by name; without one the cloud identity serves."""
    given = variables(
        {
            **({"AWS_ENDPOINT_URL": storage.endpoint} if storage.endpoint else {}),
            **({"AWS_REGION": storage.region} if storage.region else {}),
        }
    )
    if storage.secret is None:
        return given
    keys = [secret_variable(name, storage.secret.name, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    # Temporary keys come with a token; most Secrets hold none.
    return [
        *given,
        *keys,
        secret_variable("AWS_SESSION_TOKEN", storage.secret.name, "AWS_SESSION_TOKEN", optional=True),
    ]


def scratch_volumes() -> list[Manifest]:
    return [{"name": "tmp", "emptyDir": {}}, {"name": "home", "emptyDir": {}}]


def scratch_mounts() -> list[Manifest]:
    return [{"name": "tmp", "mountPath": TMP}, {"name": "home", "mountPath": HOME}]


def job_volume(config_map: str) -> Manifest:
    return {"name": "job", "configMap": {"name": config_map}}


def job_mount() -> Manifest:
    return {"name": "job", "mountPath": JOB_FOLDER, "readOnly": True}


def times(quantity: str, factor: int) -> str:
    """A Kubernetes quantity, multiplied.

    >>> times("500m", 3), times("2.5Gi", 2), times("8", 4)
    ('1500m', '5Gi', '32')
    """
    number = quantity.rstrip(ascii_letters)
    return f"{decimal_text(Decimal(number) * factor)}{quantity[len(number) :]}"


def requests_with_memory_limit(cpu: str, memory: str) -> Manifest:
    """Memory is limited to what is asked for; CPU is not, so that a pod may use idle cores."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def with_disk(resources: Manifest, context: RenderContext, gib: int | None) -> Manifest:
    """The same, asking for a disk with room for weights of `gib` (None: not known, nothing is asked for), so that the
    pod goes to a node that has it. No limit: a pod that takes more is not ended for it while there is room."""
    if gib is None or not _asks_for_disk(context):
        return resources
    requests = {**resources["requests"], "ephemeral-storage": f"{gib + DISK_BESIDE_GIB}Gi"}
    return {**resources, "requests": requests}


def _asks_for_disk(context: RenderContext) -> bool:
    match context.settings.disk_requests:
        case DiskRequests.ALWAYS:
            return True
        case DiskRequests.OUTSIDE_QUEUES:
            return not context.queue_labels()
        case DiskRequests.NEVER:
            return False
        case other:
            assert_never(other)


def requests_as_limits(cpu: str, memory: str, gpus: int = 0) -> Manifest:
    """Ray counts limits and ignores requests."""
    amounts = {"cpu": cpu, "memory": memory} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    return {"requests": dict(amounts), "limits": dict(amounts)}


def container(
    context: RenderContext,
    name: str,
    image: str,
    *,
    resources: Manifest,
    command: Sequence[str] = (),
    env: Sequence[Manifest] = (),
    mounts: Sequence[Manifest] = (),
    read_only: bool = True,
    **more: Any,
) -> Manifest:
    """A container with the common environment, scratch folders and security; `more` are further fields."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": str(context.settings.image_pull_policy),
        **({"command": list(command)} if command else {}),
        "env": [*variables(BASE_ENVIRONMENT), *env],
        "resources": resources,
        "volumeMounts": [*scratch_mounts(), *mounts],
        "securityContext": container_security(read_only=read_only),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **more,
    }


def pod_template(
    context: RenderContext,
    *,
    nodes: NodeRole,
    labels: Mapping[str, str],
    containers: Sequence[Manifest],
    tolerations: Sequence[Manifest] = (),
    account: str | None = None,
    init_containers: Sequence[Manifest] = (),
    volumes: Sequence[Manifest] = (),
    priority_class: str | None = None,
    **more: Any,
) -> Manifest:
    """Metadata and spec of a pod.

    `nodes` says which nodes it goes to, `account` stands in for the run's, `more` are further fields of its spec.
    """
    resource, settings = context.resource, context.settings
    place = settings.place(context.owner.namespace, context.owner.name, nodes)
    tolerated = [*tolerations, *(dict(entry) for entry in place.tolerations if entry not in tolerations)]
    spec: Manifest = {
        "serviceAccountName": account or resource.spec.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {**POD_SECURITY, "seccompProfile": dict(POD_SECURITY["seccompProfile"])},
        **({"initContainers": list(init_containers)} if init_containers else {}),
        "containers": list(containers),
        "volumes": [*scratch_volumes(), *volumes],
        **({"nodeSelector": dict(place.node_selector)} if place.node_selector else {}),
        **({"tolerations": tolerated} if tolerated else {}),
        **({"priorityClassName": priority_class} if priority_class else {}),
        **({"schedulerName": settings.scheduler_name} if settings.scheduler_name else {}),
        **more,
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return {"metadata": {"labels": dict(labels), "annotations": dict(STAY_ANNOTATIONS)}, "spec": spec}


def policies(context: RenderContext) -> list[Manifest]:
    """NetworkPolicies of the run: its servers answer its pods, pods of a server over several machines each other, and
    its other pods each other, the operator's question for progress and KubeRay's for a Ray job. None where the
    installation makes none.

    They are per run, since a policy cannot compare labels: with one for all runs, each would reach the others'.
    """
    peers, run = context.settings.network_peers, {RUN_LABEL: context.owner.name}
    if peers is None:
        return []
    own = {"podSelector": {"matchLabels": run}}
    is_other = {"key": ROLE_LABEL, "operator": "NotIn", "values": [str(Role.SERVER)]}
    asked = [(peers.operator, progress.PORT), (peers.kuberay, DASHBOARD_PORT)]
    servers = {"matchLabels": {**run, ROLE_LABEL: str(Role.SERVER)}}
    return [
        _policy(context, "servers", servers, [_rule([own], SERVER_PORT)]),
        _policy(
            context,
            "stages",
            {"matchLabels": run, "matchExpressions": [is_other]},
            # Ray's pods use many ports among themselves. A rule that names nobody would let everybody in.
            [{"from": [own]}, *(_rule(peer, port) for peer, port in asked if peer)],
        ),
        *(_ranks(context, model) for model in context.resource.spec.models if model.serving.nodes > 1),
    ]


def _ranks(context: RenderContext, model: Model) -> Manifest:
    """Processes of one model's servers use many ports among themselves."""
    labels = {"matchLabels": {RUN_LABEL: context.owner.name, RANKS_LABEL: model.name}}
    return _policy(context, f"{model.name}-ranks", labels, [{"from": [{"podSelector": labels}]}])


def _policy(context: RenderContext, what: str, selector: Manifest, ingress: list[Manifest]) -> Manifest:
    about = context.metadata(Child(child(context.owner, what, "policy"), Role.STAGE), made_from={})
    del about["labels"][ROLE_LABEL]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": about,
        "spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress},
    }


def _rule(peers: Sequence[Mapping[str, Any]], port: int) -> Manifest:
    return {"from": [dict(peer) for peer in peers], "ports": [{"port": port, "protocol": "TCP"}]}
