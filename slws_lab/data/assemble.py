"""From the parts that a source has to a data set: val cut or given, a share of the labels, statistics, and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from slws_lab.data.dataset import DataSet, Split
from slws_lab.data.images import Pixels
from slws_lab.data.moments import moments
from slws_lab.data.request import Request
from slws_lab.data.split import SPLITS, TEST, TRAIN, VAL, labelled, split_of
from slws_lab.errors import UserError

IMAGENET_SIZE = 224


@dataclass(frozen=True)
class Source:
    """What was found under a data set's name.

    Attributes:
        class_names: One per class, in the order of the labels.
        splits: The parts that it comes with: train, and perhaps val and test.
        size: Its own height, and width, in pixels, or the usual one.
        channels: Its own channels.
        test_fraction: Hashed share of train that is test, for a set that comes without one.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    size: int = IMAGENET_SIZE
    channels: int = 3
    test_fraction: float = 0.0


def assemble(request: Request, source: Source) -> DataSet:
    """Cut and check the splits of a source as a recipe asks.

    Raises:
        UserError: There are fewer than two classes, a split would be empty, or the statistics do not fit the channels.
    """
    channels = request.channels or source.channels
    splits, rule = _splits(request, source)
    splits = {name: replace(split, channels=channels) for name, split in splits.items()}
    train = splits[TRAIN]
    if train.labels.unique().numel() < 2:
        raise UserError(f"{request.name} has one class only", todo="give train samples of two classes or more")
    if request.label_fraction < 1:
        splits[TRAIN] = train.take(labelled(train.ids, train.labels.tolist(), request.label_fraction))
        rule += f"; {request.label_fraction} of the labels"
    mean, std = _scale(request, splits[TRAIN], channels)
    size = request.size or source.size
    return DataSet(request.name, source.class_names, splits, rule, size, channels, mean, std, full_train=len(train))


def _splits(request: Request, source: Source) -> tuple[dict[str, Split], str]:
    """Return train, val and test, and in words how they came about."""
    given = dict(source.splits)
    taken = VAL in given and request.val == "given"
    if taken and not len(given[VAL]):
        raise UserError(f"the val split of {request.name} is empty", where="val", todo="fill it, or set `val: cut`")
    splits, rule = (given, "as given") if taken else _cut(request, source)
    return {name: splits[name] if name in splits else splits[TRAIN].take([]) for name in SPLITS}, rule


def _cut(request: Request, source: Source) -> tuple[dict[str, Split], str]:
    given, fraction = source.splits, request.val_fraction
    where = np.array([split_of(sample_id, source.test_fraction, fraction) for sample_id in given[TRAIN].ids])
    splits = {name: given[TRAIN].take(np.flatnonzero(where == name).tolist()) for name in SPLITS}
    for name in (TRAIN, VAL):
        if not len(splits[name]):
            todo = "choose a share that leaves samples for both train and val"
            given_text = f"val_fraction = {fraction} leaves the {name} split of {request.name} empty"
            raise UserError(given_text, where="val_fraction", todo=todo)
    if source.test_fraction:
        return splits, f"sha256 of the id; test {source.test_fraction}, val {fraction} of the rest"
    rule = f"sha256 of the id; val {fraction} of train"
    if TEST in given:
        return {**splits, TEST: given[TEST]}, rule
    if VAL in given:
        return {**splits, TEST: given[VAL]}, f"{rule}; the given val is test"
    return splits, rule


def _scale(request: Request, train: Split, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std: what is asked, else train's own for sets of pixels, else ImageNet's (their average for grey)."""
    mean, std = request.mean, request.std
    if mean is None or std is None:
        own = moments(train) if isinstance(train.images, Pixels) else _imagenet(channels)
        mean, std = mean or own[0], std or own[1]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            given = f"{name} = {list(values)} for images of {channels} channels"
            raise UserError(given, where=name, allowed="one number for each channel")
    return tuple(mean), tuple(std)


def _imagenet(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if channels == 3:
        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    return (sum(IMAGENET_DEFAULT_MEAN) / 3,), (sum(IMAGENET_DEFAULT_STD) / 3,)
