"""How the workers find each other: torch's process group, joined inside the loop.

Ray Train's own torch backend does the same from its controller, and so makes driver and controller import torch: six
seconds of CPU and a gigabyte of memory for two processes that never touch a tensor.
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from ray.train.backend import Backend, BackendConfig

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, but not re-exported

TIMEOUT_S = 7200
"""Of one collective. A training that stands still ends before (`training.resources.stallMinutes`). This bounds what
shows no progress: gathering and saving a large ZeRO-3 model."""
MEET_EVERY_S = 0.2


class SharedDevices(Backend):  # type: ignore[misc]  # untyped base
    """Every worker sees all GPUs that this run has on its machine, as NCCL and DeepSpeed's local ranks expect."""

    share_cuda_visible_devices = True


class SharedDevicesConfig(BackendConfig):  # type: ignore[misc]  # untyped base
    @property
    def backend_cls(self) -> type[SharedDevices]:
        return SharedDevices


def join(*, on_gpu: bool) -> None:
    """Join the process group of this worker group; sets what torchrun would set. Every worker calls it once."""
    import ray.train
    import ray.train.torch
    import ray.util
    import torch
    import torch.distributed as dist
    from ray.train.collective import broadcast_from_rank_zero
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not re-exported

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    hosted = host_store(ray.util.get_node_ip_address()) if rank == 0 else None
    host, port = broadcast_from_rank_zero((hosted.host, hosted.port) if hosted else None)
    device = ray.train.torch.get_device()
    os.environ |= {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "NODE_RANK": str(context.get_node_rank()),
        "ACCELERATE_TORCH_DEVICE": str(device),
    }
    if on_gpu:
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=TIMEOUT_S)
    store = hosted or TCPStore(host, port, is_master=False, timeout=timeout)
    dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=timeout)


def host_store(address: str) -> "TCPStore":
    """The store over which the workers meet. It listens on a port of its own choice before the workers learn of it.

    Where many processes run, a port that is looked up first and bound later may be taken meanwhile; then the worker
    group fails and starts over.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not re-exported

    return TCPStore(address, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=TIMEOUT_S))


def meet(place: str) -> None:
    """Wait until every worker is here, however long a download takes one of them: a collective would give up after
    `TIMEOUT_S`. When one fails meanwhile, Ray Train ends all. A worker group may use each `place` once."""
    import torch.distributed as dist

    gather(shared_values(), place, dist.get_world_size())


def shared_values() -> "Store":
    """The key-value store of this worker group."""
    import torch.distributed as dist

    return dist.distributed_c10d._get_default_store()


def gather(store: "Store", place: str, workers: int, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until `workers` have called it with this `place`."""
    here = store.add(f"moaa/{place}", 1)
    while here < workers:
        sleep(MEET_EVERY_S)
        here = store.add(f"moaa/{place}", 0)


def all_say(yes: bool, device: "torch.device") -> bool:
    """Whether every worker says so. A collective: all must call it."""
    import torch
    import torch.distributed as dist

    said = torch.tensor([yes], dtype=torch.int32, device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MIN)
    return bool(said.item())


def leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
