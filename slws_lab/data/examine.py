"""Reads a data set once, all of it, and says what is in it: counts, sizes, broken images, duplicates within and across splits."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from slws_lab.data.dataset import Split
from slws_lab.data.images import BrokenImage
from slws_lab.data.request import Request
from slws_lab.data.sources import load
from slws_lab.data.split import SPLITS

_CHUNK = 64
_EXAMPLES = 20


class _Seen(NamedTuple):
    """One image: digest of its bytes (empty when there are none), width, height and mode, or why it is broken."""

    digest: bytes
    width: int
    height: int
    mode: str
    broken: str


def examine(request: Request, workers: int = 0) -> dict[str, Any]:
    """Decode every image of every split, test too, and return what was found, as plain values that JSON can hold.

    Args:
        request: Which data set.
        workers: Processes that read; 0 reads in this one.

    Returns:
        name, fingerprint, split_rule, classes; size (pixels), channels, mean, std (by channel, pixels from 0 to 1) that a model
        sees; `splits`, and for each of them samples, per_class, width and height (smallest and
        largest, null when no image could be read), modes, broken (id: cause), duplicates (images beyond the first of each group,
        and groups of ids); `shared` (for each two splits the images that both hold, and pairs of ids); seconds, images_per_s.
        Lists of duplicates stop after 20.

    Raises:
        UserError: As `load` does.
    """
    dataset = load(request)
    started = time.monotonic()
    seen = {name: _read(dataset.splits[name], workers) for name in SPLITS}
    seconds = time.monotonic() - started
    groups = {name: _groups(dataset.splits[name], seen[name]) for name in SPLITS}
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split_rule": dataset.split_rule,
        "classes": dataset.num_classes,
        "size": dataset.size,
        "channels": dataset.channels,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "splits": {
            name: _summary(dataset.splits[name], dataset.class_names, seen[name], groups[name]) for name in SPLITS
        },
        "shared": [_shared(one, other, groups) for one, other in combinations(SPLITS, 2)],
        "seconds": seconds,
        "images_per_s": sum(map(len, seen.values())) / seconds,
    }


class _Inspector(Dataset[list[_Seen]]):
    """Looks at chunks of positions; a data set to torch's DataLoader."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, positions: list[int]) -> list[_Seen]:
        return [self._look(position) for position in positions]

    def _look(self, position: int) -> _Seen:
        try:
            digest = hashlib.sha256(self.split.images.encoded(int(self.split.rows[position]))).digest()
        except OSError as error:
            return _Seen(b"", 0, 0, "", f"{type(error).__name__}: {error}")
        try:
            image = self.split.decoded(position)
        except BrokenImage as error:
            return _Seen(digest, 0, 0, "", error.cause)
        return _Seen(digest, *image.size, image.mode, "")


def _read(split: Split, workers: int) -> list[_Seen]:
    chunks = [chunk.tolist() for chunk in torch.arange(len(split)).split(_CHUNK)]
    inspected: Iterable[list[_Seen]] = DataLoader(
        _Inspector(split),
        batch_size=None,
        sampler=chunks,
        num_workers=workers,
        collate_fn=list,
        generator=torch.Generator(),
    )
    return [seen for chunk in inspected for seen in chunk]


def _groups(split: Split, seen: list[_Seen]) -> dict[bytes, list[str]]:
    """Return the ids of each content."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for sample_id, one in zip(split.ids, seen, strict=True):
        if one.digest:
            groups[one.digest].append(sample_id)
    return groups


def _summary(split: Split, names: tuple[str, ...], seen: list[_Seen], groups: dict[bytes, list[str]]) -> dict[str, Any]:
    read = [one for one in seen if not one.broken]
    repeated = [ids for ids in groups.values() if len(ids) > 1]
    counts = Counter(split.labels.tolist())
    return {
        "samples": len(split),
        "per_class": {name: counts[label] for label, name in enumerate(names)},
        "width": _range([one.width for one in read]),
        "height": _range([one.height for one in read]),
        "modes": dict(Counter(one.mode for one in read)),
        "broken": {sample_id: one.broken for sample_id, one in zip(split.ids, seen, strict=True) if one.broken},
        "duplicates": {"images": sum(len(ids) - 1 for ids in repeated), "groups": repeated[:_EXAMPLES]},
    }


def _range(values: list[int]) -> list[int] | None:
    return [min(values), max(values)] if values else None


def _shared(one: str, other: str, groups: dict[str, dict[bytes, list[str]]]) -> dict[str, Any]:
    """Return how many images of `other` stand in `one` too."""
    both = [digest for digest in groups[other] if digest in groups[one]]
    examples = [[groups[one][digest][0], groups[other][digest][0]] for digest in both[:_EXAMPLES]]
    return {"splits": [one, other], "images": sum(len(groups[other][digest]) for digest in both), "examples": examples}
