"""Builds the objects of a training from its recipe: data set, image transforms, model and what the shuffle needs of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import timm
import torch
from torch import Tensor, nn

import slws_lab.models
from slws_lab import data, scan, shuffle
from slws_lab.errors import UserError, nearest
from slws_lab.spec import DataSpec, Recipe, ShuffleSpec
from slws_lab.spec.weights import digest_of
from slws_lab.training.foreign import load_model_files

BLOCK_LISTS = ("layers", "blocks")
OFFERED = ("img_size", "drop_path_rate")  # what a model gets besides, where it takes it
_DATA = data.LastLoaded()
MOST_DIFFERING = 0.1  # tensors that only a checkpoint or only the model has, as a share of those that both have


@dataclass(frozen=True)
class Shape:
    """What a data set asks of a model: square images of `size` pixels with `channels`, and `classes` outputs."""

    size: int
    channels: int
    classes: int

    @classmethod
    def of(cls, dataset: data.DataSet) -> Shape:
        return cls(dataset.size, dataset.channels, dataset.num_classes)


def build_data(recipe: Recipe, root: Path) -> data.DataSet:
    """Find the recipe's data set and cut its splits.

    Args:
        recipe: The recipe.
        root: The project's folder, to which `data.path` is relative.

    Raises:
        UserError: No such data set, or it is not as a data set must be.
    """
    try:
        return _DATA.load(request(recipe, root))
    except UserError as error:
        raise of_data(error) from None


def of_data(error: UserError) -> UserError:
    """Return an error of the data sets with its place in a recipe."""
    return error.at(f"data.{error.where}" if error.where in DataSpec.model_fields else "data")


def request(recipe: Recipe, root: Path) -> data.Request:
    """Return what a recipe asks of its data set; arguments as for `build_data`."""
    given = recipe.data.model_dump(include={field.name for field in dataclasses.fields(data.Request)})
    return data.Request(**given, root=root)


def train_transform(spec: DataSpec, size: int) -> data.SampleTransform:
    """Return what is done to each training image as it is read.

    Raises:
        UserError: timm has no policy of the name.
    """
    augment = spec.augment
    try:
        return data.SampleTransform(size, train=True, resized_crop=augment.resized_crop, auto=augment.auto,
                                    color_jitter=augment.color_jitter)  # fmt: skip
    except UserError as error:
        raise error.at(f"data.augment.{error.where}") from None


def eval_transform(spec: DataSpec, size: int) -> data.SampleTransform:
    """Return what is done to each image of an evaluation as it is read."""
    return data.SampleTransform(size, train=False, eval_crop=spec.eval_crop)


def resolve_scan(name: str, device: torch.device | None) -> str:
    """Return the name of the selective-scan back-end that `name` (it may be `auto`) means on a device.

    Raises:
        UserError: No such back-end, or it does not work on this device.
    """
    try:
        return scan.resolve(name, device).name
    except UserError as error:
        raise error.at("resources.scan") from None


def build_model(recipe: Recipe, shape: Shape, scan_backend: str, root: Path) -> nn.Module:
    """Create the recipe's model by timm's registry; what the recipe says in `model.args` wins over the data's shape.

    Args:
        recipe: The recipe; the files of its `models:` are executed first.
        shape: What the data ask of the model.
        scan_backend: Name of a resolved selective-scan back-end.
        root: The project's folder.

    Raises:
        UserError: No such model, or it does not take these arguments.
    """
    load_model_files(recipe.models, root)
    name, args = recipe.model.name, recipe.model.args
    if not timm.is_model(name):
        known = timm.list_models()
        raise UserError(f"no model '{name}'", where="model.name", allowed=", ".join(slws_lab.models.NAMES) + ", and timm's",
                        todo=nearest(name, known))  # fmt: skip
    if "scan" in args:
        raise UserError(
            "the scan back-end is no part of a model", where="model.args", todo="set `resources: {scan: NAME}`"
        )
    arguments: dict[str, Any] = {"num_classes": shape.classes, "in_chans": shape.channels}
    ours = name in slws_lab.models.NAMES
    taken = OFFERED if ours else _taken(timm.model_entrypoint(name), json.dumps({**arguments, **args}))
    if recipe.model.drop_path or "drop_path_rate" in taken:
        arguments["drop_path_rate"] = recipe.model.drop_path  # 0 too: some models have another default
    if "img_size" in taken:
        arguments["img_size"] = shape.size
    if ours:
        arguments["scan"] = scan_backend
    try:
        model = timm.create_model(name, **{**arguments, **args})
        if not isinstance(model, nn.Module):
            raise TypeError(f"its factory returns a {type(model).__name__}")
        return model
    except UserError as error:
        raise error.at("model.args") from None
    except Exception as error:  # whatever a factory does with arguments that make no sense
        first = str(error).strip().split("\n", 1)[0]
        named = next((f"model.args.{argument}" for argument in args if f"'{argument}'" in first), "model.args")
        raise UserError(f"model '{name}' cannot be built: {first}", where=named) from error


@cache
def _taken(factory: Callable[..., nn.Module], others: str) -> frozenset[str]:
    """Return which of `OFFERED` a model's factory takes beside other arguments, which are JSON.

    No signature tells: factories pass keywords on. So it is tried, without memory and without moving any generator. What a refusal
    names is not taken; whatever else is wrong shows where the model is built.
    """
    name = factory.__name__
    config = timm.get_pretrained_cfg(name)  # None for a user's own model that says nothing
    offered: dict[str, Any] = dict(zip(OFFERED, (config.input_size[-1] if config else 224, 0.0), strict=True))
    with torch.random.fork_rng(devices=()), torch.device("meta"):
        while True:
            try:
                timm.create_model(name, **{**offered, **json.loads(others)})
            except TypeError as error:
                refused = {argument for argument in offered if argument in str(error)}
            except Exception:
                refused = set()
            else:
                refused = set()
            if not refused:
                return frozenset(offered)
            offered = {argument: value for argument, value in offered.items() if argument not in refused}


def start_weights(model: nn.Module, recipe: Recipe, root: Path) -> str:
    """Load the recipe's `model.init_from` into a model, and say in words what was used and what was not; empty without one.

    Raises:
        UserError: The file is not the one whose digest the run has, or holds no weights of this model.
    """
    given = recipe.model.init_from
    if given is None:
        return ""
    path = root / Path(given.path).expanduser()
    found = digest_of(path)
    if given.sha256 != found:
        raise UserError(f"'{given.path}' has changed since the run was planned (sha256 {found[:12]}...)", where="model.init_from",
                        todo="put the old file back, or plan the study anew")  # fmt: skip
    try:
        report = slws_lab.models.load_weights(model, path)
    except UserError as error:
        raise error.at("model.init_from") from None
    differing = [*report.missing, *report.unexpected]
    if len(differing) > MOST_DIFFERING * len(report.used):
        raise UserError(f"'{given.path}' and this model differ in {len(differing)} tensors: {', '.join(differing[:3])}, ...",
                        where="model.init_from", todo="take a checkpoint of this model, or this checkpoint's model")  # fmt: skip
    return report.text().replace(str(path), given.path)


def carry_weights(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """Load the weights of the stage before into a stage's model, and say in words what was resized.

    Raises:
        UserError: The model has tensors that they have not.
    """
    report = slws_lab.models.load_weights(model, weights)
    missing = [*report.missing, *report.skipped]
    if missing:
        raise UserError(f"the stage before has no {', '.join(missing[:3])}" + (" ..." if len(missing) > 3 else ""),
                        where="stages", todo="give all stages a model of the same tensors")  # fmt: skip
    return report.text()


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
        if _is_list(blocks) and not any(isinstance(block, nn.ModuleList) for block in blocks):
            return list(blocks)
    raise UserError(f"{type(model).__name__} has no sequence of token blocks to shuffle", where="model.name",
                    allowed="a model with `layers` or `blocks`", todo="use shuffle.schedule: none for this model")  # fmt: skip


def _is_list(blocks: object) -> TypeGuard[nn.ModuleList | nn.Sequential]:
    return isinstance(blocks, nn.ModuleList | nn.Sequential)


def class_positions(model: nn.Module) -> tuple[int, ...]:
    """Return where a model's class tokens and registers stand in its sequence of tokens.

    Raises:
        UserError: The model does not say so.
    """
    own = getattr(model, "class_positions", None)
    if own is not None:
        return tuple(own)
    prefix = getattr(model, "num_prefix_tokens", None)
    if prefix is None:
        raise UserError(f"{type(model).__name__} does not say where its class tokens stand", where="shuffle.class_token",
                        allowed="a model with `class_positions` or `num_prefix_tokens`")  # fmt: skip
    return tuple(range(prefix))


def checkpoint_blocks(model: nn.Module) -> None:
    """Have a model compute its blocks again in the backward.

    Raises:
        UserError: It cannot.
    """
    switch = getattr(model, "set_grad_checkpointing", None)
    try:
        if switch is None:
            raise AssertionError("it has no set_grad_checkpointing")
        switch(True)
    except AssertionError as error:  # what timm's models say that do not support it
        raise UserError(f"{type(model).__name__} cannot compute its blocks again in the backward: {error}",
                        where="resources.grad_checkpointing", todo="leave it out for this model") from None  # fmt: skip


def compile_blocks(model: nn.Module) -> None:
    """Compile each block's forward, or the whole model's where it has none; hooks stay outside and names as they are."""
    try:
        parts = token_blocks(model)
    except UserError:
        parts = [model]
    for part in parts:
        # code for batches of any size, made at an epoch's smaller last one, would serve whole batches too, with other last bits
        part.forward = torch.compile(part.forward, dynamic=False)
