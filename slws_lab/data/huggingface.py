"""Hugging Face's data sets through timm's reader: map-style ones, whose rows Arrow maps from the disk, in any order."""

from __future__ import annotations

import importlib
from typing import Any

from timm.data.dataset_factory import create_dataset

from slws_lab.data.assemble import Source
from slws_lab.data.columns import IMAGE_NAMES, LABEL, split_of_table
from slws_lab.data.dataset import Split
from slws_lab.data.layout import SPLIT_NAMES
from slws_lab.data.request import Request
from slws_lab.data.split import TRAIN
from slws_lab.errors import UserError

PREFIX = "hfds/"


def read(request: Request) -> Source:
    """Open the data set NAME of `hfds/NAME`; the request's path, where given, is the cache that it is downloaded to.

    Raises:
        UserError: The package `datasets` is missing, there is no such data set, it has no train split or no named classes.
    """
    try:
        package: Any = importlib.import_module("datasets")
    except ImportError as error:
        todo = "pip install datasets"
        raise UserError(f"{request.name} needs the package `datasets`", where="name", todo=todo) from error
    cache = None if request.path is None else str(request.folder())
    try:
        readers = _readers(package, request.name, cache)
    except Exception as error:  # whatever a hub, a cache or a file does
        first = str(error).strip().split("\n", 1)[0]
        todo = "check the name, the connection, and the path of the cache"
        raise UserError(f"{request.name} cannot be opened: {first}", where="name", todo=todo) from error
    if TRAIN not in readers:
        raise UserError(f"{request.name} has no train split", where="name")
    classes = list(readers[TRAIN].class_to_idx)
    if not classes:
        raise UserError(f"{request.name} has no column `{LABEL}` of ClassLabel", where="name")
    splits = {split: _split(reader, classes, f"{request.name}, {split}") for split, reader in readers.items()}
    return Source(tuple(classes), {name: split for name, split in splits.items() if split is not None})


def _readers(package: Any, name: str, cache: str | None) -> dict[str, Any]:
    """Return timm's reader of each split that there is."""
    there = package.load_dataset(name.removeprefix(PREFIX), cache_dir=cache)
    readers = {}
    for split, known in SPLIT_NAMES.items():
        found = next((one for one in known if one in there), None)
        if found is not None:
            column = next((one for one in IMAGE_NAMES if one in there[found].column_names), IMAGE_NAMES[0])
            readers[split] = create_dataset(name, root=cache, split=found, input_key=column).reader
    return readers


def _split(reader: Any, classes: list[str], where: str) -> Split | None:
    """Return the rows of a reader; None where no row has a label, as in test sets whose labels are kept secret."""
    table = reader.dataset.data.table
    unlabelled = set(reader.dataset.unique(LABEL)) == {-1}
    return None if unlabelled else split_of_table(table, classes, where, in_memory=False)
