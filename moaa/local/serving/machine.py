"""What the machine has to give: memory for processes, and GPUs by their identifiers."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moaa.errors import UsageError

KIB_PER_GIB = 1024 * 1024
RESERVE_GIB = 1.0
"""Left for the runner itself, the page cache and other users of the machine."""
NVIDIA_SMI_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Capacity:
    """What all processes of a run together may use."""

    memory_gib: float
    gpus: tuple[str, ...] = ()
    """Identifiers as CUDA_VISIBLE_DEVICES takes them."""
    max_served_gpus: int | None = None
    """GPUs that all servers together may hold; None: all."""


@dataclass(frozen=True)
class Demand:
    """What one process, with its children, needs."""

    memory_gib: float
    gpus: int = 0
    served_gpus: int = 0
    """Those of `gpus` that servers hold."""

    def __add__(self, other: "Demand") -> "Demand":
        return Demand(self.memory_gib + other.memory_gib, self.gpus + other.gpus, self.served_gpus + other.served_gpus)

    def fits(self, capacity: Capacity) -> bool:
        is_within = capacity.max_served_gpus is None or self.served_gpus <= capacity.max_served_gpus
        return self.memory_gib <= capacity.memory_gib and self.gpus <= len(capacity.gpus) and is_within


NOTHING = Demand(0.0)


def available_gib(meminfo: str, *, cgroup_limit: str = "max", cgroup_usage: str = "0", cgroup_stat: str = "") -> float:
    """GiB that can still be used, from the texts of /proc/meminfo and the cgroup's memory.max, .current and .stat.

    A cgroup's usage counts files that were read, which the kernel drops when memory is asked for.

    >>> available_gib("MemTotal: 33554432 kB\\nMemAvailable: 16777216 kB\\n")
    16.0
    """
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    free = int(fields["MemAvailable"].split()[0]) / KIB_PER_GIB
    if cgroup_limit.strip() != "max":
        stat = dict(line.split() for line in cgroup_stat.splitlines())
        used = int(cgroup_usage) - int(stat.get("inactive_file", 0))
        free = min(free, (int(cgroup_limit) - used) / 1024**3)
    return free


def visible_gpus(environment: Mapping[str, str], nvidia_smi: str) -> tuple[str, ...]:
    """GPU identifiers: CUDA_VISIBLE_DEVICES when it is set (empty means none), else those `nvidia-smi -L` lists."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(part.strip() for part in chosen.split(",") if part.strip() not in ("", "-1"))
    # "GPU 0: NVIDIA H100 (UUID: …)"; lines of MIG instances are indented.
    return tuple(line.split(":")[0].removeprefix("GPU ") for line in nvidia_smi.splitlines() if line.startswith("GPU "))


def visible(inherited: Mapping[str, str], gpus: Sequence[str]) -> dict[str, str]:
    """Environment that makes a process see these GPUs and no other.

    nvidia-smi numbers GPUs in the order of the bus; CUDA by itself puts the fastest first. Where CUDA_VISIBLE_DEVICES
    was set for us, its order is kept as it is.
    """
    order = {} if "CUDA_VISIBLE_DEVICES" in inherited else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {**order, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}


def _list_gpus() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"nvidia-smi -L gave no answer in {NVIDIA_SMI_TIMEOUT_S:.0f} s; check the driver, "
            "or set CUDA_VISIBLE_DEVICES to the GPUs to use (empty: none)"
        ) from error
    return done.stdout if done.returncode == 0 else ""


def _read(path: str, default: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else default


def capacity(*, memory_gib: float | None, gpus: int | None) -> Capacity:
    """What this machine offers, or the part of it the caller asks for.

    Raises:
        UsageError: more GPUs are asked for than there are.
    """
    found = visible_gpus(os.environ, _list_gpus())
    if gpus is not None and gpus > len(found):
        raise UsageError(f"--gpus {gpus}: the machine shows {len(found)}; give at most that many")
    if memory_gib is None:
        free = available_gib(
            _read("/proc/meminfo", ""),
            cgroup_limit=_read("/sys/fs/cgroup/memory.max", "max"),
            cgroup_usage=_read("/sys/fs/cgroup/memory.current", "0"),
            cgroup_stat=_read("/sys/fs/cgroup/memory.stat", ""),
        )
        memory_gib = free - RESERVE_GIB
    return Capacity(memory_gib=round(memory_gib, 2), gpus=found if gpus is None else found[:gpus])
