"""Splits by hashed id, the digits and their golden numbers, labels in part, and what `load` refuses."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest
from sklearn.datasets import load_digits

from slws_lab.data import NAMES, DataSet, Request, Split, load
from slws_lab.data.images import Pixels
from slws_lab.data.moments import moments
from slws_lab.data.split import labelled, split_of, uniform
from slws_lab.errors import UserError


def pixels_of(split: Split) -> np.ndarray:
    assert isinstance(split.images, Pixels)
    return split.images.values[split.rows]


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(Request("digits"))


def test_the_digits_are_the_golden_ones(digits):
    assert {name: len(split) for name, split in digits.splits.items()} == {
        "train": 1140,
        "val": 280,
        "test": 377,
    }
    assert digits.fingerprint == "21a836d43d337820"
    assert (digits.name, digits.num_classes, digits.channels, digits.size) == ("digits", 10, 1, 8)
    assert digits.class_names == tuple("0123456789")
    assert digits.splits["train"].ids[:3] == ("digits/1/1", "digits/2/2", "digits/3/3")


def test_splits_are_disjoint_and_cover_everything(digits):
    ids = [sample for split in digits.splits.values() for sample in split.ids]
    assert len(ids) == len(set(ids)) == 1797


def test_pixels_labels_and_ids_belong_together(digits):
    source = load_digits()
    for split in digits.splits.values():
        rows = [int(sample.split("/")[2]) for sample in split.ids]
        assert [int(sample.split("/")[1]) for sample in split.ids] == split.labels.tolist()
        assert split.labels.tolist() == source.target[rows].tolist()
        expected = np.round(source.images[rows] * 255 / 16).astype(np.uint8)
        assert np.array_equal(pixels_of(split)[:, 0], expected)
        assert np.array_equal(np.asarray(split.image(3)), expected[3])


def test_every_split_has_every_class(digits):
    for split in digits.splits.values():
        assert split.labels.unique().numel() == 10


def test_mean_and_std_are_those_of_train_alone(digits):
    pixels = pixels_of(digits.splits["train"]) / 255
    assert digits.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert digits.std == pytest.approx([pixels.std()], rel=1e-12)
    assert load(Request("digits", val_fraction=0.5)).mean != digits.mean


def test_mean_and_std_are_per_channel():
    images = np.stack([np.zeros((2, 3, 3)), np.full((2, 3, 3), 255), np.arange(18).reshape(2, 3, 3)], 1)
    split = Split(("a", "b"), torch.zeros(2, dtype=torch.int64), Pixels(images.astype(np.uint8)), np.arange(2))
    mean, std = moments(split)
    assert mean == pytest.approx((0, 1, 8.5 / 255))
    assert std == pytest.approx((0, 0, float(np.arange(18).std()) / 255))
    grey = np.asarray(split.image(1).convert("L")).mean(), np.asarray(split.image(0).convert("L")).mean()
    assert moments(dataclasses.replace(split, channels=1))[0] == pytest.approx([sum(grey) / 2 / 255])


def test_grey_images_can_be_asked_for_in_colour():
    coloured = load(Request("digits", channels=3))
    assert (coloured.channels, coloured.splits["val"].image(0).mode) == (3, "RGB")
    assert coloured.mean == pytest.approx(3 * load(Request("digits")).mean)


def test_given_statistics_are_taken_and_must_fit_the_channels():
    dataset = load(Request("digits", mean=(0.5,), std=(0.25,)))
    assert (dataset.mean, dataset.std) == ((0.5,), (0.25,))
    with pytest.raises(UserError, match=r"mean = .*1 channels"):
        load(Request("digits", mean=(0.5, 0.5, 0.5)))


def test_the_fingerprint_sees_every_part(digits):
    def changed(**parts):
        train = dataclasses.replace(digits.splits["train"], **parts)
        return dataclasses.replace(digits, splits={**digits.splits, "train": train}).fingerprint

    train = digits.splits["train"]
    values, label = train.images.values.copy(), train.labels.clone()
    values[train.rows[5], 0, 3, 3] += 1
    label[5] = 9 - label[5]
    others = [
        changed(images=Pixels(values)),
        changed(labels=label),
        changed(ids=("other", *train.ids[1:])),
        changed(rows=train.rows[::-1], labels=train.labels.flip(0), ids=train.ids[::-1]),
        dataclasses.replace(digits, name="other").fingerprint,
        dataclasses.replace(digits, split_rule="other").fingerprint,
        load(Request("digits", val_fraction=0.3)).fingerprint,
        load(Request("digits", label_fraction=0.5)).fingerprint,
    ]
    assert len({digits.fingerprint, *others}) == 1 + len(others)
    assert load(Request("digits")).fingerprint == digits.fingerprint


def test_more_val_moves_samples_from_train_only(digits):
    larger = load(Request("digits", val_fraction=0.4))
    assert larger.splits["test"].ids == digits.splits["test"].ids
    assert set(digits.splits["val"].ids) < set(larger.splits["val"].ids)


def test_the_hash_is_uniform_and_gives_the_asked_shares():
    ids = [f"some/{index}" for index in range(20_000)]
    assert kstest([uniform(sample) for sample in ids], "uniform").pvalue > 0.001
    where = [split_of(sample, 0.2, 0.25) for sample in ids]
    for name, share in (("test", 0.2), ("val", 0.2), ("train", 0.6)):
        low, high = binom.interval(0.9999, len(ids), share)
        assert low <= where.count(name) <= high


def test_membership_is_golden():
    assert uniform("digits/0/0") == pytest.approx(0.002679571171859, abs=1e-15)
    assert [split_of(f"digits/{i}/{i}", 0.2, 0.2) for i in range(10)] == [
        "test",
        "train",
        "train",
        "train",
        "train",
        "test",
        "train",
        "test",
        "val",
        "train",
    ]


def test_an_added_or_removed_sample_moves_no_other(digits, monkeypatch):
    from slws_lab.data import digits as source

    images, target = source._images()
    monkeypatch.setattr(source, "_images", lambda: (images[:1000], target[:1000]))
    fewer = load(Request("digits"))
    for name, split in fewer.splits.items():
        assert split.ids == digits.splits[name].ids[: len(split)]
        assert np.array_equal(pixels_of(split), pixels_of(digits.splits[name])[: len(split)])


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.1, 0.5])
def test_a_share_of_the_labels_is_balanced_and_part_of_every_larger_share(digits, fraction):
    part = load(Request("digits", label_fraction=fraction))
    train = digits.splits["train"]
    whole, kept = Counter(train.labels.tolist()), Counter(part.splits["train"].labels.tolist())
    assert kept == {label: max(1, round(fraction * n)) for label, n in whole.items()}
    larger = load(Request("digits", label_fraction=min(1, 0.05 + 1.7 * fraction))).splits["train"]
    assert set(part.splits["train"].ids) < set(larger.ids) <= set(train.ids)
    assert part.full_train == len(train)
    for name in ("val", "test"):
        assert part.splits[name].ids == digits.splits[name].ids


def test_which_labels_are_kept_is_golden_and_depends_on_no_other_class():
    ids = [f"s/{index}" for index in range(20)]
    both = labelled(ids, [index % 2 for index in range(20)], 0.3)
    assert both == [1, 4, 10, 11, 13, 16]
    assert labelled(ids[::2], [0] * 10, 0.3) == [index // 2 for index in both if index % 2 == 0]


def test_an_unknown_data_set_is_refused_with_the_nearest_name():
    with pytest.raises(UserError) as caught:
        load(Request("digit"))
    assert "did you mean 'digits'?" in str(caught.value)
    assert caught.value.where == "name"
    assert all(name in caught.value.allowed for name in NAMES)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.2, float("nan")])
def test_a_share_of_nothing_or_everything_is_refused(fraction):
    with pytest.raises(UserError, match="above 0 and below 1"):
        load(Request("digits", val_fraction=fraction))


@pytest.mark.parametrize(
    ("name", "value"),
    [("label_fraction", 0.0), ("label_fraction", 1.5), ("size", 0), ("channels", 4),
     ("val", "some"), ("std", (0.0,)), ("std", ())],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_by_name(name, value):
    with pytest.raises(UserError) as caught:
        load(Request("digits", **{name: value}))
    assert caught.value.where == name
    assert caught.value.allowed


@pytest.mark.parametrize(("fraction", "empty"), [(1e-9, "val"), (1 - 1e-9, "train")])
def test_an_empty_split_is_refused(fraction, empty):
    with pytest.raises(UserError, match=f"leaves the {empty} split of digits empty"):
        load(Request("digits", val_fraction=fraction))


def test_a_split_checks_its_parts():
    images, labels = Pixels(np.zeros((2, 1, 3, 3), np.uint8)), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="1 ids"):
        Split(("a",), labels, images, np.arange(2))
    with pytest.raises(ValueError, match="need int64"):
        Split(("a", "b"), labels.float(), images, np.arange(2))
