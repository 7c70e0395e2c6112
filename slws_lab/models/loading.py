"""Loads weights into a model, ours or timm's: fits position embeddings and patches, and says what was not loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from timm.layers.patch_embed import resample_patch_embed
from torch import Tensor, nn

from slws_lab.errors import UserError
from slws_lab.models.mambamlp import MambaMLP
from slws_lab.models.vision_mamba import VisionMamba
from slws_lab.models.weights_file import Part, find_weights, read_weights

__all__ = ["LoadReport", "load_weights", "read_weights"]

Shape = tuple[int, ...]
_PATCHES = "patch_embed.proj.weight"


@dataclass(frozen=True)
class LoadReport:
    """What loading weights did.

    Attributes:
        source: File, and the part of it that was used.
        used: Keys that were loaded.
        missing: Keys of the model that the source lacks; they keep what they had.
        unexpected: Keys of the source that the model lacks.
        resized: Keys whose tensors were fitted to the model: shape in the source, shape in the model.
        skipped: Keys that both have and that were left out, and why.
        started: Keys that the source lacks and that start from other tensors of it: a MambaMLP's scans of columns.
    """

    source: str
    used: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    resized: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    started: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether source and model have the same tensors, at most of other image sizes."""
        return not (self.missing or self.unexpected or self.skipped or self.started)

    def text(self) -> str:
        """Return the report in a few lines."""
        lines = [f"{len(self.used)} tensors loaded from {self.source}"]
        lines += [f"resized: {key} from {_by(old)} to {_by(new)}" for key, (old, new) in self.resized.items()]
        lines += [f"skipped: {key}: {why}" for key, why in self.skipped.items()]
        lines += [f"started from the rows' forward scan: {_some(self.started)}"] if self.started else []
        lines += [f"missing, so as they were: {_some(self.missing)}"] if self.missing else []
        lines += [f"not in the model, so not used: {_some(self.unexpected)}"] if self.unexpected else []
        return "\n".join(lines)


def load_weights(
    model: nn.Module,
    source: Path | str | Mapping[str, Any],
    prefer: Part = "model",
    head: Literal["auto", "drop"] = "auto",
) -> LoadReport:
    """Load weights into a model, as far as they fit, and report.

    Position embeddings and patch sizes are fitted bicubically to the model's image size; of a MambaMLP, two scan
    directions to four. A head of another number of classes is left as it is. Nothing is loaded if anything else differs.

    Args:
        model: One of this package or of timm.
        source: A file, see `read_weights`, or what was read from one.
        prefer: Which to take where the source holds both: trained weights ("model") or their running average ("ema").
        head: "auto" loads the head if it fits, "drop" never does.

    Raises:
        UserError: If the source cannot be read, has no key of the model, or has a tensor of another shape.
        ValueError: If `head` is neither "auto" nor "drop".
    """
    if head not in ("auto", "drop"):
        raise ValueError(f"head is 'auto' or 'drop', got {head!r}")
    if isinstance(source, Mapping):
        weights, part = find_weights(source, prefer)
        name = "the given weights"
    else:
        weights, part = read_weights(source, prefer)
        name = str(source)
    where = f"{part} of {name}" if part else name
    try:
        return _load(model, weights, where, head)
    except UserError as error:
        raise error.at(where) from None


def _load(model: nn.Module, weights: dict[str, Tensor], where: str, head: str) -> LoadReport:
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    fitted = _fitted(model, weights, wanted)
    missing = tuple(key for key in wanted if key not in fitted)
    skipped = _skipped_head(model, fitted, wanted, head)
    used = {key: fitted[key] for key in wanted if key in fitted and key not in skipped}
    wrong = {key: tuple(tensor.shape) for key, tensor in used.items() if tuple(tensor.shape) != wanted[key]}
    if wrong:
        first = [f"{key} is {_by(shape)}, the model's {_by(wanted[key])}" for key, shape in wrong.items()]
        raise UserError(f"weights of another shape: {_some(first, '; ', 3)}",
                        todo="build the model with the arguments that these weights were trained with")  # fmt: skip
    if not used:
        raise UserError(f"no key of this {type(model).__name__} is in it: {_some(tuple(weights))}",
                        allowed=f"keys like {_some(tuple(wanted))}")  # fmt: skip
    model.load_state_dict(used, strict=False)
    resized = {
        key: (tuple(weights[key].shape), wanted[key])
        for key in used
        if key in weights and tuple(weights[key].shape) != wanted[key]
    }
    unexpected = tuple(key for key in fitted if key not in wanted)
    started = tuple(key for key in used if key not in weights) if isinstance(model, MambaMLP) else ()
    return LoadReport(where, tuple(used), missing, unexpected, resized, skipped, started)


def _fitted(model: nn.Module, weights: dict[str, Tensor], wanted: dict[str, Shape]) -> dict[str, Tensor]:
    """Return the weights with those changed that have a known way of fitting another image size."""
    if not isinstance(model, VisionMamba):
        # by timm's custom, the module that defines a model says how weights of other sizes or formats become its own
        convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        try:
            return convert(dict(weights), model) if convert else weights
        except Exception as error:  # whatever a converter does with weights of another kind of model
            raise UserError(f"the weights do not fit {type(model).__name__}: {error!r}") from error
    fitted = dict(model.adapted(weights) if isinstance(model, MambaMLP) else weights)
    positions, patches = fitted.get("pos_embed"), fitted.get(_PATCHES)
    if positions is not None and positions.ndim == 3 and tuple(positions.shape) != wanted["pos_embed"]:
        fitted["pos_embed"] = model.resized_pos_embed(positions)
    if patches is not None and patches.ndim == 4 and patches.shape[2:] != wanted[_PATCHES][2:]:
        fitted[_PATCHES] = resample_patch_embed(patches, list(wanted[_PATCHES][2:]))
    return fitted


def _skipped_head(model: nn.Module, weights: dict[str, Tensor], wanted: dict[str, Shape], head: str) -> dict[str, str]:
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or "head"
    keys = [
        f"{name}.{end}"
        for name in ([names] if isinstance(names, str) else names)
        for end in ("weight", "bias")
        if f"{name}.{end}" in wanted and f"{name}.{end}" in weights
    ]
    if head == "drop":
        return dict.fromkeys(keys, "the head was to be dropped")
    classes = {key: (weights[key].shape[0], wanted[key][0]) for key in keys}
    differs = any(source != own for source, own in classes.values())
    return {key: f"{source} classes, the model has {own}" for key, (source, own) in classes.items() if differs}


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _some(names: tuple[str, ...] | list[str], separator: str = ", ", most: int = 6) -> str:
    more = len(names) - most
    return separator.join(names[:most]) + (f" and {more} more" if more > 0 else "")
