"""What happens to each image before it joins a batch: crop or resize to a square, auto-augmentation, colour jitter."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, ColorJitter, InterpolationMode, RandomResizedCrop, Resize
from torchvision.transforms.functional import pil_to_tensor

from slws_lab.data.auto_augment import auto_augment
from slws_lab.errors import UserError

_BICUBIC = InterpolationMode.BICUBIC
_RATIO = (3 / 4, 4 / 3)


class SampleTransform:
    """From an image of any size to a square one. Its draws come from the process-wide generators of torch, numpy and Python.

    Args:
        size: Height, and width, of the result in pixels.
        train: Whether the random changes apply.
        resized_crop: Range of the area of a random crop, as a share of the image, aspect 3/4 to 4/3; None takes the middle.
        auto: Auto-augmentation by timm's name, e.g. rand-m9-mstd0.5-inc1, 3a, augmix-m3; None is off.
        color_jitter: Strength of random brightness, contrast and saturation; without effect beside `auto`, but for 3a, as in timm.
        eval_crop: Without `train`, the shorter side is resized to size / eval_crop before the middle is cut out.

    Attributes:
        size: As given.
        shorter: Length to which the shorter side is resized; None where random crops are taken.
        random: Whether it draws anything.

    Raises:
        UserError: timm knows no such auto-augmentation, or a number is out of its range.
    """

    def __init__(self, size: int, train: bool, resized_crop: tuple[float, float] | None = None, auto: str | None = None,
                 color_jitter: float = 0.0, eval_crop: float = 1.0) -> None:  # fmt: skip
        if resized_crop is not None and not 0 < resized_crop[0] <= resized_crop[1] <= 1:
            raise UserError(
                f"resized_crop = {list(resized_crop)}",
                where="resized_crop",
                allowed="two shares, rising, above 0, at most 1",
            )
        self.size = size
        self.shorter: int | None = None
        self._steps: list[Callable[[Image.Image], Image.Image]] = []
        if train and resized_crop is not None:
            self._steps += [RandomResizedCrop(size, resized_crop, _RATIO, _BICUBIC)]
        else:
            self.shorter = size if train else int(size / eval_crop)
            self._steps += [Resize(self.shorter, _BICUBIC), CenterCrop(size)]
        if train and auto:
            self._steps.append(auto_augment(auto, size))
        if train and color_jitter and (auto is None or "3a" in auto):
            self._steps.append(ColorJitter(*(3 * [color_jitter])))
        self.random = train and (resized_crop is not None or len(self._steps) > 2)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the image as (channels, size, size) uint8."""
        for step in self._steps:
            image = step(image)
        return pil_to_tensor(image)

    def leaves_alone(self, height: int, width: int) -> bool:
        """Say whether an image of this size comes out as it went in."""
        return not self.random and height == width == self.size == self.shorter
