"""What compiled scans and convolutions share: how torch differentiates them, eagerly and as operators of its compiler's graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Operator = Any  # what torch.library.custom_op returns, a type that torch does not export


def differentiate(scan: Operator, gradient: Operator) -> None:
    """Let an operator's gradients be computed by another.

    Args:
        scan: Takes (tensors, z, scale, softplus, reverse, keep) and returns the output, y before the gate, and border states.
        gradient: Takes (gradient of the output, y, borders, tensors, z, scale, softplus, reverse) and returns the gradients of the
            tensors and, where there is one, of z.
    """

    def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        tensors, z, *switches, _ = inputs
        ctx.save_for_backward(*output[1:], z, *tensors)
        ctx.switches = switches

    def backward(ctx: Any, grad_out: Tensor, *_: Tensor) -> tuple[Any, ...]:
        y, borders, z, *tensors = ctx.saved_tensors
        grads = gradient(grad_out, y, borders, tensors, z, *ctx.switches)
        return grads[: len(tensors)], None if z is None else grads[-1], None, None, None, None

    scan.register_autograd(backward, setup_context=keep)
    gradient.register_fake(_shapes)


def eager_scan(
    forward: Callable[..., tuple[Tensor, Tensor, Tensor]], backward: Callable[..., list[Tensor]]
) -> Callable[..., Any]:
    """Return a scan for eager code, which costs less a call than an operator: takes (z, scale, softplus, reverse, keep, *tensors).

    Args:
        forward: As the operator `scan` in `differentiate`.
        backward: As the operator `gradient` there.
    """

    class _Scan(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, z: Tensor | None, scale: float, softplus: bool, reverse: bool, keep: bool, *tensors: Tensor
        ) -> Tensor:
            out, y, borders = forward(tensors, z, scale, softplus, reverse, keep)
            ctx.save_for_backward(y, borders, z, *tensors)
            ctx.switches = scale, softplus, reverse
            return out

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
            y, borders, z, *tensors = ctx.saved_tensors
            grads = backward(grad_out, y, borders, tensors, z, *ctx.switches)
            return None if z is None else grads[-1], None, None, None, None, *grads[: len(tensors)]

    return _Scan.apply


def convolution(
    name: str, forward: Callable[..., Tensor], backward: Callable[..., tuple[Tensor, Tensor, Tensor]]
) -> tuple[Callable[..., Any], Operator]:
    """Return a convolution for eager code, and as an operator.

    Args:
        name: Of the operator; that of its gradient ends in `_gradient`.
        forward: Takes (x, taps, bias, reverse) and returns y, of x's shape and type.
        backward: Takes (gradient of y, x, taps, bias, reverse) and returns the gradients of x, taps and bias.
    """

    class _Conv(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
            ctx.save_for_backward(x, taps, bias)
            ctx.reverse = reverse
            return forward(x, taps, bias, reverse)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
            x, taps, bias = ctx.saved_tensors
            return *backward(grad_y, x, taps, bias, ctx.reverse), None

    operator = torch.library.custom_op(f"slws_lab::{name}", forward, mutates_args=())
    gradient = torch.library.custom_op(f"slws_lab::{name}_gradient", backward, mutates_args=())

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.reverse = inputs
        ctx.save_for_backward(*tensors)

    def gradients(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        return *gradient(grad_y, *ctx.saved_tensors, ctx.reverse), None

    operator.register_fake(lambda x, taps, bias, reverse: x.new_empty(x.shape))
    gradient.register_fake(
        lambda grad_y, *tensors_and_reverse: tuple(t.new_empty(t.shape) for t in tensors_and_reverse[:3])
    )
    operator.register_autograd(gradients, setup_context=keep)
    return _Conv.apply, operator


def _shapes(
    grad_out: Tensor, y: Tensor, borders: Tensor, tensors: Sequence[Tensor], z: Tensor | None, *switches: float
) -> list[Tensor]:
    return [tensor.new_empty(tensor.shape) for tensor in (*tensors, z) if tensor is not None]
