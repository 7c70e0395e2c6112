"""Checks, before anything starts, the names that only the science tower knows, by building each setting without memory."""

from __future__ import annotations

from typing import Any

import torch

from slws_lab.errors import UserError
from slws_lab.spec import Recipe
from slws_lab.training import build


def check(recipes: list[Recipe]) -> list[dict[str, Any]]:
    """Return an answer a recipe: `{"params", "data_fingerprint"}`, or `{"error": {...}}` with the parts of a `UserError`.

    The model is built on the meta device, so no memory is used and nothing is computed.
    """
    shapes: dict[str, tuple[build.Shape, str]] = {}
    return [_answer(recipe, shapes) for recipe in recipes]


def _answer(recipe: Recipe, shapes: dict[str, tuple[build.Shape, str]]) -> dict[str, Any]:
    try:
        key = f"{recipe.data.name}/{recipe.data.val_fraction}"
        if key not in shapes:
            dataset = build.build_data(recipe)
            shapes[key] = build.Shape.of(dataset), dataset.fingerprint
        shape, fingerprint = shapes[key]
        with torch.device("meta"):
            model = build.build_model(recipe, shape)
        if recipe.shuffle.schedule != "none":
            build.layer_rates(recipe.shuffle, len(build.token_blocks(model)))
    except UserError as error:
        parts = {"given": error.given, "where": error.where, "allowed": error.allowed, "todo": error.todo}
        return {"error": parts}
    return {"params": sum(p.numel() for p in model.parameters()), "data_fingerprint": fingerprint}
