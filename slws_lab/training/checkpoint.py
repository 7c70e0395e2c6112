"""Checkpoints: all that a training needs to go on exactly, and the weights that stay when it has ended.

Each is written whole and read back before it takes its place; the one before stays beside it, for what a disk does later.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from slws_lab.tracking.files import sync_folder, temporary_for

log = logging.getLogger(__name__)
RESUME, PREVIOUS = "resume.pt", "resume.previous.pt"
CHUNK = 2**24


@dataclass(frozen=True)
class Shelf:
    """Where a training keeps its checkpoints.

    Attributes:
        folder: The folder.
        desk: Folder of the same file system where files are written before they are renamed into place. It vanishes when another
            process has taken the training over, and then nothing can be put in place any more. None writes beside.
    """

    folder: Path
    desk: Path | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint whole; the one before becomes the previous.

        Raises:
            OSError: The system refused, or reads back something else; the checkpoints are as before.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._write(RESUME, buffer.getvalue())

    def load(self, reported: int | None = None) -> dict[str, Any] | None:
        """Return the newest checkpoint that is whole; None if there is none, and then the training starts over, to the same end.

        Args:
            reported: A checkpoint after more epochs than these is passed over, since the metrics of some would be missing; None for any.
        """
        for name in (RESUME, PREVIOUS):
            path = self.folder / name
            if path.exists():
                try:
                    return _read(path, reported)
                except MemoryError:
                    raise
                # torch.load raises what zipfile, pickle and torch raise; each means: not readable.
                except Exception as error:
                    log.warning("checkpoint %s cannot be used (%s): going back to what was before it", path, error)
                    self._discard(path)  # or the next one would put it in the place of the good one
        return None

    def keep_weights(self, model: nn.Module, ema: nn.Module | None) -> None:
        """Write the final weights as safetensors.

        Raises:
            OSError: The system refused.
        """
        for name, module in (("last", model), ("ema", ema)):
            if module is not None:
                tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
                self._write(f"{name}.safetensors", to_safetensors(tensors))

    def forget(self) -> None:
        """Remove what only a resume needs."""
        for path in (self.folder / RESUME, self.folder / PREVIOUS):
            self._discard(path)

    def _discard(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.desk is None:
                path.unlink()
            else:
                path.replace(self.desk / path.name)  # which only the owner can; it goes with the desk

    def lost(self) -> bool:
        """Say whether another process has taken the training over."""
        return self.desk is not None and not self.desk.exists()

    def _write(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        temporary = temporary_for(path, self.desk)
        try:
            _write_checked(temporary, content)
            if name == RESUME and path.exists():
                path.replace(self.folder / PREVIOUS)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(self.folder)


def _write_checked(path: Path, content: bytes) -> None:
    """Write a file to the disk and read it back from there."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):  # or it would be read from memory, where it is as it was written
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for start in range(0, len(content), CHUNK):
            expected = content[start : start + CHUNK]
            if file.read(len(expected)) != expected:
                raise OSError(errno.EIO, "what was written reads back as something else", str(path))


def _read(path: Path, reported: int | None) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch.load looks at no checksum
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} in it is damaged")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if reported is not None and state["epochs"] > reported:
        raise ValueError(f"it stands after epoch {state['epochs']}, and the metrics of {reported} are there")
    return state
