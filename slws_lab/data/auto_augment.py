"""timm's auto-augmentation by name, with the settings that timm's own training gives it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image
from timm.data import auto_augment as timm_auto_augment
from timm.data.constants import IMAGENET_DEFAULT_MEAN

from slws_lab.errors import UserError

_TRANSLATE_SHARE = 0.45
_AUGMIX_TRANSLATE_SHARE = 0.3

Transform = Callable[[Image.Image], Image.Image]
_NUMBER = r"\d+(\.\d+)?"
_NAME = re.compile(
    r"(rand|augmix|original|originalr|v0|v0r|3a)"
    rf"(-(m(10|\d)(\.\d+)?|mstd({_NUMBER}|inf)|mmax\d+|inc[01]|n\d+|p{_NUMBER}|w\d|d-?\d+|b[01]|a{_NUMBER}))*"
)


def auto_augment(name: str, size: int) -> Transform:
    """Return the random transform of a name.

    Args:
        name: timm's, e.g. rand-m9-mstd0.5-inc1, 3a, augmix-m3, v0, original.
        size: Height, and width, in pixels of the images; longest shifts follow it.

    Raises:
        UserError: timm knows no such name.
    """
    settings = {
        "translate_const": int(size * _TRANSLATE_SHARE),
        "img_mean": tuple(round(255 * mean) for mean in IMAGENET_DEFAULT_MEAN),
        "interpolation": Image.Resampling.BICUBIC,
    }
    try:
        policy = _policy(name, settings)
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        examples = "timm's, e.g. rand-m9-mstd0.5-inc1, 3a, augmix-m3, v0, original"
        raise UserError(f"no auto-augmentation '{name}'", where="auto", allowed=examples) from error
    for operation in _operations(policy):
        if operation.aug_fn is timm_auto_augment.posterize:
            operation.aug_fn = _posterize
    return _InColour(policy)


def _policy(name: str, settings: dict[str, Any]) -> Any:
    if not _NAME.fullmatch(name):  # timm passes over parts that it does not know, and takes any magnitude
        raise ValueError(name)
    if name.startswith("rand"):
        return timm_auto_augment.rand_augment_transform(name, settings)
    if name.startswith("augmix"):
        settings = {**settings, "translate_pct": _AUGMIX_TRANSLATE_SHARE}
        return timm_auto_augment.augment_and_mix_transform(name, settings)
    return timm_auto_augment.auto_augment_transform(name, settings)


def _operations(policy: Any) -> Iterator[Any]:
    if hasattr(policy, "ops"):
        yield from policy.ops
    else:
        for chain in policy.policy:
            yield from chain


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Keep some bits of each pixel; none is black, which timm asks for at full strength and Pillow 13 refuses."""
    return timm_auto_augment.posterize(image, bits) if bits > 0 else Image.new(image.mode, image.size)


class _InColour:
    """Applies a transform to grey images as to coloured ones: timm fills what it uncovers with a colour."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image) -> Image.Image:
        if image.mode == "RGB":
            return self.transform(image)
        return self.transform(image.convert("RGB")).convert(image.mode)
