"""What a step of the optimiser computes on the device once its batch is ready; nothing here waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:  # the benchmarks of a GPU take this file alone, where the lab's own packages may be missing
    from timm.utils.model_ema import ModelEmaV3

    from slws_lab.training.numerics import Numerics


@dataclass(frozen=True)
class Step:
    """Loss, gradients, and the update of weights and average.

    Attributes:
        net: What is called: the model, compiled and shared by ranks as asked.
        model: The model itself.
        objective: Takes logits (batch, classes) and targets, returns the mean loss.
        optimizer: Updates the model's weights.
        numerics: Precision.
        clip_grad: Largest gradient norm; None does not clip.
        ema: The average that follows the weights; None without one.
    """

    net: nn.Module
    model: nn.Module
    objective: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    numerics: Numerics
    clip_grad: float | None = None
    ema: ModelEmaV3 | None = None

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Take a whole step on one batch and return its mean loss, ().

        Args:
            images: (batch, channels, height, width), normalised.
            targets: (batch,) labels or (batch, classes) soft targets.
        """
        self.begin()
        loss = self.add_gradients(images, targets)
        self.update()
        return loss

    def begin(self) -> None:
        """Forget the gradients of the step before."""
        self.optimizer.zero_grad(set_to_none=True)

    def add_gradients(self, images: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        """Add the gradients of the mean loss times `weight`, and return the mean loss, (); tensors as for a whole step."""
        with self.numerics.autocast():
            loss = self.objective(self.net(images).float(), targets)
        (loss * weight).backward()
        return loss.detach()

    def update(self) -> None:
        """Clip the gradients, update the weights, and let the average follow."""
        if self.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model)
