"""What the operators of compiled scans share: how torch differentiates them, and the shapes of gradients without their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

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


def _shapes(
    grad_out: Tensor, y: Tensor, borders: Tensor, tensors: Sequence[Tensor], z: Tensor | None, *switches: float
) -> list[Tensor]:
    return [tensor.new_empty(tensor.shape) for tensor in (*tensors, z) if tensor is not None]
