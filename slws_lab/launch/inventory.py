"""What this machine has: GPUs and their memory, by NVML, and the cores that this process may use. Replaceable, see `Inventory`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from slws_lab.errors import UserError

GB = 2**30


@dataclass(frozen=True)
class Gpu:
    """A GPU, or an instance of one that is cut in parts (MIG).

    Attributes:
        index: Its number as nvidia-smi shows it, `0:1` for an instance.
        name: Its kind.
        memory_gb: All its memory.
        uuid: Its own name in the world; empty where nobody knows.
    """

    index: str
    name: str
    memory_gb: float
    uuid: str = ""

    @property
    def visible(self) -> str:
        """What CUDA_VISIBLE_DEVICES calls it: the UUID where it is known, since CUDA may count in another order than nvidia-smi."""
        return self.uuid or self.index


@dataclass(frozen=True)
class Usage:
    """Memory of a GPU that is taken now.

    Attributes:
        used_gb: By all processes together.
        processes: GB of each process, without those of which the driver does not tell, as in most containers.
    """

    used_gb: float
    processes: Mapping[int, float]


class Inventory(Protocol):
    """What a machine has."""

    def gpus(self) -> Sequence[Gpu]:
        """Return the GPUs that may be used."""

    def cores(self) -> int:
        """Return the number of cores that may be used."""

    def usage(self, gpu: Gpu) -> Usage:
        """Return what of a GPU's memory is taken at this moment."""


class Machine:
    """The machine that this process runs on."""

    def gpus(self) -> Sequence[Gpu]:
        return gpus()

    def cores(self) -> int:
        return cores()

    def usage(self, gpu: Gpu) -> Usage:
        return usage(gpu)


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA may use here: all, or those that CUDA_VISIBLE_DEVICES names; none without a driver.

    Raises:
        UserError: The driver is there and fails, or CUDA_VISIBLE_DEVICES names what is not there.
    """
    return visible(_found(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(found: Sequence[Gpu], names: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that a value of CUDA_VISIBLE_DEVICES names, in its order.

    Args:
        found: All GPUs.
        names: Numbers, UUIDs (`GPU-…`, `MIG-…`) or beginnings of them, separated by commas; empty or -1 for none; None for all.

    Raises:
        UserError: A name fits none, or more than one UUID.
    """
    if names is None or not found:
        return tuple(found)
    chosen: dict[Gpu, None] = {}
    for name in (part.strip() for part in names.split(",") if part.strip()):
        if name == "-1":  # CUDA takes nothing from there on
            break
        fitting = [gpu for gpu in found if _fits(gpu, name)]
        if not fitting or (len(fitting) > 1 and not name.isdigit()):
            allowed = ", ".join(f"{gpu.index} ({gpu.uuid})" if gpu.uuid else gpu.index for gpu in found)
            raise UserError(f"'{name}' names {'more than one GPU' if fitting else 'no GPU of this machine'}",
                            where="CUDA_VISIBLE_DEVICES", allowed=allowed)  # fmt: skip
        chosen |= dict.fromkeys(fitting)
    return tuple(chosen)


def usage(gpu: Gpu) -> Usage:
    """Return what of a GPU's memory is taken at this moment."""
    import pynvml

    with _told(f"GPU {gpu.index}"):
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid.encode())
        used = pynvml.nvmlDeviceGetMemoryInfo(handle).used / GB
        try:
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission):
            running = []
    return Usage(used, {one.pid: one.usedGpuMemory / GB for one in running if one.usedGpuMemory is not None})


def own_gb() -> float | None:
    """Return the memory that this process has on its GPUs, its CUDA context too; None where the driver does not tell."""
    found = [usage(gpu).processes.get(os.getpid()) for gpu in gpus()]
    known = [gb for gb in found if gb is not None]
    return sum(known) if known else None


def cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares_by_mps() -> bool:
    """Say whether NVIDIA's multi-process service is on: then processes on one GPU compute side by side, not in turns."""
    pipes = os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or Path("/", "tmp", "nvidia-mps")  # NVIDIA's default
    return Path(pipes, "control").exists()


def _fits(gpu: Gpu, name: str) -> bool:
    if name.isdigit():
        return gpu.index.split(":")[0] == name
    return bool(gpu.uuid) and gpu.uuid.startswith(name)


@cache
def _found() -> tuple[Gpu, ...]:
    """Return all GPUs that NVML sees; of one in parts the parts."""
    import pynvml

    with _told("the NVIDIA driver"):
        try:
            pynvml.nvmlInit()
        except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
            return ()
        count = pynvml.nvmlDeviceGetCount()
    found: list[Gpu] = []
    for number in range(count):
        with _told(f"GPU {number}"):
            found += [
                _gpu(index, handle) for index, handle in _parts(number, pynvml.nvmlDeviceGetHandleByIndex(number))
            ]
    return tuple(found)


def _parts(number: int, handle: Any) -> list[tuple[str, Any]]:
    """Return index and handle of a GPU, or of each of its instances where it is cut."""
    import pynvml

    try:
        cut = pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        cut = False
    if not cut:
        return [(str(number), handle)]
    parts = []
    for part in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(pynvml.NVMLError_NotFound):  # there may be fewer
            parts.append((f"{number}:{part}", pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, part)))
    return parts


def _gpu(index: str, handle: Any) -> Gpu:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / GB
    return Gpu(index, pynvml.nvmlDeviceGetName(handle), memory, pynvml.nvmlDeviceGetUUID(handle))


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what NVML says into a message: computing on the CPU instead, without a word, would cost days."""
    import pynvml

    try:
        yield
    except pynvml.NVMLError as error:
        raise UserError(f"{what} fails: {error}", where="NVML",
                        todo="see what nvidia-smi says, or compute on the CPU by `resources: {gpus: 0}`") from error  # fmt: skip
