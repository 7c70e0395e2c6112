"""Causal convolution and SiLU by the compiled kernel, forward and backward in one pass over memory each.

Like the scan it works in float32, or float64 for float64 input, and reads and writes bfloat16 as it is; backward can be
differentiated once, not twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slws_lab.scan import kernel
from slws_lab.scan.operator import convolution

TAPS = 4  # how many the kernel is made for


def conv_silu(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """Return SiLU(bias + sum over k of taps[:, k] x_{t-K+1+k}), tokens before the first counting as zero.

    Args:
        x: Tokens, (batch, length, width), on the CPU.
        taps: (width, 4); the last meets the token itself.
        bias: (width,).
        reverse: Whether time runs from the last token to the first.

    Returns:
        y, (batch, length, width), in x's dtype.

    Raises:
        ValueError: If a shape does not fit.
        BuildError: If the kernel cannot be compiled or loaded here.
    """
    if taps.shape != (x.shape[2], TAPS) or bias.shape != (x.shape[2],):
        raise ValueError(
            f"taps must be {(x.shape[2], TAPS)} and bias {(x.shape[2],)}, got {taps.shape} and {bias.shape}"
        )
    dtype = torch.promote_types(x.dtype, torch.float32)
    arguments = kernel.stored(x, dtype), taps.to(dtype), bias.to(dtype), reverse
    compiling = torch.compiler.is_compiling()
    return (_conv_operator(*arguments) if compiling else _eager_conv(*arguments)).to(x.dtype)


def _forward(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    y = kernel.dense(x)
    x, taps, bias = kernel.dense_rows(x), taps.contiguous(), bias.contiguous()
    call = _call(x, taps, bias, reverse)
    call.y = kernel.rows(y)
    kernel.run("conv", call, taps.dtype, backward=False)
    return y


def _backward(grad_y: Tensor, x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, taps and bias."""
    grads = kernel.dense(x), kernel.dense(taps), kernel.dense(bias)
    grad_y, x, taps, bias = kernel.dense_rows(grad_y), kernel.dense_rows(x), taps.contiguous(), bias.contiguous()
    call = _call(x, taps, bias, reverse)
    call.grad_y, call.grad_x = kernel.rows(grad_y), kernel.rows(grads[0])
    call.grad_taps, call.grad_bias = (grad.data_ptr() for grad in grads[1:])
    kernel.run("conv", call, taps.dtype, backward=True)
    return grads


def _call(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> kernel.Conv:
    call = kernel.Conv(*x.shape, reverse)
    call.x = kernel.rows(x)
    call.taps, call.bias = taps.data_ptr(), bias.data_ptr()
    call.threads = kernel.threads(x.numel())
    return call


_eager_conv, _conv_operator = convolution("conv_silu", _forward, _backward)
