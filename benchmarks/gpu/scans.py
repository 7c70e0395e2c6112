"""Scans to check and to time: drawn inputs, and the calls of each back-end on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import DEVICE
from torch import Tensor

from slws_lab.scan import ScanInputs, describe, selective_scan_pair

Shape = tuple[int, int, int, int]  # batch, length, width, state
TIMED = ("u", "delta", "B", "C")


def usable() -> list[str]:
    """Return the back-ends that run here, the reference left out."""
    return [name for name, line in describe(DEVICE).items() if line.startswith("usable") and name != "reference"]


def draw(shape: Shape, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    """Return what one direction reads, as in a trained layer; the weights stay float32 (float64 for float64)."""
    batch, length, width, state = shape
    make = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=make)

    tensors = {
        "u": normal(batch, length, width),
        "delta": normal(batch, length, width),
        "B": normal(batch, length, state),
        "C": normal(batch, length, state),
        "A": -torch.arange(1.0, state + 1).repeat(width, 1) * torch.rand(width, 1, generator=make),
        "D": normal(width),
        "delta_bias": normal(width) - 2,
    }
    weights = torch.promote_types(dtype, torch.float32)
    return {k: t.to(DEVICE, dtype if k in TIMED else weights).requires_grad_() for k, t in tensors.items()}


def pair(shape: Shape, dtype: torch.dtype, backend: str) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Return a call of both directions, gated and halved, and the tensors that it differentiates by."""
    forth, back = draw(shape, dtype), draw(shape, dtype, seed=1)
    z = draw(shape, dtype, seed=2)["u"]
    ways = ScanInputs(**forth), ScanInputs(**back, reverse=True)
    leaves = [*forth.values(), *back.values(), z]

    def call() -> Tensor:
        if backend == "reference":  # gate and sum in the type of the state, as one rounding asks
            y = selective_scan_pair(*ways, backend=backend)
            return y * (0.5 * F.silu(z))
        return selective_scan_pair(*ways, z, 0.5, backend=backend)

    return call, leaves
