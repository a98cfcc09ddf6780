"""Servers that this cluster cannot hold, named before anything is made. Pure."""

from collections.abc import Collection, Iterator

from moaa.api import MoAA
from moaa.api.models import MAX_NODES, Model
from moaa.errors import Problem
from moaa_operator.kube.kinds import LEADER_WORKER_SET

SMALLER = 'serve it in fewer bits (args: ["--quantization", "fp8"]), take a smaller model or an endpoint'


def too_large(resource: MoAA, machine_gpus: int | None) -> list[Problem]:
    """Every server that asks for more GPUs of one machine than the largest has; `machine_gpus` None: not known."""
    if machine_gpus is None:
        return []
    found = []
    for i, model in _served(resource):
        gpus, nodes = model.serving.gpus, model.serving.nodes
        if gpus > nodes * machine_gpus:
            have = f"a machine of this installation has ({machine_gpus}, settings.machineGpus)"
            if nodes > 1:
                have = f"{nodes} machines of this installation have ({machine_gpus} each, settings.machineGpus)"
            enough = (n for n in range(nodes + 1, MAX_NODES + 1) if gpus % n == 0 and gpus // n <= machine_gpus)
            spread = next((f"spread it over machines (nodes: {n}), " for n in enough), "")
            remedy = f"is more than {have}; {spread}{SMALLER}"
            found.append(Problem(f"spec.models[{i}].serving.gpus", str(gpus), remedy))
    return found


def without_groups(resource: MoAA, missing: Collection[str]) -> list[Problem]:
    """Every server over several machines, where the cluster has nothing that makes one."""
    if LEADER_WORKER_SET.kind not in missing:
        return []
    remedy = (
        "needs a LeaderWorkerSet, and the cluster has no CustomResourceDefinition "
        f"{LEADER_WORKER_SET.plural}.leaderworkerset.x-k8s.io; install LeaderWorkerSet 0.8 or newer"
    )
    return [
        Problem(f"spec.models[{i}].serving.nodes", str(model.serving.nodes), remedy)
        for i, model in _served(resource)
        if model.serving.nodes > 1
    ]


def _served(resource: MoAA) -> Iterator[tuple[int, Model]]:
    return ((i, model) for i, model in enumerate(resource.spec.models) if model.endpoint is None)
