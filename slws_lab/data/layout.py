"""How folders name their splits, so that every source of files looks for them in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from slws_lab.data.split import TEST, TRAIN, VAL
from slws_lab.errors import UserError

SPLIT_NAMES = {TRAIN: ("train", "training"), VAL: ("val", "valid", "validation"), TEST: ("test",)}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

Found = TypeVar("Found")


def find_splits(folder: Path, find: Callable[[str], Found | None], example: str) -> dict[str, Found]:
    """Return what each split has: the first of its names under which something is found.

    Args:
        folder: Where it is searched, for the message.
        find: Returns what stands under a name; falsy when there is nothing.
        example: How the train split is named, for the message.

    Raises:
        UserError: There is no train split.
    """
    splits = {}
    for split, names in SPLIT_NAMES.items():
        found = next(filter(None, map(find, names)), None)
        if found is not None:
            splits[split] = found
    if TRAIN not in splits:
        entries = sorted(path.name for path in folder.iterdir())[:5]
        raise UserError(
            f"{folder} has no train split; it holds {', '.join(entries) or 'nothing'}",
            allowed=f"{example}, and the like for val (or cut) and test (or none)",
            todo="give the folder that holds the splits",
        )
    return splits
