"""The selective scan by the compiled kernel: one or both directions, gate, skip and softplus in one pass over memory.

The kernel works in float32, or float64 for float64 input; it reads and writes bfloat16 too, float16 is converted.
Backward can be differentiated once, not twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slws_lab.scan import compile, kernel
from slws_lab.scan.inputs import ScanInputs
from slws_lab.scan.operator import differentiate, eager_scan

PER_DIRECTION = 7  # u, delta, A, B, C, D, bias


@torch.compiler.assume_constant_result
def obstacle(device: torch.device) -> str:
    """Return why the kernel cannot run on the device, or an empty string; the first call may compile it."""
    return compile.obstacle() if device.type == "cpu" else "it is for the CPU"


def scan(inputs: ScanInputs) -> Tensor:
    """Return y, (batch, length, width), equal to the reference within rounding; once differentiable."""
    return _run([inputs], inputs.z, 1.0)


def scan_pair(forth: ScanInputs, back: ScanInputs, z: Tensor | None, scale: float) -> Tensor:
    """Return (y of forth + y of back) scale SiLU(z); the two must run in opposite directions, without gates."""
    return _run([forth, back], z, scale)


def _run(ways: list[ScanInputs], z: Tensor | None, scale: float) -> Tensor:
    first = ways[0]
    dtype = first.accumulate_dtype
    tensors = [tensor for way in ways for tensor in _tensors(way, dtype)]
    z = None if z is None else kernel.stored(z, dtype)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (*tensors, z) if t is not None)
    switches = scale, first.delta_softplus, first.reverse, keep
    # an operator of its own cannot be looked into by torch.compile, and costs more a call
    compiling = torch.compiler.is_compiling()
    out = _scan_operator(tensors, z, *switches)[0] if compiling else _eager_scan(z, *switches, *tensors)
    return out.to(first.u.dtype)


def _tensors(way: ScanInputs, dtype: torch.dtype) -> list[Tensor]:
    u, delta, B, C = (kernel.stored(tensor, dtype) for tensor in (way.u, way.delta, way.B, way.C))
    D, bias = (u.new_zeros(u.shape[2]) if tensor is None else tensor for tensor in (way.D, way.delta_bias))
    return [u, delta, way.A.to(dtype), B, C, D.to(dtype), bias.to(dtype)]


def _forward(
    tensors: Sequence[Tensor], z: Tensor | None, scale: float, softplus: bool, reverse: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the sum before the gate and the states at chunk borders, the last two empty if not needed."""
    call = _Call(tensors, z, scale, softplus, reverse)
    u, A = tensors[0], tensors[2]
    kept = keep and z is not None
    y = kernel.dense(u, A.dtype)  # the sum of both directions, rounded once, at its end
    out = y if z is None or (not kept and u.dtype == y.dtype) else kernel.dense(u)
    borders = A.new_empty(_border_shape(tensors, keep))
    call.struct.y, call.struct.out = kernel.rows(y), kernel.rows(out)
    for way, border in zip(call.ways, borders, strict=False):
        way.borders = border.data_ptr()
    call.run(backward=False)
    return out.to(u.dtype), y if kept else y.new_empty(0), borders


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
    call = _Call(tensors, z, scale, softplus, reverse)
    call.struct.grad_out = call.hold(grad_out)
    grads = [kernel.dense(tensor) for tensor in tensors]
    if z is not None:
        grads.append(kernel.dense(z))
        call.struct.y, call.struct.grad_z = kernel.rows(y), kernel.rows(grads[-1])
    for way, part, border in zip(call.ways, _by_direction(grads), borders, strict=True):
        u, delta, A, B, C, D, bias = part
        way.grad_u, way.grad_delta, way.grad_B, way.grad_C = map(kernel.rows, (u, delta, B, C))
        way.grad_A, way.grad_D, way.grad_bias = A.data_ptr(), D.data_ptr(), bias.data_ptr()
        way.borders = border.data_ptr()
    call.run(backward=True)
    return grads


class _Call:
    """A call of the kernel: its structure, filled with what forward and backward share, and what it points to."""

    def __init__(
        self, tensors: Sequence[Tensor], z: Tensor | None, scale: float, softplus: bool, reverse: bool
    ) -> None:
        u, state = tensors[0], tensors[2].shape[1]
        directions = len(tensors) // PER_DIRECTION
        self.struct = kernel.Scan(*u.shape, state, softplus, directions, scale)
        self.struct.threads = kernel.threads(u.numel() * state)
        self.ways = [self.struct.direction[i] for i in range(directions)]
        self._held: list[Tensor] = []
        self._dtype = tensors[2].dtype
        if z is not None:
            self.struct.z = self.hold(z)
        for i, (way, part) in enumerate(zip(self.ways, _by_direction(tensors), strict=True)):
            u, delta, A, B, C, D, bias = part
            way.u, way.delta, way.B, way.C = map(self.hold, (u, delta, B, C))
            way.A, way.D, way.bias = (self.hold(tensor.contiguous().view(1, 1, -1)).data for tensor in (A, D, bias))
            way.reverse = reverse != bool(i)

    def hold(self, tensor: Tensor) -> kernel.Rows:
        """Return the kernel's view of a (batch, length, channels) tensor, kept alive as long as this call."""
        self._held.append(kernel.dense_rows(tensor))
        return kernel.rows(self._held[-1])

    def run(self, backward: bool) -> None:
        """Run the kernel."""
        kernel.run("scan", self.struct, self._dtype, backward)


def _by_direction(tensors: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    starts = range(0, len(tensors) // PER_DIRECTION * PER_DIRECTION, PER_DIRECTION)
    return [tensors[start : start + PER_DIRECTION] for start in starts]


_eager_scan = eager_scan(_forward, _backward)
_scan_operator = torch.library.custom_op("slws_lab::native_scan", _forward, mutates_args=())
_gradient_operator = torch.library.custom_op("slws_lab::native_scan_gradient", _backward, mutates_args=())


@_scan_operator.register_fake
def _(
    tensors: Sequence[Tensor], z: Tensor | None, scale: float, softplus: bool, reverse: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    u, A = tensors[0], tensors[2]
    y = A.new_empty(u.shape if keep and z is not None else 0)
    return u.new_empty(u.shape), y, A.new_empty(_border_shape(tensors, keep))


differentiate(_scan_operator, _gradient_operator)


def _border_shape(tensors: Sequence[Tensor], keep: bool) -> tuple[int, ...]:
    """Return (directions, batch, chunks, state, padded width) of the states that forward keeps for backward."""
    (batch, length, width), state = tensors[0].shape, tensors[2].shape[1]
    steps, lanes = kernel.tile_sizes(tensors[2].dtype)
    directions = len(tensors) // PER_DIRECTION if keep else 0
    return directions, batch, -(-length // steps), state, -(-width // lanes) * lanes
