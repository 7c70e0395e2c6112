"""Checkpoints: all that a training needs to go on exactly, and the weights that stay when it has ended."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

log = logging.getLogger(__name__)
RESUME = "resume.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole: to a temporary file, then renamed."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    _write(folder / RESUME, buffer.getvalue())


def load(folder: Path) -> dict[str, Any] | None:
    """Return the checkpoint; None if there is none or it is damaged, and then the training starts over, to the same end."""
    path = folder / RESUME
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except Exception as error:  # torch.load raises what zipfile, pickle and torch raise; each means: not readable
        log.warning("checkpoint %s cannot be read (%s): starting over", path, error)
        return None


def keep_weights(folder: Path, model: nn.Module, ema: nn.Module | None) -> None:
    """Write the final weights as safetensors and remove what only a resume needs."""
    for name, module in (("last", model), ("ema", ema)):
        if module is not None:
            tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
            _write(folder / f"{name}.safetensors", to_safetensors(tensors))
    (folder / RESUME).unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
