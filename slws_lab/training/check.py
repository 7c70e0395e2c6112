"""Checks, before anything starts, the names that only the science tower knows, by building each setting without memory."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import slws_lab.models
from slws_lab import shuffle
from slws_lab.errors import UserError
from slws_lab.spec import AugmentSpec, Recipe, resolve_stages
from slws_lab.training import build


def check(recipes: list[Recipe], root: Path = Path(), scan: str = "auto") -> list[dict[str, Any]]:
    """Return an answer a recipe: `{"params", "data_fingerprint"}`, or `{"error": {...}}` with the parts of a `UserError`.

    Each distinct model is built and called on the meta device, so no memory is used and nothing is computed.

    Args:
        recipes: The distinct settings of a study.
        root: The project's folder, to which paths in recipes are relative.
        scan: Name of the selective-scan back-end.
    """
    checker = _Checker(root, scan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*meta parameter")  # weights are fitted to models that hold none
        return [checker.answer(recipe) for recipe in recipes]


def check_asked(question: dict[str, Any]) -> list[dict[str, Any]]:
    """Answer the lab's question: `recipes`, `root` and `scan` as `check` takes them, but in JSON."""
    recipes = [Recipe.model_validate(raw) for raw in question["recipes"]]
    return check(recipes, Path(question["root"]), question["scan"])


class _Checker:
    """One check at work; a data set is loaded and a model built once."""

    def __init__(self, root: Path, scan: str) -> None:
        self.root, self.scan = root, scan
        self.data: dict[str, tuple[build.Shape, str]] = {}
        self.models: dict[str, nn.Module] = {}

    def answer(self, recipe: Recipe) -> dict[str, Any]:
        try:
            build.resolve_scan(self.scan, None)
            before: nn.Module | None = None
            for stage in resolve_stages(recipe):
                shape, fingerprint = self._data(stage)
                model = self._model(stage, shape)
                _shuffle(stage, model, shape)
                if before is None:
                    build.start_weights(model, stage, self.root)
                elif before is not model:
                    build.carry_weights(model, before.state_dict())
                before = model
        except UserError as error:
            parts = {"given": error.given, "where": error.where, "allowed": error.allowed, "todo": error.todo}
            return {"error": parts}
        return {"params": sum(p.numel() for p in model.parameters()), "data_fingerprint": fingerprint}

    def _data(self, recipe: Recipe) -> tuple[build.Shape, str]:
        build.train_transform(recipe.data, 1)  # refuses what timm has no policy for
        key = repr(recipe.data.model_copy(update={"augment": AugmentSpec()}))
        if key not in self.data:
            dataset = build.build_data(recipe, self.root)
            self.data[key] = build.Shape.of(dataset), dataset.fingerprint
        return self.data[key]

    def _model(self, recipe: Recipe, shape: build.Shape) -> nn.Module:
        key = f"{recipe.models}/{recipe.model!r}/{shape}"
        if recipe.model.args.get("num_classes") == 0:
            raise UserError("a training needs a head, and num_classes: 0 asks for none", where="model.args.num_classes")
        if key not in self.models:
            with torch.device("meta"):
                model = build.build_model(recipe, shape, "chunked", self.root)
                _call(model, shape)
            self.models[key] = model
        return self.models[key]


@torch.no_grad()
def _call(model: nn.Module, shape: build.Shape) -> None:
    """Call a model on images of the data's shape, so that one which does not take them is found before it is trained."""
    try:
        logits = model(torch.empty(2, shape.channels, shape.size, shape.size))
    except Exception as error:  # whatever a model does with images that it cannot take
        first = str(error).strip().split("\n", 1)[0]
        raise UserError(f"the model does not take images of {shape.size} px: {first}", where="model.args") from error
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("the model has nothing to train: no parameters", where="model.name")
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise UserError(f"the model returns a {type(logits).__name__}", where="model.name",
                        allowed="a tensor of logits (batch, classes)")  # fmt: skip
    if logits.shape[1] < shape.classes:
        raise UserError(f"the model has {logits.shape[1]} outputs for {shape.classes} classes", where="model.args")


def _shuffle(recipe: Recipe, model: nn.Module, shape: build.Shape) -> None:
    """Attach the shuffle, and call a model that is not ours with it: blocks of the usual name may take something else than tokens."""
    spec = recipe.shuffle
    if spec.schedule == "none":
        return
    blocks = build.token_blocks(model)
    build.layer_rates(spec, len(blocks))
    exempt = () if spec.class_token else build.class_positions(model)
    if recipe.model.name in slws_lab.models.NAMES:
        return
    attached = shuffle.attach(model, blocks, [1.0] * len(blocks), torch.Generator(), permutation=spec.permutation,
                              window=spec.window, exempt=exempt)  # fmt: skip
    lengths: dict[int, int] = {}

    def note(layer: int, _: nn.Module, args: tuple[Any, ...]) -> None:
        lengths.setdefault(layer, args[0].shape[1] if args else 0)

    seen = [block.register_forward_pre_hook(partial(note, layer)) for layer, block in enumerate(blocks)]
    try:
        with attached, torch.no_grad():
            model.train()(torch.empty(2, shape.channels, shape.size, shape.size, device="meta"))
    except (TypeError, ValueError) as error:
        raise _unshufflable(str(error)) from None
    finally:
        model.eval()
        for handle in seen:
            handle.remove()
    if len(lengths) < len(blocks):
        raise _unshufflable(f"{len(blocks) - len(lengths)} of {len(blocks)} are never called")
    patches = getattr(getattr(model, "patch_embed", None), "num_patches", None)
    if exempt and patches is not None and lengths[0] != patches + len(exempt):
        raise UserError(f"the class token joins later than the first block, which sees {lengths[0]} tokens",
                        where="shuffle.class_token", todo="leave class_token: true for this model")  # fmt: skip


def _unshufflable(why: str) -> UserError:
    return UserError(f"its blocks cannot be shuffled: {why}", where="model.name",
                     todo="use shuffle.schedule: none for this model")  # fmt: skip
