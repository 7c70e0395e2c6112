"""Builds the objects of a training from its `RunSpec`: data set, model, shuffle, optimiser, schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.optim._param_groups import param_groups_weight_decay
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import nn

import slws_lab.models
from slws_lab import data, scan, shuffle
from slws_lab.errors import UserError, nearest
from slws_lab.spec import Recipe, ShuffleSpec, TrainSpec

BLOCK_LISTS = ("layers", "blocks")


@dataclass(frozen=True)
class Shape:
    """What a data set asks of a model: square images of `size` pixels with `channels`, and `classes` outputs."""

    size: int
    channels: int
    classes: int

    @classmethod
    def of(cls, dataset: data.DataSet) -> Shape:
        return cls(dataset.size, dataset.channels, dataset.num_classes)


def build_data(recipe: Recipe) -> data.DataSet:
    """Load the recipe's data set and cut its splits.

    Raises:
        UserError: No such data set.
    """
    name = recipe.data.name
    if name not in data.DATASETS:
        raise UserError(f"no data set '{name}'", where="data.name", allowed=", ".join(data.DATASETS),
                        todo=nearest(name, data.DATASETS))  # fmt: skip
    return data.load(name, recipe.data.val_fraction)


def resolve_scan(name: str, device: torch.device | None) -> str:
    """Return the name of the selective-scan back-end that `name` (it may be `auto`) means on a device.

    Raises:
        UserError: No such back-end, or it does not work on this device.
    """
    try:
        return scan.resolve(name, device).name
    except UserError as error:
        raise error.at("resources.scan") from None


def build_model(recipe: Recipe, shape: Shape, scan_backend: str) -> nn.Module:
    """Create the recipe's model by timm's registry; what the recipe says in `model.args` wins over the data's shape.

    Raises:
        UserError: No such model, or it does not take these arguments.
    """
    name = recipe.model.name
    if not timm.is_model(name):
        known = timm.list_models()
        raise UserError(f"no model '{name}'", where="model.name", allowed=", ".join(slws_lab.models.NAMES) + ", and timm's",
                        todo=nearest(name, known))  # fmt: skip
    arguments: dict[str, Any] = {
        "num_classes": shape.classes,
        "in_chans": shape.channels,
        "drop_path_rate": recipe.model.drop_path,
    }
    if name in slws_lab.models.NAMES:
        arguments |= {"img_size": shape.size, "scan": scan_backend}
    if "scan" in recipe.model.args:
        raise UserError(
            "the scan back-end is no part of a model", where="model.args", todo="set `resources: {scan: NAME}`"
        )
    try:
        return timm.create_model(name, **{**arguments, **recipe.model.args})
    except UserError as error:
        raise error.at("model.args") from None
    except Exception as error:  # whatever a factory does with arguments that make no sense
        first = str(error).strip().split("\n", 1)[0]
        raise UserError(f"model '{name}' cannot be built: {first}", where="model.args") from error


def layer_rates(spec: ShuffleSpec, depth: int) -> tuple[float, ...]:
    """Return the rate of each layer.

    Raises:
        UserError: The schedule does not fit a model of this depth.
    """
    try:
        return shuffle.rates(spec.schedule, spec.max_rate, depth, steps=spec.steps, k=spec.k, custom=spec.rates)
    except UserError as error:
        raise error.at("shuffle") from None


def token_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the model's blocks over token sequences.

    Raises:
        UserError: The model has none under the usual names.
    """
    for name in BLOCK_LISTS:
        blocks = getattr(model, name, None)
        if isinstance(blocks, nn.ModuleList | nn.Sequential):
            return list(blocks)
    raise UserError(f"{type(model).__name__} has no sequence of token blocks to shuffle", where="model.name",
                    allowed="a model with `layers` or `blocks`", todo="use shuffle.schedule: none for this model")  # fmt: skip


def build_optimizer(model: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """Return AdamW; vectors and what the model names are not decayed (A_log, a matrix, is: as in the official recipe)."""
    names = getattr(model, "no_weight_decay", tuple)
    kept: tuple[str, ...] = tuple(names())
    groups = param_groups_weight_decay(model, spec.weight_decay, no_weight_decay_list=kept)
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=True)


def build_schedule(optimizer: torch.optim.Optimizer, spec: TrainSpec, samples: int) -> CosineLRScheduler:
    """Return a cosine per step from `lr` to `min_lr`, with linear warm-up, over all steps of the training."""
    per_epoch = math.ceil(samples / spec.batch_size)
    warmup = spec.warmup_epochs * per_epoch
    return CosineLRScheduler(
        optimizer, t_initial=spec.epochs * per_epoch - warmup, lr_min=spec.min_lr, warmup_t=warmup,
        warmup_lr_init=spec.warmup_lr if warmup else spec.lr, warmup_prefix=True, t_in_epochs=False,
    )  # fmt: skip
