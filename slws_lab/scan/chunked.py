"""The fast selective scan from torch operations alone: chunks of time, blocks of batch, hand-written backward.

Only the inputs and the state at chunk borders are kept; backward recomputes a chunk's states. Inside, tensors are
(time, batch, state, width): a step is one contiguous slab and the long axis is innermost. Backward can be
differentiated once, not twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slws_lab.scan.inputs import ScanInputs
from slws_lab.scan.reference import skip_and_gate, time_steps

CHUNK = 32  # most steps between two kept states
CPU_SLAB = 1 << 17  # elements of a (time, batch, state, width) buffer: three of them should fit a core's cache
GPU_SLAB = 1 << 26
LOG2_E = math.log2(math.e)


def scan(inputs: ScanInputs) -> Tensor:
    """Return y, (batch, length, width), equal to the reference within rounding; once differentiable."""
    dtype = inputs.accumulate_dtype
    u, A, B, C = (tensor.to(dtype) for tensor in (inputs.u, inputs.A, inputs.B, inputs.C))
    dt = time_steps(inputs)
    y = _Recurrence.apply(dt, dt * u, A, B, C, inputs.reverse)
    return skip_and_gate(y, inputs)


class _Recurrence(torch.autograd.Function):
    """y_t = C_t h_t with h_t = exp(dt_t A) h_{t-1} + B_t x_t, where x = dt u; arguments as in the port."""

    @staticmethod
    def forward(ctx: Any, dt: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool) -> Tensor:
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        chunks = _even_slices(x.shape[1], CHUNK)
        borders = x.new_zeros(len(chunks) + 1, x.shape[0], *A.t().shape)
        for tile in _tiles(dt, x, A, B, C, borders, reverse):
            tile.forward(y)
        ctx.save_for_backward(dt, x, A, B, C, borders)
        ctx.reverse = reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        dt, x, A, B, C, borders = ctx.saved_tensors
        grads = _Grads(*(torch.empty_like(tensor) for tensor in (dt, x, B, C)), torch.zeros_like(A.t()))
        for tile in _tiles(dt, x, A, B, C, borders, ctx.reverse, backwards=True):
            tile.backward(grad_y, grads)
        return grads.dt, grads.x, grads.A.t(), grads.B, grads.C, None
