"""Images and labels in Arrow columns, as Parquet files and Hugging Face's data sets hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slws_lab.data.dataset import Split, arranged
from slws_lab.data.images import Images, Rows
from slws_lab.errors import UserError

IMAGE_NAMES = ("image", "img")
LABEL = "label"


@dataclass(frozen=True, eq=False)
class Column(Images):
    """A column of encoded images.

    Attributes:
        values: pyarrow.ChunkedArray of n binaries, null where a row names a file instead.
        paths: pyarrow.ChunkedArray of n strings, the files of rows without bytes; None without such a column.
        in_memory: Whether the signature may read all bytes; else their number stands for them.
    """

    values: Any
    paths: Any
    in_memory: bool

    def encoded(self, row: int) -> bytes:
        value: bytes | None = self.values[row].as_py()
        if value is not None:
            return value
        path = None if self.paths is None else self.paths[row].as_py()
        if path is None:
            raise OSError("the row holds no bytes")
        return Path(path).read_bytes()

    def signature(self, rows: Rows) -> Iterator[bytes]:
        lengths = pc.fill_null(pc.binary_length(self.values), -1).to_numpy()
        yield lengths[rows].astype("<i8").tobytes()
        if self.in_memory:
            yield from (self.values[row].as_py() or b"" for row in rows.tolist())

    def named_elsewhere(self) -> bool:
        return bool(self.values.null_count)


def split_of_table(table: pa.Table, classes: list[str], where: str, in_memory: bool) -> Split:
    """Return the samples of a table, in the order of their ids.

    Args:
        table: Columns `image` (or `img`; binary, or a struct of bytes and path), `label` (whole numbers), perhaps `path`.
        classes: Names of the classes, by label.
        where: The table's name, for messages.
        in_memory: Whether the images are in memory, not mapped from a disk.

    Raises:
        UserError: A label that is no class, or two samples with one path.
    """
    values, paths = _images(table, where)
    labels = pc.fill_null(table.column(LABEL), -1).to_numpy().astype(np.int64)
    strange = labels[(labels < 0) | (labels >= len(classes))]
    if len(strange):
        raise UserError(f"{where} has the label {strange[0]}", allowed=f"0 to {len(classes) - 1}, one for each class")
    given = table.column("path") if "path" in table.column_names else paths
    names = None if given is None else given.to_pylist()
    ids = [
        f"{classes[label]}/{file}" for label, file in zip(labels.tolist(), _file_names(names, len(table)), strict=True)
    ]
    if len(set(ids)) < len(ids):
        if "path" in table.column_names:
            raise UserError(
                f"{where} has two rows with one class and file name", todo="give each row a path of its own"
            )
        ids = [f"{classes[label]}/{row:08d}" for row, label in enumerate(labels.tolist())]
    return arranged(ids, labels, Column(values, paths, in_memory))


def image_column(schema: pa.Schema, where: str) -> str:
    """Return the name of the column of images.

    Raises:
        UserError: There is none, or no labels, or they are of another type.
    """
    found = [name for name in IMAGE_NAMES if name in schema.names]
    if not found or LABEL not in schema.names:
        raise UserError(f"{where} has the columns {', '.join(schema.names) or 'none'}",
                        allowed=f"{' or '.join(IMAGE_NAMES)} (bytes of an image file, or a struct of bytes and path), {LABEL} (a whole "
                                "number), and perhaps path (class/file)")  # fmt: skip
    kind = schema.field(found[0]).type
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise UserError(f"column {found[0]} of {where} is {kind}", allowed="binary, or a struct with bytes")
    if not pa.types.is_integer(schema.field(LABEL).type):
        raise UserError(f"column {LABEL} of {where} is {schema.field(LABEL).type}", allowed="a whole number: the class")
    return found[0]


def class_names(schema: pa.Schema) -> list[str] | None:
    """Return the class names that a schema's metadata holds: a list under `classes`, or Hugging Face's features."""
    metadata = schema.metadata or {}
    if b"classes" in metadata:
        return metadata[b"classes"].decode().split(",")
    if b"huggingface" in metadata:
        feature = json.loads(metadata[b"huggingface"])["info"].get("features", {}).get(LABEL, {})
        return feature.get("names")
    return None


def _images(table: pa.Table, where: str) -> tuple[Any, Any]:
    """Return the columns of bytes and of paths, the second None where there is none."""
    column = table.column(image_column(table.schema, where))
    if not pa.types.is_struct(column.type):
        return column, None
    has_path = column.type.get_field_index("path") >= 0
    return pc.struct_field(column, "bytes"), pc.struct_field(column, "path") if has_path else None


def _file_names(paths: list[str | None] | None, rows: int) -> list[str]:
    if paths is None or None in paths:
        return [f"{row:08d}" for row in range(rows)]
    return [PurePosixPath(path).name for path in paths if path is not None]
