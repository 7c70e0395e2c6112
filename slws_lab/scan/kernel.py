"""kernel.cpp as Python sees it: its structures, its functions, its threads; what they compute is in native and conv."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import ClassVar

import torch
from torch import Tensor

from slws_lab.scan import compile

REALS = {torch.float32: "float", torch.float64: "double"}
WORTH_A_THREAD = 1 << 18  # steps of one state of one channel: some tenth of a millisecond
_forked = False


class Rows(ctypes.Structure):
    """A tensor (batch, length, channels) whose last axis is dense; the strides are in elements, real or bfloat16."""

    _fields_: ClassVar = [("data", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "row", "bf16"))]


class Threads(ctypes.Structure):
    """How many threads work, and the function that gets them to work; without one the kernel starts them itself."""

    _fields_: ClassVar = [("count", ctypes.c_int64), ("fork", ctypes.c_void_p)]


class Direction(ctypes.Structure):
    """What one direction of a scan reads and writes."""

    _fields_: ClassVar = [
        *((name, Rows) for name in ("u", "delta", "B", "C", "grad_u", "grad_delta", "grad_B", "grad_C")),
        *((name, ctypes.c_void_p) for name in ("A", "D", "bias", "grad_A", "grad_D", "grad_bias", "borders")),
        ("reverse", ctypes.c_int64),
    ]


class Scan(ctypes.Structure):
    """One scan in one or two directions."""

    _fields_: ClassVar = [
        *((name, ctypes.c_int64) for name in ("batch", "length", "width", "state", "softplus", "directions")),
        ("scale", ctypes.c_double),
        *((name, Rows) for name in ("z", "y", "out", "grad_out", "grad_z")),
        ("direction", Direction * 2),
        ("work", ctypes.c_void_p),
        ("threads", Threads),
    ]


class Conv(ctypes.Structure):
    """One causal convolution with SiLU."""

    _fields_: ClassVar = [
        *((name, ctypes.c_int64) for name in ("batch", "length", "width", "reverse")),
        *((name, Rows) for name in ("x", "y", "grad_y", "grad_x")),
        *((name, ctypes.c_void_p) for name in ("taps", "bias", "grad_taps", "grad_bias")),
        ("work", ctypes.c_void_p),
        ("threads", Threads),
    ]


@functools.cache
def load(dtype: torch.dtype) -> ctypes.CDLL:
    """Return the kernel for float32 or float64, ready to be called.

    Raises:
        BuildError: If it cannot be compiled or loaded here.
    """
    kernel = compile.library(REALS[dtype])
    for name, structure in (("scan", Scan), ("conv", Conv)):
        pointer = ctypes.POINTER(structure)
        for direction in ("forward", "backward"):
            entry = getattr(kernel, f"{name}_{direction}")
            entry.argtypes, entry.restype = [pointer], None
        size = getattr(kernel, f"{name}_work_size")
        size.argtypes, size.restype = [pointer, ctypes.c_int64], ctypes.c_int64
    return kernel


def tile_sizes(dtype: torch.dtype) -> tuple[int, int]:
    """Return how many steps a chunk of time has, and how many channels a vector."""
    kernel = load(dtype)
    return kernel.steps(), kernel.lanes()


def run(name: str, call: Scan | Conv, dtype: torch.dtype, backward: bool) -> None:
    """Run the kernel's `name` ("scan" or "conv") with memory to work in; all that `call` points to must be alive."""
    kernel = load(dtype)
    work = torch.empty(getattr(kernel, f"{name}_work_size")(call, backward), dtype=dtype)
    call.work = work.data_ptr()
    getattr(kernel, f"{name}_{'backward' if backward else 'forward'}")(call)


def threads(steps: int) -> Threads:
    """Return torch's threads, fewer for little work: `steps` steps of one state of one channel."""
    return Threads(min(torch.get_num_threads(), 1 + steps // WORTH_A_THREAD), None if _forked else _openmp())


def rows(tensor: Tensor) -> Rows:
    """Return the kernel's view of a (batch, length, channels) tensor from `dense_rows`, which must be kept alive."""
    return Rows(tensor.data_ptr(), tensor.stride(0), tensor.stride(1), tensor.dtype == torch.bfloat16)


def dense_rows(tensor: Tensor) -> Tensor:
    """Return the tensor itself if its last axis is dense in memory, else a copy."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def dense(shape_of: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a new tensor of that shape, and of that type if no other is given, without gaps in memory."""
    return torch.empty(shape_of.shape, dtype=dtype or shape_of.dtype)


def stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor of a type that a kernel working in `dtype` reads: that one, or bfloat16 beside float32."""
    as_it_is = tensor.dtype == torch.bfloat16 and dtype == torch.float32
    return tensor if as_it_is else tensor.to(dtype)


@functools.cache
def _openmp() -> int | None:
    """Return the address of the OpenMP function by which torch runs its own threads, if it uses such."""
    entry = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    return entry and ctypes.cast(entry, ctypes.c_void_p).value


def _after_fork() -> None:
    global _forked  # noqa: PLW0603 (OpenMP's threads did not survive the fork, and calling it would wait for them)
    _forked = True


os.register_at_fork(after_in_child=_after_fork)
