"""Where a split's images come from, one at a time: pixels in memory, files, members of tars. Knows no labels."""

from __future__ import annotations

import abc
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slws_lab.errors import SlwsError

Rows = NDArray[np.int64]


class BrokenImage(SlwsError):
    """An image that cannot be read.

    Args:
        sample_id: The sample's id.
        cause: What the decoder, or the file system, said.
    """

    def __init__(self, sample_id: str, cause: str) -> None:
        self.sample_id, self.cause = sample_id, cause
        todo = "`slws data check RECIPE` names all such images; mend them, or set `data.on_broken: skip` to train without them"
        super().__init__(f"image '{sample_id}' cannot be read: {cause}\n  to do:   {todo}")


class Images(abc.ABC):
    """Images by row. A split picks its rows; several splits may share one store."""

    @abc.abstractmethod
    def encoded(self, row: int) -> bytes:
        """Return an image's bytes as they are stored; equal bytes are equal images."""

    @abc.abstractmethod
    def signature(self, rows: Rows) -> Iterator[bytes]:
        """Yield bytes that change with the images, as well as can be told at little cost and without decoding."""

    def open(self, row: int) -> Image.Image:
        """Return an image in its own size and mode, perhaps not decoded yet."""
        return Image.open(io.BytesIO(self.encoded(row)))

    def shape(self, rows: Rows) -> list[int]:
        """Return the number of images and, where all are alike, their shape."""
        return [len(rows)]

    def named_elsewhere(self) -> bool:
        """Say whether some images are files that a table names, wherever they are."""
        return False


@dataclass(frozen=True, eq=False)
class Pixels(Images):
    """Images of one size in memory: (n, channels, height, width) uint8 with 1 channel (grey) or 3 (RGB)."""

    values: NDArray[np.uint8]

    def encoded(self, row: int) -> bytes:
        return self.values[row].tobytes()

    def open(self, row: int) -> Image.Image:
        image = self.values[row]
        return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))

    def shape(self, rows: Rows) -> list[int]:
        return [len(rows), *self.values.shape[1:]]

    def signature(self, rows: Rows) -> Iterator[bytes]:
        yield self.values[rows].tobytes()


@dataclass(frozen=True, eq=False)
class Files(Images):
    """Files below a folder; in the signature their sizes stand for their bytes, so that millions of files stay cheap.

    Attributes:
        folder: Folder that the names start at.
        names: Path of each file within it.
        sizes: (n,) bytes of each file; -1 for a link to nowhere.
    """

    folder: Path
    names: Sequence[str]
    sizes: Rows

    def encoded(self, row: int) -> bytes:
        return (self.folder / self.names[row]).read_bytes()

    def signature(self, rows: Rows) -> Iterator[bytes]:
        yield self.sizes[rows].astype("<i8").tobytes()


@dataclass(frozen=True, eq=False)
class TarMembers(Images):
    """Members of uncompressed tar files, read at their place; sizes stand for bytes as in `Files`.

    Attributes:
        tars: The tar files.
        spans: (n, 3) number of the tar, first byte, and number of bytes of each image.
    """

    tars: Sequence[Path]
    spans: Rows

    def encoded(self, row: int) -> bytes:
        tar, start, size = self.spans[row].tolist()
        with self.tars[tar].open("rb") as file:
            file.seek(start)
            return file.read(size)

    def signature(self, rows: Rows) -> Iterator[bytes]:
        yield self.spans[rows, 2].astype("<i8").tobytes()
