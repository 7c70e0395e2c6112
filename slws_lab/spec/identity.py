"""Identity: a run's id is a hash of what differs from the pinned defaults, the same on every machine.

A new field whose default keeps the old behaviour is added to `pinned_defaults.json` with that default and changes no id. A changed
default stays pinned at its old value, so the new one is hashed; changing what is pinned needs a new `IDENTITY_VERSION`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from slws_lab.spec import stages
from slws_lab.spec.recipe import Recipe, RunSpec

IDENTITY_VERSION = 1
PLACES = ("model.init_from.path",)  # say where something lies, not what it is


@cache
def pinned_defaults() -> dict[str, Any]:
    """Return the golden defaults, dotted field to value."""
    loaded: dict[str, Any] = json.loads((files("slws_lab.spec") / "pinned_defaults.json").read_text())
    return loaded


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def canonical(spec: Recipe) -> str:
    """Return the canonical JSON that is hashed: sorted, dotted, without pinned defaults."""
    pinned = pinned_defaults()
    flat = {key: value for key, value in flatten(spec.model_dump(mode="json")).items() if key not in PLACES}
    flat["stages"] = stages.changes(spec)
    own = {key: value for key, value in flat.items() if key not in pinned or pinned[key] != value}
    return json.dumps({"identity": IDENTITY_VERSION, **own}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(spec: Recipe) -> str:
    """Return 12 hex digits of a recipe (an arm's id) or of a run."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()[:12]


def run_id(run: RunSpec) -> str:
    """Return a run's id, `<model>-s<seed>-<12 hex>`: also the name of its folder."""
    return f"{run.model.name}-s{run.seed}-{digest(run)}"
