"""Depth-wise causal convolution over channel-last tokens, in either direction of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from slws_lab.scan import TAPS, conv_silu, mamba_ssm, triton_conv

ConvSilu = Callable[[Tensor, Tensor, Tensor, bool], Tensor]


def causal_conv_silu(x: Tensor, conv: nn.Conv1d, reverse: bool, scan: str) -> Tensor:
    """Return SiLU of `causal_conv`, in one pass where the scan back-end has a kernel for it that takes so many taps.

    Args:
        x: Tokens, (batch, length, width).
        conv: As in `causal_conv`.
        reverse: As in `causal_conv`.
        scan: Name of the model's scan back-end, so that a back-end's numbers depend on nothing else.
    """
    assert conv.bias is not None
    kernel = _kernel(scan, conv.kernel_size[0], x.device)
    if kernel is None:
        return F.silu(causal_conv(x, conv, reverse))
    return kernel(x, conv.weight[:, 0], conv.bias, reverse)


def causal_conv(x: Tensor, conv: nn.Conv1d, reverse: bool = False) -> Tensor:
    """Return y_t = bias + sum over k of weight[k] x_{t-K+1+k}, tokens before the first counting as zero.

    Args:
        x: Tokens, (batch, length, width).
        conv: Holder of the taps, (width, 1, K), and the bias, (width,); the last tap meets the token itself.
        reverse: Whether time runs from the last token to the first.

    Returns:
        y, (batch, length, width), in x's dtype. On the CPU it can be differentiated once, not twice.
    """
    assert conv.bias is not None
    taps = conv.weight.flip(-1) if reverse else conv.weight
    if x.device.type == "cpu":
        # torch's own depth-wise conv1d is slower on the CPU, its backward above all
        return _ShiftedSum.apply(x, taps[:, 0].t().to(x.dtype), conv.bias.to(x.dtype), reverse)
    padded = F.pad(x.transpose(1, 2), _padding(taps.shape[-1], reverse))
    return F.conv1d(padded, taps, conv.bias, groups=len(taps)).transpose(1, 2)


class _ShiftedSum(torch.autograd.Function):
    """The same as a sum of shifted, scaled copies: x (batch, length, width), taps (K, width), bias (width,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
        ctx.save_for_backward(x, taps)
        ctx.reverse = reverse
        y = bias.expand(x.shape).contiguous()
        for tap, (target, source) in zip(taps, _overlaps(x.shape[1], len(taps), reverse), strict=True):
            y[:, target].addcmul_(x[:, source], tap)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, taps = ctx.saved_tensors
        grad_x = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
        grad_taps = torch.empty_like(taps)
        for k, (target, source) in enumerate(_overlaps(x.shape[1], len(taps), ctx.reverse)):
            grad_x[:, source].addcmul_(grad_y[:, target], taps[k])
            grad_taps[k] = (grad_y[:, target] * x[:, source]).sum((0, 1))
        return grad_x, grad_taps, grad_y.sum((0, 1)), None


def _kernel(scan: str, taps: int, device: torch.device) -> ConvSilu | None:
    """Return the back-end's own convolution with SiLU for so many taps, or None."""
    if scan == "native" and taps == TAPS and device.type == "cpu":
        return conv_silu
    if scan == "triton" and taps in triton_conv.TAPS:
        return triton_conv.conv_silu
    if scan == "mamba_ssm" and 2 <= taps <= 4 and not _obstacle_of_causal_conv1d(device):
        return mamba_ssm.conv_silu
    return None


@torch.compiler.assume_constant_result
def _obstacle_of_causal_conv1d(device: torch.device) -> str:
    return mamba_ssm.conv_obstacle(device)


def _overlaps(length: int, taps: int, reverse: bool) -> list[tuple[slice, slice]]:
    """Return, for each tap, the output positions it reaches and the input positions it reads."""
    before = 0 if reverse else taps - 1
    lags = [min(max(before - k, -length), length) for k in range(taps)]
    return [(slice(max(lag, 0), length + min(lag, 0)), slice(max(-lag, 0), length - max(lag, 0))) for lag in lags]


def _padding(taps: int, reverse: bool) -> tuple[int, int]:
    return (0, taps - 1) if reverse else (taps - 1, 0)
