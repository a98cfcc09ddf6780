"""How the workers find each other: torch's process group, joined inside the loop.

Ray Train's own torch backend does the same from its controller, and so makes driver and controller import torch: six
seconds of CPU and a gigabyte of memory for two processes that never touch a tensor.
"""

import os
import socket
from datetime import timedelta

from ray.train.backend import Backend, BackendConfig

TIMEOUT_S = 7200
"""Gathering and saving a large ZeRO-3 model takes longer than torch's ten minutes."""


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
    import torch
    import torch.distributed as dist
    from ray.train.collective import broadcast_from_rank_zero

    context = ray.train.get_context()
    address = broadcast_from_rank_zero(_free_address() if context.get_world_rank() == 0 else None)
    device = ray.train.torch.get_device()
    os.environ |= {
        "MASTER_ADDR": address[0],
        "MASTER_PORT": str(address[1]),
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "NODE_RANK": str(context.get_node_rank()),
        "ACCELERATE_TORCH_DEVICE": str(device),
    }
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(seconds=TIMEOUT_S))


def leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _free_address() -> tuple[str, int]:
    """This machine's address and a port that nobody listens on now."""
    import ray.util

    address: str = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return address, port
