"""Orders of an epoch, and `normalize`."""

from __future__ import annotations

import pytest
import torch

from slws_lab.data import Request, epoch_order, load, normalize


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_epoch_visits_each_sample_once_in_an_order_from_the_generator():
    first, again, other = (epoch_order(50, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.sort().values.tolist() == list(range(50))
    assert torch.equal(first, torch.randperm(50, generator=generator(1)))


def test_repeated_samples_stand_in_a_row_and_the_epoch_keeps_its_length():
    source, again = generator(1), generator(1)
    order = epoch_order(50, source, repeats=3)
    drawn = torch.randperm(50, generator=again)
    assert torch.equal(source.get_state(), again.get_state())
    assert len(order) == 50
    assert order.tolist() == [index for index in drawn.tolist()[:17] for _ in range(3)][:50]


def test_a_longer_epoch_appends_whole_permutations():
    source = generator(1)
    order = epoch_order(20, source, length=50)
    again = generator(1)
    parts = [torch.randperm(20, generator=again) for _ in range(3)]
    assert torch.equal(order, torch.cat(parts)[:50])
    assert torch.equal(source.get_state(), again.get_state())


def test_repeats_and_length_work_together():
    order = epoch_order(4, generator(1), repeats=2, length=19)
    assert len(order) == 19
    assert torch.equal(order[0:18:2], order[1:18:2])
    assert order[:8].bincount().tolist() == order[8:16].bincount().tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("mistake", [{"n": 0}, {"n": 5, "repeats": 0}, {"n": 5, "length": 0}])
def test_an_order_of_nothing_is_refused(mistake):
    with pytest.raises(ValueError, match="at least 1"):
        epoch_order(generator=generator(0), **mistake)


def test_normalized_train_images_have_mean_zero_and_deviation_one():
    dataset = load(Request("digits"))
    train = dataset.splits["train"]
    pixels = torch.from_numpy(train.images.values[train.rows])
    images = normalize(pixels, dataset.mean, dataset.std, torch.float64)
    assert images.mean().item() == pytest.approx(0, abs=1e-12)
    assert images.std(unbiased=False).item() == pytest.approx(1, abs=1e-12)


def test_normalize_works_per_channel_and_rounds_once():
    images = torch.randint(0, 256, (10, 2, 3, 3), generator=generator(0)).to(torch.uint8)
    mean, std = (0.25, 0.5), (0.5, 2.0)
    exact = torch.stack([(images[:, c].double() / 255 - mean[c]) / std[c] for c in range(2)], 1)
    torch.testing.assert_close(normalize(images, mean, std), exact.float())
    half = normalize(images, mean, std, torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, normalize(images, mean, std).bfloat16())
