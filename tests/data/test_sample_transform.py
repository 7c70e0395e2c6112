"""What is done to each image, against torchvision and timm called directly, and how its draws are spread."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest
from torchvision.transforms import functional as F

from slws_lab.data import SampleTransform
from slws_lab.data.auto_augment import auto_augment
from slws_lab.errors import UserError

BICUBIC = F.InterpolationMode.BICUBIC


def picture(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def seeded(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def test_evaluation_resizes_the_shorter_side_and_cuts_the_middle_out():
    image = picture()
    for crop, shorter in ((1.0, 28), (0.875, 32)):
        expected = F.center_crop(F.resize(image, shorter, BICUBIC), 28)
        found = SampleTransform(28, train=False, eval_crop=crop)(image)
        assert found.shape == (3, 28, 28)
        assert found.dtype == torch.uint8
        assert torch.equal(found, F.pil_to_tensor(expected))


def test_an_image_of_the_asked_size_is_left_alone():
    for train in (True, False):
        transform = SampleTransform(40, train=train)
        assert not transform.random
        assert torch.equal(transform(picture(40, 40)), F.pil_to_tensor(picture(40, 40)))


def test_what_is_random_is_only_on_in_training():
    settings = {"resized_crop": (0.2, 1.0), "auto": "3a", "color_jitter": 0.3}
    evaluation = SampleTransform(24, train=False, **settings)
    assert not evaluation.random
    assert torch.equal(evaluation(picture()), SampleTransform(24, train=False)(picture()))
    for name, value in settings.items():
        assert SampleTransform(24, train=True, **{name: value}).random


def test_a_random_crop_has_the_asked_areas_and_aspects():
    """Each pixel holds its column and row, so a crop shows where it was cut."""
    columns, rows = np.meshgrid(np.arange(200), np.arange(200))
    image = Image.fromarray(np.stack([columns, rows, 0 * rows], 2).astype(np.uint8))
    transform = SampleTransform(64, train=True, resized_crop=(0.2, 0.6))
    seeded(1)
    found = [transform(image).double() for _ in range(400)]
    widths, heights = (torch.stack([i[c].max() - i[c].min() + 1 for i in found]) for c in (0, 1))
    areas, aspects = widths * heights / 200**2, widths / heights
    assert areas.min() > 0.18
    assert areas.max() < 0.62
    assert aspects.min() > 0.70
    assert aspects.max() < 1.42
    assert kstest(areas.numpy(), "uniform", args=(0.2, 0.4)).pvalue > 0.001


@pytest.mark.parametrize("auto", ["rand-m9-mstd0.5-inc1", "rand-m10-inc1-p1.0", "3a", "augmix-m3-w3", "v0", "original"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_policy_of_timm_works_on_colour_and_grey(auto, mode):
    transform = SampleTransform(24, train=True, resized_crop=(0.2, 1.0), auto=auto, color_jitter=0.3)
    images = []
    for _ in range(2):
        seeded(3)
        images.append(torch.stack([transform(picture(mode=mode)) for _ in range(25)]))
    assert torch.equal(*images)
    assert images[0].shape == (25, 3 if mode == "RGB" else 1, 24, 24)
    assert images[0].unique(dim=0).shape[0] > 20


def test_the_strongest_posterize_is_black_on_every_pillow():
    policy = auto_augment("rand-m10-inc1-n1-p1.0", 24).transform
    operation = next(one for one in policy.ops if one.name == "PosterizeIncreasing")
    assert np.asarray(operation(picture())).max() == 0
    operation.magnitude = 5
    assert np.array_equal(np.asarray(operation(picture())), np.asarray(picture()) & 0b11000000)


def test_colour_jitter_acts_alone_and_with_three_augment_but_not_beside_rand():
    def result(**settings: object) -> torch.Tensor:
        transform = SampleTransform(24, train=True, **settings)
        seeded(5)
        return torch.stack([transform(picture(24, 24)) for _ in range(8)])

    still = result()
    assert not torch.equal(result(color_jitter=0.3), still)
    for auto, same in (("rand-m9-mstd0.5-inc1", True), ("3a", False)):
        assert torch.equal(result(auto=auto, color_jitter=0.3), result(auto=auto)) == same


@pytest.mark.parametrize("auto", ["nonsense", "rand-x9", "augmix-q1", "3b", ""])
def test_a_name_that_timm_does_not_know_is_refused(auto):
    if not auto:
        assert not SampleTransform(24, train=True, auto=auto).random
        return
    with pytest.raises(UserError, match="no auto-augmentation"):
        SampleTransform(24, train=True, auto=auto)


@pytest.mark.parametrize("area", [(0.0, 1.0), (0.5, 0.2), (0.5, 1.5)])
def test_an_area_out_of_its_range_is_refused(area):
    with pytest.raises(UserError, match="resized_crop"):
        SampleTransform(24, train=True, resized_crop=area)
