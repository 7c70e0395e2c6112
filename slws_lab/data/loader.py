"""Batches of a split on a device, by one of two paths that give the same: resident there as a whole, or streamed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from slws_lab.data.dataset import Split
from slws_lab.data.fetch import Fetcher, Job, Stream
from slws_lab.data.images import BrokenImage
from slws_lab.data.transform import SampleTransform

_CPU_LIMIT = 2 * 2**30
_GPU_SHARE = 4
_FILL_BATCH = 256
# What a lasting split's images became, and how: kept as long as the split, so that a worker's next run need not decode them again.
_DECODED: WeakKeyDictionary[Split, tuple[tuple[object, ...], Tensor]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Batch:
    """Samples of one batch, without those that could not be read.

    Attributes:
        images: (b, channels, size, size) uint8, on the device.
        labels: (b,) int64, on the device.
        positions: (b,) int64 positions in the split, on the CPU; may be empty.
    """

    images: Tensor
    labels: Tensor
    positions: Tensor


class Loader:
    """Gives batches of a split. Nothing is read before the first batch.

    Args:
        split: The samples.
        transform: What is done to each image.
        device: Where batches go.
        workers: Processes that decode and transform; 0 does it in this one. Changes no batch.
        resident: Whether all images are transformed once and stay on the device, which a transform that draws rules out; None does
            so when they fit: 2 GiB on a CPU, a quarter of the free memory of a GPU.
        on_broken: What an image that cannot be read does: stop, or skip.

    Attributes:
        resident: Which path it takes.
        broken: Id and cause of each image met so far that could not be read.

    Raises:
        ValueError: No such rule for broken images.
    """

    def __init__(self, split: Split, transform: SampleTransform, device: torch.device | str, workers: int = 0,
                 resident: bool | None = None, on_broken: str = "stop") -> None:  # fmt: skip
        if on_broken not in ("stop", "skip"):
            raise ValueError(f"on_broken = {on_broken!r}; it is stop or skip")
        self.split, self.transform, self.device, self.on_broken = split, transform, torch.device(device), on_broken
        self._how = type(transform), transform.size, transform.shorter, self.device
        if resident is None:
            resident = self._kept() is not None or self._fits()
        self.resident = resident and not transform.random
        if not self.resident:  # what an earlier loader has decoded would only fill the memory
            _DECODED.pop(split, None)
        self.broken: dict[str, str] = {}
        self._stream = Stream(Fetcher(split, transform), workers, pin=self.device.type == "cuda" and not self.resident)
        self._labels = split.labels.to(self.device)
        self._images: Tensor | None = None
        self._unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, order: Tensor, slots: Sequence[Tensor], key: int) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch, or of a part of one.

        A sample's random draws depend on `key` and its slot alone: not on the batch, on the number of workers, on what came before.

        Args:
            order: (m,) int64 positions in the split, those of the whole epoch.
            slots: For each batch, indices into `order`.
            key: Key of the epoch's draws.

        Raises:
            BrokenImage: An image cannot be read, and `on_broken` is stop.
            RuntimeError: The transform failed, or a worker died.
        """
        jobs = [Job(order[slot].tolist(), slot.tolist(), key) for slot in slots]
        if self.resident:
            for job in jobs:
                yield self._gathered(job.positions)
            return
        stream = self._stream(jobs)
        try:
            for fetched in stream:
                yield self._batch(fetched.images.to(self.device, non_blocking=True), fetched.positions, fetched.broken)
        finally:
            stream.close()

    def close(self) -> None:
        """End the worker processes; further batches start them again."""
        self._stream.close()

    def _batch(self, images: Tensor, positions: list[int], broken: list[tuple[int, str]]) -> Batch:
        for position, cause in broken:
            sample_id = self.split.ids[position]
            self.broken[sample_id] = cause
            if self.on_broken == "stop":
                raise BrokenImage(sample_id, cause)
        where = torch.tensor(positions, dtype=torch.int64)
        return Batch(images, self._labels.index_select(0, where.to(self.device, non_blocking=True)), where)

    def _gathered(self, positions: list[int]) -> Batch:
        if self._images is None:
            self._images = self._decoded()
        kept = [position for position in positions if position not in self._unreadable]
        broken = [(position, self._unreadable[position]) for position in positions if position in self._unreadable]
        images = self._images.index_select(0, torch.tensor(kept, dtype=torch.int64).to(self.device, non_blocking=True))
        return self._batch(images, kept, broken)

    def _kept(self) -> Tensor | None:
        """Return all images on the device, as an earlier loader of the split has left them."""
        how, images = _DECODED.get(self.split, (None, None))
        return images if how == self._how else None

    def _decoded(self) -> Tensor:
        """Return all images on the device: those that are kept, or anew."""
        if (images := self._kept()) is not None:
            return images
        _DECODED.pop(self.split, None)
        images = self._filled().to(self.device)
        if self.split.lasting and not self._unreadable:  # these another attempt may find mended
            _DECODED[self.split] = self._how, images
        return images

    def _filled(self) -> Tensor:
        """Return all images (n, channels, size, size), those that cannot be read as zeros."""
        images = torch.zeros(self._shape(), dtype=torch.uint8)
        every = [where.tolist() for where in torch.arange(len(self)).split(_FILL_BATCH)]
        for fetched in self._stream([Job(where, where, 0) for where in every]):
            images[fetched.positions] = fetched.images
            self._unreadable.update(fetched.broken)
        self._stream.close()
        return images

    def _shape(self) -> tuple[int, int, int, int]:
        return len(self), self.split.channels, self.transform.size, self.transform.size

    def _fits(self) -> bool:
        n, channels, height, width = self._shape()
        limit = torch.cuda.mem_get_info(self.device)[0] // _GPU_SHARE if self.device.type == "cuda" else _CPU_LIMIT
        return n * channels * height * width <= limit
