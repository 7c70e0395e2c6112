"""The resident path: batches, orders, and `normalize`."""

from __future__ import annotations

import pytest
import torch

from slws_lab.data import Resident, Split, epoch_order, load, normalize


@pytest.fixture
def split() -> Split:
    images = torch.randint(0, 256, (10, 2, 3, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Split(images, torch.arange(10), tuple(f"s/{i}" for i in range(10)))


def test_a_batch_holds_the_asked_samples_in_the_asked_order(split):
    resident = Resident(split, "cpu")
    images, labels = resident.batch(torch.tensor([7, 0, 7]))
    assert len(resident) == 10
    assert labels.tolist() == [7, 0, 7]
    assert torch.equal(images, split.images[[7, 0, 7]])
    assert images.dtype == torch.uint8


def test_a_batch_is_a_copy(split):
    resident = Resident(split, "cpu")
    resident.batch(torch.arange(10))[0].zero_()
    assert resident.batch(torch.arange(10))[0].any()


def test_an_epoch_visits_each_sample_once_in_an_order_from_the_generator():
    first, again, other = (epoch_order(50, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.sort().values.tolist() == list(range(50))


def test_normalized_train_images_have_mean_zero_and_deviation_one():
    dataset = load("digits", 0.2)
    images = normalize(dataset.splits["train"].images, dataset.mean, dataset.std, torch.float64)
    assert images.mean().item() == pytest.approx(0, abs=1e-12)
    assert images.std(unbiased=False).item() == pytest.approx(1, abs=1e-12)


def test_normalize_works_per_channel_and_rounds_once(split):
    mean, std = (0.25, 0.5), (0.5, 2.0)
    exact = torch.stack([(split.images[:, c].double() / 255 - mean[c]) / std[c] for c in range(2)], 1)
    torch.testing.assert_close(normalize(split.images, mean, std), exact.float())
    half = normalize(split.images, mean, std, torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, normalize(split.images, mean, std).bfloat16())
