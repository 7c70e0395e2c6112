"""A residual sum and its RMSNorm or LayerNorm by our Triton kernels, forward and backward in one pass over memory each.

The sum is kept in the residual's type, the norm comes in the type that the next layer reads; arithmetic is float32
(float64 for a float64 residual). Backward computes mean and scale of a row again, from the row that it reads anyway.
Gradients have the same bits each time: those of the weights leave the kernel as parts of a size that is fixed, which
torch adds. Backward can be differentiated once, not twice.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slws_lab.scan.triton_scan import acc, power_of_2

FORWARD_TILE, BACKWARD_TILE = 1024, 512  # elements of a tile for one warp
PROGRAM_ROWS = 16  # of backward, whose sums make one part
MOST_WARPS = 16
MOST_COLUMNS = 8192  # in registers


def add_norm(
    hidden: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the norm of residual + hidden, and that sum.

    Args:
        hidden: (..., width), on a GPU.
        residual: Same shape, float32 or float64 and not narrower than hidden.
        weight: (width,).
        bias: (width,), for LayerNorm; None for RMSNorm.
        eps: Added to the mean square.
        dtype: Of the norm.

    Returns:
        The norm, in `dtype`, and the sum, in the residual's type; both in hidden's shape.

    Raises:
        ValueError: If shapes or types do not fit.
    """
    sum_dtype = torch.promote_types(torch.promote_types(hidden.dtype, residual.dtype), torch.float32)
    if residual.shape != hidden.shape or weight.shape != hidden.shape[-1:] or residual.dtype != sum_dtype:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} {hidden.dtype} and weight {tuple(weight.shape)} "
            f"do not fit residual {tuple(residual.shape)} {residual.dtype}"
        )
    if hidden.shape[-1] > MOST_COLUMNS:
        raise ValueError(f"the norm takes up to {MOST_COLUMNS} channels, got {hidden.shape[-1]}")
    # an operator of its own cannot be looked into by torch.compile, and costs more a call
    run = _norm_operator if torch.compiler.is_compiling() else _AddNorm.apply
    return run(hidden, residual, weight, bias, eps, dtype)


def _forward(
    hidden: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    from slws_lab.scan import triton_norm_kernels

    total, normalised = residual.new_empty(residual.shape), residual.new_empty(residual.shape, dtype=dtype)
    shape = _Shape(total, bias, eps, FORWARD_TILE)
    with torch.cuda.device_of(total):
        triton_norm_kernels.forward[-(-shape.rows // shape.tile_rows),](
            *(hidden.contiguous(), residual.contiguous(), weight, weight if bias is None else bias),
            *(normalised, total, shape.rows, shape.width),
            **shape.options,
        )
    return normalised, total


def _backward(
    grad_normalised: Tensor, grad_total: Tensor, total: Tensor, weight: Tensor, bias: Tensor | None,
    eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of residual, hidden (of type `dtype`), weight and bias; empty: that of hidden if it is the
    same as the residual's, that of bias if there is none."""
    from slws_lab.scan import triton_norm_kernels

    shape = _Shape(total, bias, eps, BACKWARD_TILE)
    tiles = max(1, PROGRAM_ROWS // shape.tile_rows)
    programs = -(-shape.rows // (tiles * shape.tile_rows))
    narrow = dtype != total.dtype
    grad_residual, grad_hidden = (
        total.new_empty(total.shape),
        total.new_empty(total.shape if narrow else 0, dtype=dtype),
    )
    parts = total.new_empty(1 if bias is None else 2, programs, shape.width)
    with torch.cuda.device_of(total):
        triton_norm_kernels.backward[programs,](
            *(grad_normalised.contiguous(), grad_total.contiguous(), total, weight),
            *(grad_residual, grad_hidden, parts[0], parts[-1], shape.rows, shape.width),
            **shape.options,
            NARROW=narrow,
            TILES=tiles,
        )
    of_weight, of_bias = parts[0].sum(0).to(weight.dtype), parts[1:].sum((0, 1))
    return grad_residual, grad_hidden, of_weight, weight.new_empty(0) if bias is None else of_bias.to(bias.dtype)


class _Shape:
    """How rows are cut into tiles, and what both kernels know when they are compiled."""

    def __init__(self, total: Tensor, bias: Tensor | None, eps: float, tile: int) -> None:
        self.width = total.shape[-1]
        self.rows = total.numel() // self.width
        columns = power_of_2(self.width)
        self.tile_rows = max(1, min(PROGRAM_ROWS, tile // columns))
        self.options = {
            "EPS": eps,
            "CENTRED": bias is not None,
            "ROWS": self.tile_rows,
            "COLUMNS": columns,
            "ACC": acc(total.dtype),
            "num_warps": min(MOST_WARPS, max(1, columns // tile)),
            "enable_fp_fusion": True,
        }


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    hidden, _, weight, bias, ctx.eps, _ = inputs
    ctx.dtype = hidden.dtype
    ctx.save_for_backward(output[1], weight, bias)


def _gradients(operator: Any, ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    total, weight, bias = ctx.saved_tensors  # once: a checkpoint hands them out one time only
    of_residual, of_hidden, of_weight, of_bias = operator(*grads, total, weight, bias, ctx.eps, ctx.dtype)
    of_hidden = of_residual if ctx.dtype == total.dtype else of_hidden
    return of_hidden, of_residual, of_weight, None if bias is None else of_bias, None, None


class _AddNorm(torch.autograd.Function):
    """The sum and its norm for eager code; arguments as in `_forward`."""

    forward = staticmethod(_forward)
    setup_context = staticmethod(_keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(_backward, ctx, *grads)


_norm_operator = torch.library.custom_op("slws_lab::triton_add_norm", _forward, mutates_args=())
_gradient_operator = torch.library.custom_op("slws_lab::triton_add_norm_gradient", _backward, mutates_args=())


@_norm_operator.register_fake
def _(
    hidden: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    return residual.new_empty(residual.shape, dtype=dtype), residual.new_empty(residual.shape)


@_gradient_operator.register_fake
def _(
    grad_normalised: Tensor, grad_total: Tensor, total: Tensor, weight: Tensor, bias: Tensor | None,
    eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    grad_hidden = total.new_empty(total.shape if dtype != total.dtype else 0, dtype=dtype)
    of_bias = weight.new_empty(0) if bias is None else bias.new_empty(bias.shape)
    return total.new_empty(total.shape), grad_hidden, weight.new_empty(weight.shape), of_bias


_norm_operator.register_autograd(partial(_gradients, _gradient_operator), setup_context=_keep)
