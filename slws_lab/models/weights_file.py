"""Reads weights out of a file: ours, the official ones, timm's, wrapped or not. Nothing in a file is ever executed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from slws_lab.errors import UserError

Part = Literal["model", "ema"]
_PARTS: dict[Part, tuple[str, ...]] = {
    "model": ("model", "state_dict", "module"),
    "ema": ("model_ema", "state_dict_ema", "ema"),
}
_WRAPPER = re.compile(r"^((module|_orig_mod)\.)+")  # what DistributedDataParallel and torch.compile put before a key
_ALLOWED = "tensors, numbers, strings, lists, dicts and argparse.Namespace"


def read_weights(path: Path | str, prefer: Part = "model") -> tuple[dict[str, Tensor], str]:
    """Return the weights of a model in a file, and where in the file they were.

    Args:
        path: A `.safetensors` file, or one that `torch.save` wrote: a state dict, or a dict around one.
        prefer: Which to take where the file holds both: the trained weights, or their running average.

    Returns:
        Tensors on the CPU by key, wrappers' prefixes taken off, and the keys that led to them, joined by dots;
        an empty string when the file is nothing but the weights.

    Raises:
        UserError: If there is no such file, it is broken, holds more than data, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file of weights", where=str(path))
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    try:
        return find_weights(content, prefer)
    except UserError as error:
        raise error.at(str(path)) from None


def find_weights(content: object, prefer: Part = "model") -> tuple[dict[str, Tensor], str]:
    """Return the weights in what a file held, see `read_weights`.

    Raises:
        UserError: If there are none.
    """
    trail: list[str] = []
    names = _PARTS[prefer] + _PARTS["model"] + _PARTS["ema"]
    while isinstance(content, Mapping):
        inner = next((name for name in names if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        trail.append(inner)
        content = content[inner]
    found = content if isinstance(content, Mapping) else {}
    weights = {_WRAPPER.sub("", str(key)): value for key, value in found.items() if isinstance(value, Tensor)}
    if not weights:
        keys = ", ".join(map(str, list(found)[:8])) or type(content).__name__
        raise UserError(f"there are no weights in it, only: {keys}",
                        allowed="a state dict, or a dict with one under " + ", ".join(dict.fromkeys(names)))  # fmt: skip
    return weights, ".".join(trail)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"the file cannot be read: {error}", where=str(path),
                        todo="copy or download it again") from error  # fmt: skip


def _read_pickle(path: Path) -> Any:
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what zipfile, pickle and torch raise; each means: not readable as plain data
            if unsafe := _unsafe(path, str(error)):
                raise UserError(f"the file holds more than data: {unsafe}", where=str(path), allowed=_ALLOWED,
                                todo="save the state dict alone, where you trust the file") from error  # fmt: skip
            first = str(error).split("\n", 1)[0][:120]
            raise UserError(f"the file cannot be read ({type(error).__name__}: {first})", where=str(path),
                            todo="copy or download it again") from error  # fmt: skip


def _unsafe(path: Path, message: str) -> str:
    """Return the names of what a file wants to build and may not, an empty string if there is nothing of the kind."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a file that is no archive; then torch.load's own message names the first one
        names = re.findall(r"GLOBAL ([\w.]+)", message)
    return ", ".join(sorted(set(names)))
