"""Dotted paths into a recipe, such as `train.lr`: which exist, and setting them in a plain tree."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from slws_lab.spec.recipe import Recipe

OPEN = "model.args."


@cache
def fields() -> tuple[str, ...]:
    """Return all dotted fields of a recipe, without the open mapping `model.args`."""
    return tuple(_fields(Recipe, ""))


def _fields(model: type[BaseModel], prefix: str) -> list[str]:
    found: list[str] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        found += _fields(kind, f"{prefix}{name}.") if nested else [prefix + name]  # type: ignore[arg-type]
    return [name for name in found if name not in ("kind", "model.args", "stages")]


def exists(path: str) -> bool:
    """Say whether a dotted path is a field of a recipe that a study may set."""
    return path in fields() or (path.startswith(OPEN) and len(path) > len(OPEN))


def assign(tree: dict[str, Any], changes: dict[str, Any], absent: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a copy of a recipe's tree with dotted paths set, and others taken out so that their defaults hold."""
    copy = _copied(tree)
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = copy
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[leaf] = value
    for path in absent:
        *parents, leaf = path.split(".")
        found: Any = copy
        for parent in parents:
            found = found.get(parent, {}) if isinstance(found, dict) else {}
        if isinstance(found, dict):
            found.pop(leaf, None)
    return copy


def _copied(tree: dict[str, Any]) -> dict[str, Any]:
    """Copy the mappings of a tree: what they hold beside mappings is never changed."""
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in tree.items()}
