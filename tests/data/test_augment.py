"""Each change of a batch against a plain loop over samples that uses the same draws."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom, kstest
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from slws_lab.data import Augment

HEIGHT, WIDTH = 8, 11


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """No pixel is 0 and all pixels of an image differ, so that each can be recognised."""
    pixels = torch.arange(1, HEIGHT * WIDTH + 1).view(1, 1, HEIGHT, WIDTH)
    return (pixels + torch.arange(n).view(n, 1, 1, 1) + 50 * torch.arange(2).view(1, 2, 1, 1)).to(dtype)


def plainly(augment: Augment, images: Tensor, seed: int) -> Tensor:
    """The same changes, one sample and one pixel at a time."""
    draws = torch.rand(8, len(images), generator=generator(seed), dtype=torch.float64)
    return torch.stack([one_plainly(augment, image, draws[:, i].tolist()) for i, image in enumerate(images)])


def one_plainly(augment: Augment, image: Tensor, draws: list[float]) -> Tensor:
    channels, height, width = image.shape
    pad = augment.crop
    padded = torch.zeros(channels, height + 2 * pad, width + 2 * pad, dtype=image.dtype)
    padded[:, pad : pad + height, pad : pad + width] = image
    if augment.padding == "reflect":
        wide = torch.nn.functional.pad(image.double()[None], (pad, pad, pad, pad), mode="reflect")
        padded = wide[0].to(image.dtype)
    top, left = math.floor(draws[0] * (2 * pad + 1)), math.floor(draws[1] * (2 * pad + 1))
    image = padded[:, top : top + height, left : left + width].clone()
    if draws[2] < augment.flip:
        image = image.flip(2)
    if draws[3] < augment.erase:
        top, left, rows, columns = rectangle(draws, height, width)
        for row in range(top, top + rows):
            for column in range(left, left + columns):
                image[:, row, column] = 0
    return image


def rectangle(draws: list[float], height: int, width: int) -> tuple[int, int, int, int]:
    area = height * width * (0.02 + draws[4] * (1 / 3 - 0.02))
    aspect = 0.3 * ((1 / 0.3) / 0.3) ** draws[5]
    rows = min(max(round(math.sqrt(area * aspect)), 1), height)
    columns = min(max(round(math.sqrt(area / aspect)), 1), width)
    return (
        math.floor(draws[6] * (height - rows + 1)),
        math.floor(draws[7] * (width - columns + 1)),
        rows,
        columns,
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop=2),
        Augment(crop=2, padding="reflect"),
        Augment(crop=7, padding="reflect"),
        Augment(crop=20),
        Augment(flip=0.5),
        Augment(erase=0.7),
        Augment(crop=3, flip=0.5, erase=0.5),
    ],
    ids=str,
)
def test_equals_a_plain_loop_over_samples(augment, dtype):
    images = some_images(60, dtype)
    changed = augment(images, generator(3))
    assert changed.dtype == dtype
    assert torch.equal(changed, plainly(augment, images, 3))
    assert not torch.equal(changed, images)


def test_the_input_is_left_alone():
    images = some_images(20)
    Augment(crop=2, flip=1, erase=1)(images, generator())
    assert torch.equal(images, some_images(20))


def test_nothing_switched_on_is_the_identity():
    images = some_images(20)
    assert torch.equal(Augment()(images, generator()), images)


def test_every_setting_uses_the_same_draws():
    states = []
    for augment in (Augment(), Augment(crop=2), Augment(flip=0.5, erase=1.0, crop=1)):
        source = generator(9)
        augment(some_images(5), source)
        states.append(source.get_state())
    assert all(torch.equal(states[0], state) for state in states[1:])
    assert not torch.equal(states[0], generator(9).get_state())


def test_the_generators_seed_decides():
    augment, images = Augment(crop=2, flip=0.5, erase=0.5), some_images(20)
    assert torch.equal(augment(images, generator(1)), augment(images, generator(1)))
    assert not torch.equal(augment(images, generator(1)), augment(images, generator(2)))


@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
def test_flips_are_as_frequent_as_asked(probability):
    images = some_images(3000)
    flipped = Augment(flip=probability)(images, generator())
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (mirrored | (flipped == images).flatten(1).all(1)).all()
    low, high = binom.interval(0.9999, 3000, probability)
    assert low <= mirrored.sum().item() <= high


def test_every_crop_offset_occurs_and_none_leaves_the_padding():
    marked = torch.zeros(3000, 1, HEIGHT, WIDTH)
    marked[:, :, 4, 5] = 1
    found = Augment(crop=2)(marked, generator()).nonzero()
    assert len(found) == 3000
    assert {tuple(place) for place in found[:, 2:].tolist()} == {(r, c) for r in range(2, 7) for c in range(3, 8)}


def test_reflected_padding_brings_no_new_pixel():
    images = some_images(50)
    assert (Augment(crop=3, padding="reflect")(images, generator()) != 0).all()


def test_erased_areas_are_uniform_in_their_range():
    images = torch.ones(3000, 1, 64, 64)
    erased = (Augment(erase=1.0)(images, generator()) == 0).flatten(1).double().mean(1)
    assert erased.min() > 0.018
    assert erased.max() < 0.34
    assert kstest(erased.numpy(), "uniform", args=(0.02, 1 / 3 - 0.02)).pvalue > 0.001


def test_a_tiny_image_survives():
    image = torch.ones(4, 3, 1, 1)
    assert Augment(crop=1, flip=0.5, erase=1.0)(image, generator()).abs().sum() == 0


def test_noise_fills_the_same_rectangles_and_moves_no_other_draw():
    images = some_images(40)
    holes = Augment(crop=2, flip=0.5, erase=0.5)(images, generator(4)) == 0
    plain = Augment(crop=2, flip=0.5)(images, generator(4))
    noisy = Augment(crop=2, flip=0.5, erase=0.5, erase_mode="pixel")(images, generator(4))
    erased = holes & (plain != 0)
    assert torch.equal(noisy[~holes], plain[~holes])
    assert erased.any()
    assert (noisy[erased] != 0).all()
    assert torch.equal(noisy, Augment(crop=2, flip=0.5, erase=0.5, erase_mode="pixel")(images, generator(4)))


def test_noise_is_normal_and_its_own_in_each_pixel_and_channel():
    images = torch.zeros(300, 3, 24, 24)
    noise = Augment(erase=1.0, erase_mode="pixel")(images, generator())
    values = noise[noise != 0]
    assert kstest(values[:20_000].numpy(), "norm").pvalue > 0.001
    assert values.unique().numel() > 0.99 * values.numel()


@pytest.mark.parametrize(
    "mistake",
    [{"crop": -1}, {"flip": 1.1}, {"erase": -0.1}, {"flip": math.nan}, {"padding": "edge"}, {"erase_mode": "random"}],
)
def test_mistakes_are_refused(mistake):
    with pytest.raises(ValueError, match=next(iter(mistake))):
        Augment(**mistake)


def test_reflecting_beyond_the_image_is_refused():
    with pytest.raises(ValueError, match="above 8 pixels"):
        Augment(crop=8, padding="reflect")(some_images(2), generator())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_sees_the_same_changes():
    augment, images = Augment(crop=2, flip=0.5, erase=0.5, erase_mode="pixel"), some_images(30)
    assert torch.equal(augment(images.cuda(), generator(1)).cpu(), augment(images, generator(1)))


def test_all_draws_are_made_on_the_cpu_and_all_work_on_the_images_device():
    """A GPU without one: shapes and devices are followed, and tensors of two devices that meet raise."""
    augment = Augment(crop=2, flip=0.5, erase=0.5)
    with FakeTensorMode():
        changed = augment(torch.ones(4, 2, HEIGHT, WIDTH, device="cuda"), generator())
    assert changed.device.type == "cuda"
    assert changed.shape == (4, 2, HEIGHT, WIDTH)
