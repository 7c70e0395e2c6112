"""Identity: a run's id is a hash of what differs from the pinned defaults, the same on every machine.

A new field whose default keeps the old behaviour is added to `pinned_defaults.json` with that default and changes no id. A changed
default stays pinned at its old value, so the new one is hashed; changing what is pinned needs a new `IDENTITY_VERSION`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from slws_lab.spec import stages
from slws_lab.spec.command import CommandRecipe
from slws_lab.spec.kinds import AnyRecipe, AnyRun

IDENTITY_VERSION = 1
PLACES = ("model.init_from.path",)  # say where something lies, not what it is
# Of a command: how a run goes on, is foreseen and is kept; and what is not hashed where it has this value.
UNHASHED = ("recipe.resume", "recipe.epochs", "recipe.keep")
UNHASHED_DEFAULTS = {"recipe.ranks": 1, "recipe.metrics.counts_from": 1}


@cache
def pinned_defaults() -> dict[str, Any]:
    """Return the golden defaults, dotted field to value."""
    loaded: dict[str, Any] = json.loads((files("slws_lab.spec") / "pinned_defaults.json").read_text())
    return loaded


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def dotted(spec: AnyRecipe) -> dict[str, Any]:
    """Return every field of a recipe or run by its dotted name; of a command those that it declares, the rest under `recipe.`."""
    tree = spec.model_dump(mode="json")
    if not isinstance(spec, CommandRecipe):
        return flatten(tree)
    own: dict[str, Any] = {key: tree.pop(key) for key in ("kind", "seed") if key in tree}
    rest = {key: value for key, value in flatten(tree).items() if not key.startswith("fields.")}
    return {**own, **spec.values, **{f"recipe.{key}": value for key, value in rest.items()}}


def canonical(spec: AnyRecipe) -> str:
    """Return the canonical JSON that is hashed: sorted, dotted, without pinned defaults.

    Of a command it is all that decides what is executed and which numbers are read. What is absent is left out, so that an option
    which comes later and is not given changes no id; and so is a field that the command does not use, for it changes nothing.
    """
    if isinstance(spec, CommandRecipe):
        idle = spec.fields.keys() - spec.used
        return _json({key: value for key, value in dotted(spec).items() if key not in idle and _counts(key, value)})
    pinned = pinned_defaults()
    flat = {key: value for key, value in dotted(spec).items() if key not in PLACES}
    flat["stages"] = stages.changes(spec)
    return _json({key: value for key, value in flat.items() if key not in pinned or pinned[key] != value})


def _counts(key: str, value: Any) -> bool:
    """Say whether a command's id hashes a field: it is given, and more than how a run goes on and what of its files stays."""
    if not key.startswith("recipe."):
        return value is not None
    absent = value is None or value is False or value == []
    return not absent and key not in UNHASHED and UNHASHED_DEFAULTS.get(key) != value


def _json(own: dict[str, Any]) -> str:
    return json.dumps({"identity": IDENTITY_VERSION, **own}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(spec: AnyRecipe) -> str:
    """Return 12 hex digits of a recipe (an arm's id) or of a run."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()[:12]


def run_id(run: AnyRun) -> str:
    """Return a run's id, `<model>-s<seed>-<12 hex>`, of a command `<its name>-s...`: also the name of its folder."""
    return f"{run.title}-s{run.seed}-{digest(run)}"


def run_ids(title: str, text: str, seeds: Iterable[int]) -> dict[int, str]:
    """Return seed -> run id of a recipe's runs: as `run_id` of each, but what they have in common is computed once.

    Args:
        title: The recipe's title.
        text: Its canonical JSON.
        seeds: The runs' seeds.
    """
    place = hashlib.sha256(text.encode()).hexdigest()  # where the seed will stand: no text holds its own digest
    before, after = _json({**json.loads(text), "seed": place}).split(f'"{place}"')
    digests = {seed: hashlib.sha256(f"{before}{seed}{after}".encode()).hexdigest()[:12] for seed in seeds}
    return {seed: f"{title}-s{seed}-{digest}" for seed, digest in digests.items()}
