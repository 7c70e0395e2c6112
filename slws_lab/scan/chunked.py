"""The fast selective scan from torch operations alone: chunks of time, blocks of batch, hand-written backward.

Only the inputs and the state at chunk borders are kept; backward recomputes a chunk's states. Inside, tensors are
(time, batch, state, width): a step is one contiguous slab and the long axis is innermost. Backward can be
differentiated once, not twice: `backward()` through a gradient raises, but `autograd.grad` can leave its part out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slws_lab.scan.inputs import ScanInputs
from slws_lab.scan.reference import skip_and_gate, time_steps

CHUNK = 16  # most steps between two kept states
CPU_SLAB = 1 << 19  # elements of a (time, batch, state, width) buffer: a compromise of cache and calls per element
GPU_SLAB = 1 << 26
LOG2_E = math.log2(math.e)


def scan(inputs: ScanInputs) -> Tensor:
    """Return y, (batch, length, width), equal to the reference within rounding; once differentiable."""
    dtype = inputs.accumulate_dtype
    u, A, B, C = (tensor.to(dtype) for tensor in (inputs.u, inputs.A, inputs.B, inputs.C))
    dt = time_steps(inputs)
    if torch.compiler.is_compiling():  # an operator of its own cannot be looked into, and costs more a call
        y, _ = _recurrence_operator(dt, dt * u, A, B, C, inputs.reverse)
    else:
        y = _Recurrence.apply(dt, dt * u, A, B, C, inputs.reverse)
    return skip_and_gate(y, inputs)


def _forward(dt: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Return y_t = C_t h_t with h_t = exp(dt_t A) h_{t-1} + B_t x_t, and the states at chunk borders; x = dt u."""
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    work = _Workspace(x, A, reverse)
    borders = x.new_zeros(len(work.spans), x.shape[0], *work.rates.shape)
    for rows in work.blocks:
        for i, span in enumerate(work.spans):
            chunk = _Chunk.of(dt, x, B, C, rows, span)
            _, _, after = work.states(chunk, borders[i, rows])
            borders[i + 1 : i + 2, rows] = work.last(after)
            y[rows, span] = _contract_state(chunk.C, after).transpose(0, 1)
    return y, borders


def _backward(
    grad_y: Tensor, dt: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, borders: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of dt, x, A, B and C."""
    work = _Workspace(x, A, reverse)
    grads = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (dt, x, B, C)]
    grad_A = torch.zeros_like(work.rates)
    for rows in work.blocks:
        carry = torch.zeros_like(borders[0, rows])
        for i, span in reversed(list(enumerate(work.spans))):
            chunk = _Chunk.of(dt, x, B, C, rows, span)
            grad_chunk = grad_y[rows, span].transpose(0, 1)
            *parts, part_A, carry = work.gradients(chunk, borders[i, rows], grad_chunk, carry)
            grad_A += part_A
            for whole, part in zip(grads, parts, strict=True):
                whole[rows, span] = part.transpose(0, 1)
    grad_dt, grad_x, grad_B, grad_C = grads
    return grad_dt, grad_x, grad_A.t().contiguous(), grad_B, grad_C


class _Recurrence(torch.autograd.Function):
    """The recurrence for eager code; arguments as in `_forward`."""

    @staticmethod
    def forward(ctx: Any, dt: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool) -> Tensor:
        y, borders = _forward(dt, x, A, B, C, reverse)
        ctx.save_for_backward(dt, x, A, B, C, borders)
        ctx.reverse = reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        dt, x, A, B, C, borders = ctx.saved_tensors
        return *_backward(grad_y, dt, x, A, B, C, borders, ctx.reverse), None


_recurrence_operator = torch.library.custom_op("slws_lab::recurrence", _forward, mutates_args=())
_gradient_operator = torch.library.custom_op("slws_lab::recurrence_gradient", _backward, mutates_args=())


@_recurrence_operator.register_fake
def _(dt: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    chunks = len(_even_slices(x.shape[1], CHUNK))
    return torch.empty_like(x), x.new_empty(chunks, x.shape[0], A.shape[1], A.shape[0])


@_gradient_operator.register_fake
def _(
    grad_y: Tensor, dt: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, borders: Tensor, reverse: bool
) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in (dt, x, A, B, C))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(*tensors, output[1])


def _gradients(ctx: Any, grad_y: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    dt, x, A, B, C, borders = ctx.saved_tensors
    return *_gradient_operator(grad_y.contiguous(), dt, x, A, B, C, borders, ctx.reverse), None


_recurrence_operator.register_autograd(_gradients, setup_context=_keep)


@dataclass(frozen=True)
class _Chunk:
    """Views of a block of the batch over a span of time, time first: dt, x (T, b, 1, width), B, C (T, b, state, 1)."""

    dt: Tensor
    x: Tensor
    B: Tensor
    C: Tensor

    @classmethod
    def of(cls, dt: Tensor, x: Tensor, B: Tensor, C: Tensor, rows: slice, span: slice) -> Self:
        dt, x, B, C = (tensor[rows, span].transpose(0, 1) for tensor in (dt, x, B, C))
        return cls(dt[:, :, None], x[:, :, None], B[..., None], C[..., None])


class _Workspace:
    """The tiling of one call and the three buffers that all its tiles share."""

    def __init__(self, x: Tensor, A: Tensor, reverse: bool) -> None:
        batch, length, _ = x.shape
        spans = _even_slices(length, CHUNK)
        slab = CPU_SLAB if x.device.type == "cpu" else GPU_SLAB
        self.blocks = _even_slices(batch, max(1, slab // (spans[0].stop * A.numel())))
        self.spans = spans[::-1] if reverse else spans
        self.reverse = reverse
        self.rates = A.t().contiguous()
        self._buffers = x.new_empty(3, (spans[0].stop + 1) * self.blocks[0].stop * A.numel())

    def states(self, chunk: _Chunk, border: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return decays, states before and states after each step, all (T, b, state, width) buffers."""
        steps, batch = chunk.B.shape[:2]
        decay = self._buffer(0, steps, batch)
        # exp2 because it is some three times faster than exp in torch's CPU kernels
        torch.mul(chunk.dt, self.rates * LOG2_E, out=decay).exp2_()
        track = self._buffer(1, steps + 1, batch)
        before, after = (track[1:], track[:-1]) if self.reverse else (track[:-1], track[1:])
        torch.mul(chunk.x, chunk.B, out=after)
        track[-1 if self.reverse else 0] = border
        for h, factor, previous in self._in_order(after, decay, before):
            h.addcmul_(factor, previous)
        return decay, before, after

    def gradients(self, chunk: _Chunk, border: Tensor, grad_y: Tensor, carry: Tensor) -> tuple[Tensor, ...]:
        """Return a chunk's gradients of dt, x, B, C, A^T and of the state at its beginning.

        Args:
            chunk: What the forward saw.
            border: State at the chunk's beginning, (b, state, width).
            grad_y: Gradient of the chunk's output, (T, b, width).
            carry: Gradient of the state at the chunk's end, (b, state, width).
        """
        decay, before, after = self.states(chunk, border)
        grad_y = grad_y[:, :, None]
        grad_h = self._buffer(2, *chunk.B.shape[:2])
        grad_C = _contract_width(grad_y, after)
        torch.mul(chunk.C, grad_y, out=grad_h)
        self.last(grad_h).add_(carry)
        backwards = reversed(self._in_order(grad_h, decay))
        for (later, factor), (earlier, _) in pairwise(backwards):
            earlier.addcmul_(factor, later)
        grad_before = decay.mul_(grad_h)
        carry = self.first(grad_before).clone()
        grad_exponent = grad_before.mul_(before)
        scratch = after
        grad_x = _contract_state(chunk.B, grad_h)
        grad_B = _contract_width(chunk.x, grad_h)
        grad_A = torch.mul(grad_exponent, chunk.dt, out=scratch).sum((0, 1))
        grad_dt = grad_exponent.mul_(self.rates).sum(2)
        return grad_dt, grad_x, grad_B, grad_C, grad_A, carry

    def first(self, slab: Tensor) -> Tensor:
        """Return the slab's first step in scan order."""
        return slab[-1 if self.reverse else 0]

    def last(self, slab: Tensor) -> Tensor:
        """Return the slab's last step in scan order."""
        return slab[0 if self.reverse else -1]

    def _in_order(self, *slabs: Tensor) -> list[tuple[Tensor, ...]]:
        steps = list(zip(*(slab.unbind(0) for slab in slabs), strict=True))
        return steps[::-1] if self.reverse else steps

    def _buffer(self, index: int, steps: int, batch: int) -> Tensor:
        size = steps * batch * self.rates.numel()
        return self._buffers[index, :size].view(steps, batch, *self.rates.shape)


def _contract_state(weights: Tensor, slab: Tensor) -> Tensor:
    """Sum a slab over its states with weights (T, b, state, 1); returns (T, b, width)."""
    return torch.matmul(weights.transpose(-1, -2), slab).squeeze(2)


def _contract_width(values: Tensor, slab: Tensor) -> Tensor:
    """Sum a slab over the width with values (T, b, 1, width); returns (T, b, state)."""
    return torch.matmul(values, slab.transpose(-1, -2)).squeeze(2)  # some seven times faster than slab @ values


def _even_slices(total: int, largest: int) -> list[slice]:
    """Cut range(total) into the fewest slices of at most `largest`, as even as possible, the longest first."""
    size = math.ceil(total / math.ceil(total / largest))
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]
