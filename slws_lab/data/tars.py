"""Webdataset's tar files: samples KEY.jpg with KEY.cls, the label. The tars are indexed once and read by place.

webdataset itself reads a stream, whose order depends on the number of workers and which cannot go on in the middle; an index gives
any order at the same cost for each image. The limits: uncompressed tars in a local folder, and a pass over their headers at the start.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from slws_lab.data.assemble import Source
from slws_lab.data.dataset import Split, arranged
from slws_lab.data.images import TarMembers
from slws_lab.data.layout import IMAGE_SUFFIXES, find_splits
from slws_lab.data.request import Request
from slws_lab.data.split import TRAIN
from slws_lab.errors import UserError

PREFIX = "wds/"
_INFO = "_info.json"
_LABEL_SUFFIX = ".cls"


class _Sample(NamedTuple):
    name: str
    label: int
    span: tuple[int, int, int]


def read(request: Request) -> Source:
    """Index the tars; splits are those of `_info.json`, as timm writes it, else they are known by the files' names.

    Raises:
        UserError: No folder, no train split, a tar that cannot be read, a sample without a label, or labels that train lacks.
    """
    root = replace(request, path=request.path or request.name.removeprefix(PREFIX)).folder()
    listed = _listed(root)
    shards = find_splits(root, lambda name: listed.get(name) or _globbed(root, name), "train-*.tar")
    found = {
        name: [sample for number, tar in enumerate(tars) for sample in _samples(tar, number)]
        for name, tars in shards.items()
    }
    if not found[TRAIN]:
        raise UserError(f"{shards[TRAIN][0]} holds no images", allowed="members ending in " + ", ".join(IMAGE_SUFFIXES))
    classes = tuple(str(label) for label in range(1 + max(sample.label for sample in found[TRAIN])))
    return Source(classes, {name: _split(shards[name], samples, classes) for name, samples in found.items()})


def _listed(root: Path) -> dict[str, list[Path]]:
    if not (root / _INFO).is_file():
        return {}
    try:
        splits = json.loads((root / _INFO).read_text()).get("splits", {})
        return {name: [root / file for file in split["filenames"]] for name, split in splits.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{root / _INFO} is damaged: {error}", where="path",
                        todo="mend it, or take it away: tars are then found by their names") from error  # fmt: skip


def _globbed(root: Path, name: str) -> list[Path]:
    return sorted(
        {tar for pattern in (f"{name}.tar", f"{name}-*.tar", f"*-{name}-*.tar") for tar in root.glob(pattern)}
    )


def _samples(tar: Path, number: int) -> Iterator[_Sample]:
    """Yield the images of a tar with their labels."""
    spans: dict[str, tuple[str, tuple[int, int, int]]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                key, _, suffix = member.name.rpartition(".")
                if f".{suffix.lower()}" in IMAGE_SUFFIXES:
                    spans[key] = member.name, (number, member.offset_data, member.size)
                elif f".{suffix}" == _LABEL_SUFFIX and (content := file.extractfile(member)) is not None:
                    labels[key] = int(content.read())
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(
            f"{tar} cannot be read: {error}", allowed="an uncompressed tar of KEY.jpg and KEY.cls, a whole number"
        ) from error
    for key, (name, span) in spans.items():
        if key not in labels:
            raise UserError(f"{name} in {tar} has no label", allowed=f"a member {key}{_LABEL_SUFFIX} beside it")
        yield _Sample(PurePosixPath(name).name, labels[key], span)


def _split(tars: list[Path], samples: list[_Sample], classes: tuple[str, ...]) -> Split:
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    if strange := [sample for sample in samples if not 0 <= sample.label < len(classes)]:
        raise UserError(f"{strange[0].name} in {tars[0].parent} has the label {strange[0].label}",
                        allowed=f"0 to {len(classes) - 1}, as in train")  # fmt: skip
    ids = [f"{sample.label}/{sample.name}" for sample in samples]
    if len(set(ids)) < len(ids):  # keys that are unique in their tar only
        ids = [f"{sample.label}/{row:08d}" for row, sample in enumerate(samples)]
    spans = np.array([sample.span for sample in samples], dtype=np.int64).reshape(-1, 3)
    return arranged(ids, labels, TarMembers(tars, spans))
