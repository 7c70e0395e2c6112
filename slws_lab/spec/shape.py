"""The shape of a recipe: what decides how long an epoch of it takes and how much memory, and nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from slws_lab.spec.command import CommandRecipe
from slws_lab.spec.identity import canonical, flatten
from slws_lab.spec.kinds import AnyRecipe
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.stages import resolve

# Numbers that change what is learned and not how long it takes. A field that comes to a recipe later counts until it is named here.
FREE = {
    "kind", "model.init_from", "model.init_from.path", "model.init_from.sha256",
    "data.mean", "data.std", "data.on_broken", "data.eval_crop",
    "data.augment.mix_prob", "data.augment.mix_switch",
    "shuffle.max_rate", "shuffle.steps", "shuffle.k", "shuffle.rates", "shuffle.over_time", "shuffle.off_last",
    "shuffle.class_token",
    "train.epochs", "train.lr", "train.lr_batch", "train.min_lr", "train.warmup_epochs", "train.warmup_lr", "train.cosine",
    "train.lr_update", "train.weight_decay", "train.decay_A", "train.betas", "train.eps", "train.smoothing",
}  # fmt: skip
# Of these it matters only whether they are on.
SWITCHES = {
    "model.drop_path", "data.augment.resized_crop", "data.augment.color_jitter", "data.augment.crop", "data.augment.flip",
    "data.augment.erase", "data.augment.mixup", "data.augment.cutmix", "shuffle.window", "train.layer_decay", "train.clip_grad",
    "train.ema_decay",
}  # fmt: skip


def shape(recipe: AnyRecipe) -> str:
    """Return the shape of a recipe, 12 hex digits: the same for recipes of which each epoch does the same work.

    Of several stages each counts, with its part of the epochs, so that the mean epochs of two recipes of one shape do the same work.

    Args:
        recipe: The recipe, or a run: seeds do not count.
    """
    if isinstance(recipe, CommandRecipe):
        return _command_shape(recipe)
    stages = resolve(recipe)
    unit = math.gcd(*(stage.train.epochs for stage in stages))
    text = json.dumps([[stage.train.epochs // unit, _work(stage)] for stage in stages], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _command_shape(recipe: CommandRecipe) -> str:
    """Hash a command with the values that may change how long it takes."""
    free = {name: field.model_copy(update={"value": None}) for name, field in recipe.fields.items() if not field.shape}
    values = {name: getattr(recipe, name) for name in CommandRecipe.model_fields} | {"fields": recipe.fields | free}
    return hashlib.sha256(canonical(CommandRecipe.model_construct(**values)).encode()).hexdigest()[:12]


def _work(stage: Recipe) -> dict[str, Any]:
    fields = set(Recipe.model_fields) - {"stages"}
    flat = flatten(stage.model_dump(mode="json", include=fields))
    found = {name: bool(value) if name in SWITCHES else value for name, value in flat.items() if name not in FREE}
    return found | {"shuffle.schedule": stage.shuffle.schedule != "none"}
