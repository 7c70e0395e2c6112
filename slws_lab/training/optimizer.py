"""How weights are updated: AdamW's parameter groups, the learning rate over time, and mixing of samples with soft targets."""

from __future__ import annotations

import re
from typing import Any

import torch
from timm.data.mixup import Mixup
from timm.optim._param_groups import param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from slws_lab.spec import AugmentSpec, TrainSpec

_STATE_MATRIX = re.compile(r"(^|\.)A(_\w+)?_log$")


def build_optimizer(model: nn.Module, spec: TrainSpec, recorded: bool = False) -> torch.optim.Optimizer:
    """Return AdamW; vectors and what the model names are not decayed, A_log (a matrix) is unless `decay_A` is off.

    With `layer_decay` the groups carry `lr_scale`, by the layers that the model's `group_matcher` tells apart.

    Args:
        model: Whose weights are updated.
        spec: The optimisation.
        recorded: Whether its steps are recorded as a CUDA graph, which torch asks to be told; changes no number.
    """
    names = getattr(model, "no_weight_decay", tuple)
    kept = set(names())
    if not spec.decay_A:
        kept |= {name for name, _ in model.named_parameters() if _STATE_MATRIX.search(name)}
    if spec.layer_decay is None:
        groups = param_groups_weight_decay(model, spec.weight_decay, no_weight_decay_list=kept)
    else:
        groups = param_groups_layer_decay(model, spec.weight_decay, kept, layer_decay=spec.layer_decay)
    return torch.optim.AdamW(groups, lr=spec.peak_lr, betas=spec.betas, eps=spec.eps, fused=True, capturable=recorded)


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take a checkpoint's moments and counts; rates and switches stay those of the recipe and of this device."""
    optimizer.load_state_dict({**state, "param_groups": optimizer.state_dict()["param_groups"]})


class LearningRate:
    """The learning rate over a training: linear warm-up, then a cosine, moved as the recipe says.

    Args:
        optimizer: Whose groups are set, each times its `lr_scale`.
        spec: The optimisation.
        steps: Steps of an epoch.
        memory: (groups,) tensor in which the rates lie, so that a recorded step reads those of the moment; None sets plain numbers.

    Attributes:
        latest: The last group's rate.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, spec: TrainSpec, steps: int, memory: Tensor | None = None
    ) -> None:
        self._optimizer, self._memory, self.latest = optimizer, memory, spec.peak_lr
        self._steps, self._update = steps, spec.lr_update
        unit = steps if spec.lr_update == "step" else 1
        warmup = spec.warmup_epochs * unit
        prefix = spec.cosine == "after_warmup"
        self._schedule = CosineLRScheduler(
            optimizer, t_initial=spec.epochs * unit - (warmup if prefix else 0), lr_min=spec.min_lr, warmup_t=warmup,
            warmup_lr_init=spec.warmup_lr if warmup else spec.peak_lr, warmup_prefix=prefix, t_in_epochs=False,
        )  # fmt: skip

    def set(self, step: int) -> None:
        """Set the rate of a step, counted from 0 over the whole training."""
        epoch = step // self._steps
        self._schedule.step_update({"step": step, "epoch": epoch, "epoch_late": max(epoch - 1, 0)}[self._update])
        groups = self._optimizer.param_groups
        self.latest = groups[-1]["lr"]
        if self._memory is not None:
            rates = torch.tensor([group["lr"] for group in groups], dtype=self._memory.dtype)
            self._memory.copy_(rates, non_blocking=True)
            for group, place in zip(groups, self._memory.unbind(), strict=True):
                group["lr"] = place


class Objective:
    """The training loss: cross-entropy with smoothed labels, against soft targets where samples are mixed.

    Args:
        augment: Says whether and how mixup and CutMix mix.
        smoothing: Label smoothing.
        classes: Outputs of the model.
    """

    def __init__(self, augment: AugmentSpec, smoothing: float, classes: int) -> None:
        self._smoothing, self._classes = smoothing, classes
        self._mix: Mixup | None = None
        if augment.mixup or augment.cutmix:
            self._mix = Mixup(augment.mixup, augment.cutmix, prob=augment.mix_prob, switch_prob=augment.mix_switch,
                              label_smoothing=smoothing, num_classes=classes)  # fmt: skip

    def mix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix samples in pairs, drawing from numpy's global generator; of an odd number the last stays as it is.

        Args:
            images: (batch, channels, height, width); changed in place.
            labels: (batch,) int64.

        Returns:
            The images, and targets: the labels, or (batch, classes) where samples are mixed.
        """
        if self._mix is None:
            return images, labels
        even = len(images) // 2 * 2
        # not F.one_hot, which looks at the labels and so waits for them on some devices
        hot = torch.zeros(len(labels), self._classes, device=labels.device).scatter_(1, labels[:, None], 1.0)
        soft = hot * (1 - self._smoothing) + self._smoothing / self._classes
        if even:
            _, soft[:even] = self._mix(images[:even], labels[:even])
        return images, soft

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of logits (batch, classes)."""
        smoothing = self._smoothing if targets.dim() == 1 else 0.0
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
