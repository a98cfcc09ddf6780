"""What processes need of the machine. Pure; each constant says where it was measured or why it was chosen."""

from collections.abc import Iterable

from moaa.api import MoAA
from moaa.api.models import Serving
from moaa.api.training import TrainingResources
from moaa.local.serving.machine import Demand
from moaa.plan.ids import made_by
from moaa.plan.kinds.table import TRAINING
from moaa.plan.stage import Stage

CPU_SERVER_BASE_GIB = 1.5
"""vLLM 0.32 on a CPU: 1.4 GiB in two processes before weights and cache."""
GPU_SERVER_GIB = 4.0
"""Host memory of a server whose weights are on GPUs."""
JOB_GIB = 0.7
"""A stage's own process: its rows in flight and tables."""
RAY_HEAD_GIB = 2.0
"""Ray 2.60 with nothing to do (measured 1.9 to 2.05 GiB)."""
WORKER_BASE_GIB = 1.2
"""A Ray Train worker with torch, transformers, TRL and DeepSpeed imported (measured 0.8 to 1.0 GiB)."""
TRAINING_COPIES = 5.0
"""Weights, gradients, two optimiser moments and activations, in sizes of the float32 weights."""


def server(serving: Serving, *, weights_gib: float, cache_gib: float) -> Demand:
    """One server. `serving.memoryGib` wins over the estimate: 1.5 GiB, the cache, twice the weights (file and copy)."""
    if serving.gpus:
        return Demand(GPU_SERVER_GIB, serving.gpus, served_gpus=serving.gpus)
    if serving.memory_gib is not None:
        return Demand(float(serving.memory_gib))
    return Demand(CPU_SERVER_BASE_GIB + cache_gib + 2 * weights_gib)


def trainer(resources: TrainingResources, *, weights_gib: float) -> Demand:
    """A local Ray with its workers. `training.resources.memoryGib` (a worker's) wins over the estimate."""
    gpus = resources.workers * resources.gpus_per_worker
    copies = 1.0 if gpus else TRAINING_COPIES
    worker = WORKER_BASE_GIB + copies * weights_gib if resources.memory_gib is None else float(resources.memory_gib)
    return Demand(RAY_HEAD_GIB + resources.workers * worker, gpus)


def job(stage: Stage, resource: MoAA, *, student_gib: float) -> Demand:
    """What the stage's job needs itself, servers aside. `student_gib` is the size of the weights it trains."""
    if stage.kind in TRAINING:
        return trainer(resource.spec.training.resources, weights_gib=student_gib)
    return Demand(JOB_GIB)


def too_large(stages: Iterable[Stage], resource: MoAA, *, gpus: int) -> str | None:
    """What in these stages can never run on one machine, with so many GPUs, and what to change; None: nothing."""
    spec, resources = resource.spec, resource.spec.training.resources
    for stage in stages:
        wanted = resources.workers * resources.gpus_per_worker
        if stage.kind in TRAINING and wanted > gpus:
            return (
                f"{stage.id}: spec.training.resources needs {wanted} GPUs (workers × gpusPerWorker), there are {gpus} "
                "here; lower workers, write gpusPerWorker: 0 to train on the CPU, or use a machine with GPUs"
            )
        for name in stage.serves:
            model = spec.model(spec.student if made_by(name) else name)
            if model.endpoint is None and model.serving.nodes > 1:
                return (
                    f"{stage.id}: spec.models {model.name} has serving.nodes {model.serving.nodes}, and this is one "
                    "machine; remove nodes to serve it here, or apply the resource to a cluster (moaa submit)"
                )
            if model.endpoint is None and model.serving.gpus > gpus:
                return (
                    f"{stage.id}: spec.models {model.name} has serving.gpus {model.serving.gpus}, and there are {gpus} "
                    "here; write gpus: 0 to serve it on the CPU, or use a machine with GPUs"
                )
    return None
