"""How a training computes: device, precision, and the normalisation of its images."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch.utils import deterministic


@dataclass(frozen=True)
class Numerics:
    """The numeric setting of a training and its evaluations.

    Attributes:
        device: Where model and data live.
        precision: `fp32`, or `bf16` by autocast.
        mean: Mean of the training images by channel, on a 0 to 1 scale.
        std: Standard deviation likewise.
    """

    device: torch.device
    precision: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the model runs."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def set_deterministic() -> None:
    """Ask the libraries for algorithms that give the same sums each time; what has none warns instead of failing."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory finds bugs; here it took a fifth of a small model's step.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
