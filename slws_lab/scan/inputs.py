"""What a selective scan is given, checked once for every back-end; the scan itself is in the back-ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScanInputs:
    """The tensors and switches of one selective scan, channel-last; `selective_scan` says what each means.

    Raises:
        ValueError: If a shape, dtype or device does not fit the others.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    delta_bias: Tensor | None = None
    delta_softplus: bool = True
    reverse: bool = False

    def __post_init__(self) -> None:
        if self.u.dim() != 3 or 0 in self.u.shape:
            raise ValueError(f"u must be a non-empty (batch, length, width), got {tuple(self.u.shape)}")
        if self.A.dim() != 2:
            raise ValueError(f"A must be (width, state), got {tuple(self.A.shape)}")
        batch, length, width = self.u.shape
        state = self.A.shape[1]
        tokens = (batch, length, width)
        self._check("u", self.u, tokens)
        self._check("delta", self.delta, tokens)
        self._check("A", self.A, (width, state))
        self._check("B", self.B, (batch, length, state))
        self._check("C", self.C, (batch, length, state))
        self._check("D", self.D, (width,))
        self._check("z", self.z, tokens)
        self._check("delta_bias", self.delta_bias, (width,))

    def _check(self, name: str, tensor: Tensor | None, shape: Sequence[int]) -> None:
        if tensor is None:
            return
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {tensor.dtype}")
        if tensor.device != self.u.device:
            raise ValueError(f"{name} is on {tensor.device}, but u is on {self.u.device}")

    @property
    def accumulate_dtype(self) -> torch.dtype:
        """Precision of state and sums: float64 for float64 input, else float32."""
        return torch.promote_types(self.u.dtype, torch.float32)
