"""The convolution and the residual norm to check and to time: drawn inputs, and each way to compute them that runs here."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import DEVICE
from torch import Tensor

from slws_lab.models.layers import LayerNorm, RMSNorm, add_norm
from slws_lab.scan import mamba_ssm, triton_conv, triton_scan

Rows = tuple[int, int, int]  # batch, length, width
Outputs = tuple[Tensor, ...]
Way = Callable[[list[Tensor]], Outputs]
TAPS = 4


def convolutions(reverse: bool) -> dict[str, Way]:
    """Return ways from (x, taps, bias), x a half of a wider tensor as in the mixer, to (SiLU of the convolution,)."""
    ways = {"torch": by_torch}
    if not triton_scan.obstacle(DEVICE):
        ways["triton"] = triton_conv.conv_silu
    if not mamba_ssm.conv_obstacle(DEVICE):
        ways["causal_conv1d"] = mamba_ssm.conv_silu
    return {name: lambda t, way=way: (way(t[0].chunk(2, -1)[0], *t[1:], reverse),) for name, way in ways.items()}


def by_torch(x: Tensor, taps: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """Return the same by torch's operations, weights in x's type as under autocast."""
    taps, bias = taps.to(x.dtype), bias.to(x.dtype)
    padding = (0, TAPS - 1) if reverse else (TAPS - 1, 0)
    weight = (taps.flip(1) if reverse else taps)[:, None]
    return F.silu(F.conv1d(F.pad(x.transpose(1, 2), padding), weight, bias, groups=len(taps))).transpose(1, 2)


def norms(centred: bool, dtype: torch.dtype) -> dict[str, Way]:
    """Return ways from (hidden, residual, weights) to (the norm in `dtype`, the sum); LayerNorm if centred."""

    def way(scan: str) -> Way:
        def run(tensors: list[Tensor]) -> Outputs:
            hidden, residual, *weights = tensors
            names = ("weight", "bias")[: len(weights)]
            with torch.device("meta"):
                norm = (LayerNorm if centred else RMSNorm)(hidden.shape[-1], eps=1e-5)
            for name, weight in zip(names, weights, strict=True):
                delattr(norm, name)
                setattr(norm, name, weight)
            with torch.autocast(DEVICE.type, dtype, enabled=dtype not in (torch.float32, torch.float64)):
                normalised, total = add_norm(hidden, residual, norm, scan)
            return normalised.to(dtype), total  # the cast that the next layer would make

        return run

    kernels = [] if triton_scan.obstacle(DEVICE) else ["triton"]
    return {name: way("chunked" if name == "torch" else name) for name in ("torch", *kernels)}


def draw_conv(shape: Rows, dtype: torch.dtype) -> list[Tensor]:
    """Return twice as wide an x in `dtype`, taps and bias in float32 (float64 for float64)."""
    batch, length, width = shape
    return _drawn([(batch, length, 2 * width)], dtype, [(width, TAPS), (width,)])


def draw_norm(shape: Rows, dtype: torch.dtype, centred: bool) -> list[Tensor]:
    """Return hidden in `dtype`, and residual and weights in float32 (float64 for float64)."""
    return _drawn([shape], dtype, [shape, *[shape[-1:]] * (1 + centred)])


def _drawn(narrow: list[tuple[int, ...]], dtype: torch.dtype, wide: list[tuple[int, ...]]) -> list[Tensor]:
    make = torch.Generator().manual_seed(0)
    types = [dtype] * len(narrow) + [torch.promote_types(dtype, torch.float32)] * len(wide)
    return [
        torch.randn(shape, generator=make).to(DEVICE, kind).requires_grad_()
        for shape, kind in zip([*narrow, *wide], types, strict=True)
    ]
