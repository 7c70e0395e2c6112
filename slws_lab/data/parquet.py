"""Parquet files with encoded images: train.parquet or train-*.parquet, and the like for val and test."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from slws_lab.data.assemble import Source
from slws_lab.data.columns import LABEL, class_names, image_column, split_of_table
from slws_lab.data.layout import find_splits
from slws_lab.data.request import Request
from slws_lab.data.split import TRAIN
from slws_lab.errors import UserError

NAME = "parquet"
_MEMORY_SHARE = 0.5


def read(request: Request) -> Source:
    """Read the files into memory, images still encoded.

    Raises:
        UserError: No folder, no train file, a file that cannot be read or lacks columns, splits of different classes, or more
            than half of the free memory.
    """
    root = request.folder()
    shards = find_splits(root, lambda name: [*root.glob(f"{name}.parquet"), *sorted(root.glob(f"{name}-*.parquet"))],
                         "train.parquet or train-*.parquet")  # fmt: skip
    _check_memory(list(chain.from_iterable(shards.values())))
    tables = {name: _table(files) for name, files in shards.items()}
    classes = _class_names(tables[TRAIN])
    for name, table in tables.items():
        if (class_names(table.schema) or classes) != classes:
            raise UserError(
                f"{root / name}*.parquet and train name different classes", todo="give all splits the same classes"
            )
    named = {name: f"{root / name}*.parquet" for name in tables}
    tables = {name: table for name, table in tables.items() if name == TRAIN or not _unlabelled(table)}
    return Source(tuple(classes), {n: split_of_table(t, classes, named[n], in_memory=True) for n, t in tables.items()})


def _check_memory(files: list[Path]) -> None:
    needed = sum(_size(file) for file in files)
    free = psutil.virtual_memory().available
    if needed > _MEMORY_SHARE * free:
        raise UserError(f"the Parquet files hold {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free",
                        todo="unpack them into folders (data set `image_folder`), or read them by `hfds/`, which maps files")  # fmt: skip


def _size(file: Path) -> int:
    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read: {error}", todo="copy the file again") from error
    return sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))


def _table(files: list[Path]) -> pa.Table:
    """Return the rows of all shards, in the order of the shards' names."""
    tables = []
    for file in files:
        schema = pq.read_schema(file)
        image_column(schema, str(file))
        try:
            tables.append(
                pq.read_table(file, columns=[n for n in schema.names if n in ("image", "img", "path", LABEL)])
            )
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} cannot be read: {error}", todo="copy the file again") from error
        if not tables[-1].schema.equals(tables[0].schema):
            raise UserError(f"{file} has other columns than {files[0].name}", todo="write all shards alike")
    return pa.concat_tables(tables)


def _class_names(train: pa.Table) -> list[str]:
    """Return the classes that the file names; else those that the paths name; else the labels as they are."""
    if (named := class_names(train.schema)) is not None:
        return named
    labels = train.column(LABEL).to_pylist()
    classes = [str(label) for label in range(max((label for label in labels if label is not None), default=-1) + 1)]
    if "path" in train.column_names:
        for path, label in zip(train.column("path").to_pylist(), labels, strict=True):
            if path and "/" in path and label is not None and label >= 0:
                classes[label] = path.split("/")[-2]
    return classes


def _unlabelled(table: pa.Table) -> bool:
    """Say whether no row has a label (-1), as in test sets whose labels are kept secret; such a split is left out."""
    return len(table) > 0 and bool(np.all(table.column(LABEL).fill_null(-1).to_numpy() == -1))
