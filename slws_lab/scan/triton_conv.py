"""Causal convolution and SiLU by our Triton kernels, forward and backward in one pass over memory each.

Rows are read where they stand, as a half of a wider tensor too, and in either direction of time. Arithmetic is float32
(float64 for float64 input). Gradients have the same bits each time: sums over tokens leave the kernel as parts of a
size that is fixed, which torch adds. Backward can be differentiated once, not twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slws_lab.scan.operator import convolution
from slws_lab.scan.triton_scan import MOST_ELEMENTS, acc, power_of_2, sum_dtype, with_rows

TAPS = (2, 3, 4)  # how many the kernels take
STEPS, FORWARD_WARPS = 16, 2  # of a program of forward
LONGEST_SEGMENT = 64  # steps that one warp of backward walks
CHUNK = 4  # steps that are written out in a row
FEWEST_CHANNELS, MOST_CHANNELS = 16, 128  # of a program


def conv_silu(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """Return SiLU(bias + sum over k of taps[:, k] x_{t-K+1+k}), tokens before the first counting as zero.

    Args:
        x: Tokens, (batch, length, width), on a GPU.
        taps: (width, K), K from 2 to 4; the last meets the token itself.
        bias: (width,).
        reverse: Whether time runs from the last token to the first.

    Returns:
        y, (batch, length, width), in x's dtype.

    Raises:
        ValueError: If a shape does not fit.
    """
    width = x.shape[2]
    if taps.shape[1] not in TAPS or len(taps) != width or bias.shape != (width,):
        raise ValueError(
            f"taps must be ({width}, 2 to 4) and bias ({width},), got {tuple(taps.shape)}, {tuple(bias.shape)}"
        )
    if x[0].numel() >= MOST_ELEMENTS:
        raise ValueError(f"the convolution takes fewer than {MOST_ELEMENTS} elements a sample, got {x[0].numel()}")
    # an operator of its own cannot be looked into by torch.compile, and costs more a call
    compiling = torch.compiler.is_compiling()
    return _conv_operator(x, taps, bias, reverse) if compiling else _eager_conv(x, taps, bias, reverse)


def _forward(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    from slws_lab.scan import triton_conv_kernels

    x, y = with_rows(x), x.new_empty(x.shape)
    channels = _channels(x)
    programs = len(x) * -(-x.shape[1] // STEPS) * -(-x.shape[2] // channels)
    with torch.cuda.device_of(x):
        triton_conv_kernels.forward[programs,](
            *(x, taps.contiguous(), bias.contiguous(), y, *x.shape[1:], x.stride(1)),
            **_options(x, taps, reverse, channels),
            STEPS=STEPS,
            num_warps=FORWARD_WARPS,
        )
    return y


def _backward(grad_y: Tensor, x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, taps and bias."""
    from slws_lab.scan import triton_conv_kernels

    x, grad_x = with_rows(x), x.new_empty(x.shape)
    channels = _channels(x)
    segment = -(-x.shape[1] // -(-x.shape[1] // LONGEST_SEGMENT))
    segments = -(-x.shape[1] // segment)
    programs = len(x) * segments * -(-x.shape[2] // channels)
    parts = x.new_empty((len(x), segments, taps.shape[1] + 1, x.shape[2]), dtype=sum_dtype(x))
    with torch.cuda.device_of(x):
        triton_conv_kernels.backward[programs,](
            *(x, taps.contiguous(), bias.contiguous(), grad_y.contiguous(), grad_x, parts),
            *(*x.shape[1:], x.stride(1), segment),
            **_options(x, taps, reverse, channels),
            CHUNK=CHUNK,
            num_warps=1,
        )
    sums = parts.sum((0, 1))
    grad_taps = torch.empty_like(taps, memory_format=torch.contiguous_format).copy_(sums[:-1].t())
    return grad_x, grad_taps, sums[-1].to(bias.dtype)


def _channels(x: Tensor) -> int:
    return max(FEWEST_CHANNELS, min(MOST_CHANNELS, power_of_2(x.shape[2])))


def _options(x: Tensor, taps: Tensor, reverse: bool, channels: int) -> dict[str, Any]:
    """Return what both kernels know when they are compiled."""
    known = {"TAPS": taps.shape[1], "REVERSE": reverse, "CHANNELS": channels, "ACC": acc(x.dtype)}
    return known | {"enable_fp_fusion": True}


_eager_conv, _conv_operator = convolution("triton_conv", _forward, _backward)
