"""Splits by hashed id, the digits and their golden numbers, and what `load` refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest
from sklearn.datasets import load_digits

from slws_lab.data import DATASETS, DataSet, Split, load
from slws_lab.data.split import split_of, uniform
from slws_lab.errors import UserError


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load("digits", 0.2)


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
        assert np.array_equal(split.images[:, 0].numpy(), expected)


def test_every_split_has_every_class(digits):
    for split in digits.splits.values():
        assert split.labels.unique().numel() == 10


def test_mean_and_std_are_those_of_train_alone(digits):
    pixels = digits.splits["train"].images.double() / 255
    assert digits.mean == pytest.approx([pixels.mean().item()], rel=1e-12)
    assert digits.std == pytest.approx([pixels.std(unbiased=False).item()], rel=1e-12)
    blank = {name: dataclasses.replace(digits.splits[name], images=torch.zeros_like(digits.splits[name].images))
             for name in ("val", "test")}  # fmt: skip
    other = dataclasses.replace(digits, splits={**digits.splits, **blank})
    assert (other.mean, other.std) == (digits.mean, digits.std)


def test_mean_and_std_are_per_channel():
    images = torch.stack([torch.zeros(2, 3, 3), torch.full((2, 3, 3), 255), torch.arange(18).view(2, 3, 3)], 1)
    split = Split(images.to(torch.uint8), torch.zeros(2, dtype=torch.int64), ("a", "b"))
    dataset = DataSet("colours", ("x",), {"train": split, "val": split, "test": split}, "none")
    assert dataset.mean == pytest.approx((0, 1, 8.5 / 255))
    assert dataset.std == pytest.approx((0, 0, float(np.arange(18).std()) / 255))


def test_the_fingerprint_sees_every_part(digits):
    def changed(**parts):
        train = dataclasses.replace(digits.splits["train"], **parts)
        return dataclasses.replace(digits, splits={**digits.splits, "train": train}).fingerprint

    train = digits.splits["train"]
    image, label = train.images.clone(), train.labels.clone()
    image[5, 0, 3, 3] += 1
    label[5] = 9 - label[5]
    others = [
        changed(images=image),
        changed(labels=label),
        changed(ids=("other", *train.ids[1:])),
        changed(images=train.images.flip(0), labels=train.labels.flip(0), ids=train.ids[::-1]),
        dataclasses.replace(digits, name="other").fingerprint,
        dataclasses.replace(digits, split_rule="other").fingerprint,
        load("digits", 0.3).fingerprint,
    ]
    assert len({digits.fingerprint, *others}) == 1 + len(others)
    assert load("digits", 0.2).fingerprint == digits.fingerprint


def test_more_val_moves_samples_from_train_only(digits):
    larger = load("digits", 0.4)
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

    full = load_digits()
    full.images, full.target = full.images[:1000], full.target[:1000]
    monkeypatch.setattr(source, "load_digits", lambda: full)
    fewer = load("digits", 0.2)
    for name, split in fewer.splits.items():
        assert split.ids == digits.splits[name].ids[: len(split)]
        assert torch.equal(split.images, digits.splits[name].images[: len(split)])


def test_an_unknown_data_set_is_refused_with_the_nearest_name():
    with pytest.raises(UserError) as caught:
        load("digit", 0.2)
    assert "did you mean 'digits'?" in str(caught.value)
    assert set(DATASETS) == {"digits"}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.2, float("nan")])
def test_a_share_of_nothing_or_everything_is_refused(fraction):
    with pytest.raises(UserError, match="above 0 and below 1"):
        load("digits", fraction)


@pytest.mark.parametrize(("fraction", "empty"), [(1e-9, "val"), (1 - 1e-9, "train")])
def test_an_empty_split_is_refused(fraction, empty):
    with pytest.raises(UserError, match=f"leaves the {empty} split of digits empty"):
        load("digits", fraction)


def test_a_split_checks_its_parts():
    images, labels = torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="1 ids"):
        Split(images, labels, ("a",))
    with pytest.raises(ValueError, match="need uint8"):
        Split(images.float(), labels, ("a", "b"))
