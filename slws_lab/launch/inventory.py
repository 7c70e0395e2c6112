"""What this machine has: GPUs, by NVML, and the cores that this process may use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Gpu:
    """A GPU: its index for CUDA, name, and memory in GB."""

    index: str
    name: str
    memory_gb: float


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA may use here: all, or those that CUDA_VISIBLE_DEVICES names; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    found = [
        Gpu(str(i), pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30)
        for i, handle in enumerate(handles)
    ]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(found)
    wanted = [part.strip() for part in visible.split(",") if part.strip()]
    by_index = {gpu.index: gpu for gpu in found}
    return tuple(by_index.get(index, Gpu(index, "GPU " + index, 0.0)) for index in wanted if index != "-1")


def cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
