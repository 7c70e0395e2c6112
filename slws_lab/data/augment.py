"""Augmentation of a whole batch at once, on any device: crop, horizontal flip, random erasing; and `normalize`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 1 / 0.3)
_DRAWS_PER_SAMPLE = 8


@dataclass(frozen=True)
class Augment:
    """Random changes of each image of a batch, in this order: crop, horizontal flip, erase.

    Apply it after `normalize`: padding and erased pixels are 0, which then is the mean of the train split.
    Every sample takes 8 draws, whatever is switched on, so a switch changes no other draw; noise is drawn after them.

    Attributes:
        crop: Pixels of padding on each side before a window of the old size is cut out; 0 is off.
        flip: Probability of a horizontal flip.
        erase: Probability that one rectangle is erased: area uniform in 2 % .. 33 % of the image, aspect
            log-uniform in 0.3 .. 3.3, cut to the image where longer.
        padding: What `crop` pads with: zeros, or the image mirrored at its border (the border not repeated).
        erase_mode: What erased pixels become: const is 0, pixel is normal noise of variance 1 in each pixel and channel.

    Source: erasing after Zhong et al., Random Erasing Data Augmentation, AAAI 2020, arXiv 1708.04896.
    """

    crop: int = 0
    flip: float = 0.0
    erase: float = 0.0
    padding: Literal["zero", "reflect"] = "zero"
    erase_mode: Literal["const", "pixel"] = "const"

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise ValueError(f"crop = {self.crop}: padding cannot be negative")
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} is not a probability from 0 to 1")
        if self.padding not in ("zero", "reflect"):
            raise ValueError(f"padding = {self.padding!r}; it is zero or reflect")
        if self.erase_mode not in ("const", "pixel"):
            raise ValueError(f"erase_mode = {self.erase_mode!r}; it is const or pixel")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed copies of images; the very same tensor when nothing is switched on.

        Args:
            images: (batch, channels, height, width) of any dtype on any device.
            generator: CPU generator of all draws, so that every device sees the same changes.

        Returns:
            A tensor like `images`.

        Raises:
            ValueError: Reflected padding that is not smaller than the image.
        """
        draws = torch.rand(_DRAWS_PER_SAMPLE, len(images), generator=generator, dtype=torch.float64, device="cpu")
        if self.crop or self.flip:
            images = self._cropped_and_flipped(images, draws)
        if self.erase:
            images = self._with_holes(images, self._holes(draws, *images.shape[2:]), generator)
        return images

    def _with_holes(self, images: Tensor, holes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images with their holes, as `_holes` gives them, filled."""
        top, rows, left, columns = holes.to(images.device, non_blocking=True)
        inside_rows, inside_columns = (
            _in_span(*span) for span in ((top, rows, images.shape[2]), (left, columns, images.shape[3]))
        )
        where = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]
        if self.erase_mode == "const":
            return images.masked_fill(where, 0)
        # Noise for the erased pixels alone: they are few, and all draws are made on the CPU.
        erased = int((holes[1] * holes[3]).sum())
        noise = torch.randn(erased * images.shape[1], generator=generator, device="cpu")
        return images.masked_scatter(where, noise.to(images, non_blocking=True))

    def _cropped_and_flipped(self, images: Tensor, draws: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        shifts = _whole(draws[:2], 2 * self.crop + 1) - self.crop
        # A few numbers a sample cross to the device; which pixels they mean is worked out there.
        places = torch.cat([shifts, (draws[2:3] < self.flip).long()])
        top, left, flipped = places.to(images.device, non_blocking=True)
        across = torch.arange(width, device=images.device).expand(n, width)
        across = torch.where(flipped.bool()[:, None], across.flip(1), across)
        rows = self._inside(top[:, None] + torch.arange(height, device=images.device), height)
        columns = self._inside(left[:, None] + across, width)
        pixels = rows[0][:, :, None] * width + columns[0][:, None, :]
        index = pixels.reshape(n, 1, -1).expand(-1, channels, -1)
        moved = images.flatten(2).gather(2, index).view_as(images)
        outside = rows[1][:, None, :, None] | columns[1][:, None, None, :]
        return moved.masked_fill(outside, 0)

    def _inside(self, position: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Map positions of the padded image to the image; the mask says which of them are padding of zeros."""
        outside = (position < 0) | (position >= size)
        if self.padding == "zero":
            return position.clamp(0, size - 1), outside
        if self.crop >= size:
            raise ValueError(f"crop = {self.crop} with reflected padding needs images above {self.crop} pixels")
        return (size - 1) - ((size - 1) - position.abs()).abs(), torch.zeros_like(outside)

    def _holes(self, draws: Tensor, height: int, width: int) -> Tensor:
        """Return (4, batch) int64 on the CPU: first row, rows, first column and columns of each sample's hole; none is 0 x 0."""
        area = height * width * _between(draws[4], *_ERASED_AREA)
        aspect = _between(draws[5], *(math.log(bound) for bound in _ERASED_ASPECT)).exp()
        rows = (area * aspect).sqrt().round().clamp(1, height).long()
        columns = (area / aspect).sqrt().round().clamp(1, width).long()
        top, left = _whole(draws[6], height - rows + 1), _whole(draws[7], width - columns + 1)
        return torch.stack([top, rows, left, columns]) * (draws[3] < self.erase)


def normalize(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return (image / 255 - mean) / std, per channel, computed in float32 or wider.

    Args:
        images: (batch, channels, height, width) uint8.
        mean: Mean of each channel, pixels from 0 to 1.
        std: Standard deviation of each channel, pixels from 0 to 1; above 0.
        dtype: Type of the result.
    """
    wide = torch.promote_types(dtype, torch.float32)
    constants = torch.tensor([list(mean), list(std)], dtype=wide).to(images.device, non_blocking=True)
    shift, scale = constants[:, :, None, None]
    return ((images.to(wide) / 255 - shift) / scale).to(dtype)


def _between(draw: Tensor, low: float, high: float) -> Tensor:
    return low + draw * (high - low)


def _whole(draw: Tensor, count: Tensor | int) -> Tensor:
    """Map draws in [0, 1) to whole numbers 0 .. count-1, each equally likely."""
    return (draw * count).long()


def _in_span(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return (batch, size): whether each position lies in its sample's span."""
    position = torch.arange(size, device=start.device)
    return (position >= start[:, None]) & (position < (start + length)[:, None])
