"""The selective scan by our Triton kernels: one or both directions in one launch, with softplus, skip and gate.

A sequence of any length is walked step by step, without padding, since samples and channels are many; only the states
before every 8th step are kept, and backward recomputes the rest in registers. Gradients have the same bits each time:
there are no atomics, and how work is cut follows from the shapes alone, not from timing. State and sums are float32
(float64 for float64 input) whatever the input. Backward can be differentiated once, not twice.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slws_lab.scan.inputs import ScanInputs
from slws_lab.scan.operator import differentiate, eager_scan

OLDEST = (3, 3)  # the first Triton whose kernels take tuples
CHUNK = 4  # steps that are written out in a row; backward holds their states and decays in registers
SPACING = 8  # steps between two states that forward keeps for backward, a multiple of CHUNK
FORWARD_TILE, BACKWARD_TILE = 1024, 512  # elements of a (state, channel) tile for one warp
FEWEST_CHANNELS, MOST_CHANNELS, MOST_WARPS = 16, 128, 8  # of a program
MOST_STATES = 256
MOST_ELEMENTS = 1 << 31  # of a sample: the kernels count them in 32 bits
PER_WAY = 7  # u, delta, A, B, C, D, bias
LOG2_E = math.log2(math.e)


class _Switches(NamedTuple):
    """What is not a tensor: the factor of the gate, softplus or not, the first way's direction, whether to keep."""

    scale: float
    softplus: bool
    reverse: bool
    keep: bool


@torch.compiler.assume_constant_result
def obstacle(device: torch.device) -> str:
    """Return why the kernels cannot run on the device, or an empty string; under TRITON_INTERPRET=1 a CPU can."""
    if device.type != "cuda" and not (device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return "it is for NVIDIA GPUs"
    return _obstacle_of_package()


def scan(inputs: ScanInputs) -> Tensor:
    """Return y, (batch, length, width), equal to the reference within rounding; once differentiable."""
    return _run([inputs], inputs.z, 1.0)


def scan_pair(forth: ScanInputs, back: ScanInputs, z: Tensor | None, scale: float) -> Tensor:
    """Return (y of forth + y of back) scale SiLU(z); the two must run in opposite directions, without gates."""
    return _run([forth, back], z, scale)


@functools.cache
def _obstacle_of_package() -> str:
    try:
        import triton  # type: ignore[import-untyped]
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    found = str(triton.__version__)
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        return f"it needs triton {'.'.join(map(str, OLDEST))} or newer, found {found}"
    return ""


def _run(ways: list[ScanInputs], z: Tensor | None, scale: float) -> Tensor:
    first = ways[0]
    if first.A.shape[1] > MOST_STATES:
        raise ValueError(f"the Triton scan takes up to {MOST_STATES} states, got {first.A.shape[1]}")
    if first.u[0].numel() >= MOST_ELEMENTS:
        raise ValueError(
            f"the Triton scan takes fewer than {MOST_ELEMENTS} elements a sample, got {first.u[0].numel()}"
        )
    tensors = [tensor for way in ways for tensor in _tensors(way)]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (*tensors, z) if t is not None)
    switches = scale, first.delta_softplus, first.reverse, keep
    # an operator of its own cannot be looked into by torch.compile, and costs more a call
    compiling = torch.compiler.is_compiling()
    return _scan_operator(tensors, z, *switches)[0] if compiling else _eager_scan(z, *switches, *tensors)


def _tensors(way: ScanInputs) -> list[Tensor]:
    zeros = way.u.new_zeros(way.u.shape[2]) if way.D is None or way.delta_bias is None else None
    D, bias = (zeros if tensor is None else tensor for tensor in (way.D, way.delta_bias))
    # every channel reads all of B and C, so they are converted once, here
    B, C = way.B.to(sum_dtype(way.u)), way.C.to(sum_dtype(way.u))
    return [way.u, way.delta, way.A, B, C, D, bias]  # type: ignore[list-item]


def _forward(
    tensors: Sequence[Tensor], z: Tensor | None, scale: float, softplus: bool, reverse: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the sum before the gate and the kept states, the last two empty if not needed."""
    from slws_lab.scan import triton_kernels

    out, y, borders = _results(tensors, z, keep)
    kept = borders.unbind() if keep else [borders] * (len(tensors) // PER_WAY)
    call = _Call(tensors, kept, z, _Switches(scale, softplus, reverse, keep), FORWARD_TILE)
    with torch.cuda.device_of(out):
        triton_kernels.forward[call.programs,](call.ways, call.z, y, out, *call.sizes, KEEP=keep, **call.options)
    return out, y if keep and z is not None else y.new_empty(0), borders


def _backward(
    grad_out: Tensor,
    y: Tensor,
    borders: Tensor,
    tensors: Sequence[Tensor],
    z: Tensor | None,
    scale: float,
    softplus: bool,
    reverse: bool,
) -> list[Tensor]:
    """Return the gradients of the tensors and, if there is a gate, of z."""
    from slws_lab.scan import triton_kernels

    call = _Call(tensors, borders.unbind(), z, _Switches(scale, softplus, reverse, True), BACKWARD_TILE)
    parts = [_parts(way, call.blocks) for way in _by_way(tensors)]
    grad_z = grad_out.new_empty(0) if z is None else torch.empty_like(z, memory_format=torch.contiguous_format)
    with torch.cuda.device_of(grad_out):
        triton_kernels.backward[call.programs,](
            call.ways, tuple(parts), call.z, y, grad_out.contiguous(), grad_z, *call.sizes, **call.options
        )
    grads = [grad for way, part in zip(_by_way(tensors), parts, strict=True) for grad in _summed(way, part)]
    return grads if z is None else [*grads, grad_z]


class _Call:
    """What forward and backward hand to their kernels alike."""

    def __init__(
        self, tensors: Sequence[Tensor], borders: Sequence[Tensor], z: Tensor | None, switches: _Switches, tile: int
    ) -> None:
        (batch, length, width), states = tensors[0].shape, tensors[2].shape[1]
        padded = power_of_2(states)
        channels = max(FEWEST_CHANNELS, min(tile // padded, MOST_CHANNELS, power_of_2(width)))
        self.blocks = -(-width // channels)
        self.programs = batch * self.blocks
        self.ways = tuple(_way(way, border) for way, border in zip(_by_way(tensors), borders, strict=True))
        self.z = tensors[0] if z is None else with_rows(z)
        self.sizes = length, width, states, self.z.stride(1)
        self.options = {
            "SCALE": switches.scale,
            "SOFTPLUS": switches.softplus,
            "REVERSE": switches.reverse,
            "GATED": z is not None,
            "WAYS": len(self.ways),
            "CHUNK": CHUNK,
            "SPACING": SPACING,
            "CHANNELS": channels,
            "STATES": padded,
            "WHOLE": width % channels == 0 and states == padded,
            "ACC": acc(tensors[0].dtype),
            "num_warps": min(MOST_WARPS, max(1, padded * channels // tile)),
            "enable_fp_fusion": True,
        }


def _way(tensors: Sequence[Tensor], borders: Tensor) -> tuple[Any, ...]:
    """Return what the kernels call a way, from the seven tensors of one direction."""
    u, delta, A, B, C, D, bias = tensors
    rates = (A.to(sum_dtype(u)).t() * LOG2_E).contiguous()
    u, delta, B, C = (with_rows(tensor) for tensor in (u, delta, B, C))
    strides = (tensor.stride(1) for tensor in (u, delta, B, C))
    return u, delta, rates, B, C, D.contiguous(), bias.contiguous(), borders, *strides


def with_rows(tensor: Tensor) -> Tensor:
    """Return the (batch, length, channels) tensor so that one stride leads from token to token over all samples."""
    length, channels = tensor.shape[1:]
    is_dense = (channels == 1 or tensor.stride(2) == 1) and length * tensor.stride(1) < MOST_ELEMENTS
    has_rows = tensor.shape[0] == 1 or tensor.stride(0) == length * tensor.stride(1)
    return tensor if is_dense and has_rows else tensor.contiguous()


def _results(tensors: Sequence[Tensor], z: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return room for the output, for the sum before the gate and for the kept states."""
    u, ways = tensors[0], len(tensors) // PER_WAY
    needs_y = ways > 1 or (keep and z is not None)
    y = u.new_empty(u.shape if needs_y else 0, dtype=sum_dtype(u))
    shape = (ways, u.shape[0], -(-u.shape[1] // SPACING), tensors[2].shape[1], u.shape[2])
    borders = u.new_empty(shape if keep else 0, dtype=sum_dtype(u))
    return u.new_empty(u.shape), y, borders


def _parts(way: Sequence[Tensor], blocks: int) -> tuple[Tensor, ...]:
    """Return room for what backward writes for one way, as `triton_kernels.backward` says."""
    u, delta, A, *_ = way
    batch, states = len(u), A.shape[1]

    def room(*shape: int) -> Tensor:
        return u.new_empty(shape, dtype=sum_dtype(u))

    of_B, of_C = (room(blocks, batch, u.shape[1], states) for _ in range(2))
    of_A, of_D, of_bias = room(batch, states, u.shape[2]), room(batch, u.shape[2]), room(batch, u.shape[2])
    return u.new_empty(u.shape), delta.new_empty(delta.shape), of_B, of_C, of_A, of_D, of_bias


def _summed(way: Sequence[Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of one direction's seven tensors."""
    u, delta, *sums = parts
    B, C, A, D, bias = (part.sum(0) for part in sums)
    grads = u, delta, A.t().contiguous(), B, C, D, bias
    return [grad.to(tensor.dtype) for grad, tensor in zip(grads, way, strict=True)]


def _by_way(tensors: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    return [tensors[start : start + PER_WAY] for start in range(0, len(tensors), PER_WAY)]


def power_of_2(number: int) -> int:
    """Return the smallest power of 2 that is not below the number."""
    return 1 << (number - 1).bit_length()


def sum_dtype(u: Tensor) -> torch.dtype:
    """Return the type of sums over such values: float32 or wider."""
    return torch.promote_types(u.dtype, torch.float32)


def acc(dtype: torch.dtype) -> Any:
    """Return what Triton calls the type of sums over values of that type."""
    import triton.language as tl  # type: ignore[import-untyped]

    return tl.float64 if dtype == torch.float64 else tl.float32


_eager_scan = eager_scan(_forward, _backward)
_scan_operator = torch.library.custom_op("slws_lab::triton_scan", _forward, mutates_args=())
_gradient_operator = torch.library.custom_op("slws_lab::triton_scan_gradient", _backward, mutates_args=())


@_scan_operator.register_fake
def _(
    tensors: Sequence[Tensor], z: Tensor | None, scale: float, softplus: bool, reverse: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    out, y, borders = _results(tensors, z, keep)
    return out, y if keep and z is not None else y.new_empty(0), borders


differentiate(_scan_operator, _gradient_operator)
