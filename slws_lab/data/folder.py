"""Folders in ImageNet's layout: train/CLASS/FILE, and the like for val and test where there are any."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from slws_lab.data.assemble import Source
from slws_lab.data.dataset import Split, arranged
from slws_lab.data.images import Files
from slws_lab.data.layout import IMAGE_SUFFIXES, find_splits
from slws_lab.data.request import Request
from slws_lab.data.split import TRAIN
from slws_lab.errors import UserError

NAME = "image_folder"
_THREADS = 8  # listing waits for the file system, above all for one on a network


def read(request: Request) -> Source:
    """List the files; classes are the folders' names, sorted. Nothing is opened.

    Raises:
        UserError: No folder, no train split, a class without images, or splits of different classes.
    """
    root = request.folder()
    splits = find_splits(root, lambda name: root / name if (root / name).is_dir() else None, "train/CLASS/FILE")
    classes = _classes(splits[TRAIN])
    for path in splits.values():
        if (others := _classes(path)) != classes:
            here, there = sorted(set(others) - set(classes))[:3], sorted(set(classes) - set(others))[:3]
            said = [
                f"only {where.name} has {', '.join(names)}"
                for where, names in ((path, here), (splits[TRAIN], there))
                if names
            ]
            raise UserError(f"the class folders of {path} and {splits[TRAIN]} differ: {'; '.join(said)}",
                            todo="give all splits the same class folders")  # fmt: skip
    return Source(tuple(classes), {name: _split(path, classes) for name, path in splits.items()})


def _classes(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        found = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    if not found:
        raise UserError(f"{folder} has no class folders", allowed=f"{folder.name}/CLASS/FILE")
    return found


def _split(folder: Path, classes: list[str]) -> Split:
    with ThreadPoolExecutor(_THREADS) as pool:
        listed = list(pool.map(partial(_files, folder), classes))
    ids = [f"{name}/{file}" for name, files in zip(classes, listed, strict=True) for file, _ in files]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in listed])
    sizes = np.array([size for files in listed for _, size in files], dtype=np.int64)
    return arranged(ids, labels, Files(folder, ids, sizes))


def _files(folder: Path, name: str) -> list[tuple[str, int]]:
    """Return name and bytes of each image of a class."""
    with os.scandir(folder / name) as entries:
        files = [(entry.name, _size(entry)) for entry in entries if _is_image(entry.name)]
    if not files:
        raise UserError(f"class folder {folder / name} has no images", allowed="files ending in " + ", ".join(IMAGE_SUFFIXES),
                        todo="fill the folder or take it away, in all splits")  # fmt: skip
    return files


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _size(entry: os.DirEntry[str]) -> int:
    """Return a file's bytes; -1 for a link to nowhere, which is a broken image like any other."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return -1
