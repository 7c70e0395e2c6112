"""Decodes and transforms the samples of a batch, here or in worker processes, with draws that depend on key and slot alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slws_lab.data.dataset import Split
from slws_lab.data.images import BrokenImage
from slws_lab.data.transform import SampleTransform

_AHEAD = 2  # batches that each worker prepares ahead


class Job(NamedTuple):
    """One batch to fetch. Plain numbers, since tensors would go to the workers through files in shared memory.

    Attributes:
        positions: Positions in the split.
        slots: Places in the epoch's order, one for each position.
        key: Key of the epoch's draws.
    """

    positions: list[int]
    slots: list[int]
    key: int


class Fetched(NamedTuple):
    """A batch on the CPU.

    Attributes:
        images: (k, channels, size, size) uint8, those that could be read.
        positions: Their positions in the split.
        broken: Position and cause of each of the others.
    """

    images: Tensor
    positions: list[int]
    broken: list[tuple[int, str]]


class Fetcher(Dataset[Fetched]):
    """Fetches jobs; a data set of batches to torch's DataLoader.

    Args:
        split: Where the samples are.
        transform: What is done to each.
    """

    def __init__(self, split: Split, transform: SampleTransform) -> None:
        self.split, self.transform = split, transform

    def __getitem__(self, job: Job) -> Fetched:
        if (images := self._as_they_are(job)) is not None:
            return Fetched(images, job.positions, [])
        shape = (len(job.positions), self.split.channels, self.transform.size, self.transform.size)
        images = torch.empty(shape, dtype=torch.uint8)
        kept: list[int] = []
        broken: list[tuple[int, str]] = []
        with _generators_as_before():
            for position, slot in zip(job.positions, job.slots, strict=True):
                try:
                    images[len(kept)] = self._sample(position, slot, job.key)
                    kept.append(position)
                except BrokenImage as error:
                    broken.append((position, error.cause))
        return Fetched(images[: len(kept)], kept, broken)

    def _as_they_are(self, job: Job) -> Tensor | None:
        """Return a batch of pixels that the transform would leave alone; None of other images."""
        if self.transform.random:
            return None
        pixels = self.split.pixels(job.positions)
        if pixels is None or not self.transform.leaves_alone(*pixels.shape[-2:]):
            return None
        return torch.from_numpy(pixels)

    def _sample(self, position: int, slot: int, key: int) -> Tensor:
        image = self.split.image(position)
        if self.transform.random:
            _seed_generators(key, slot)
        try:
            return self.transform(image)
        except Exception as error:
            raise RuntimeError(f"image '{self.split.ids[position]}' cannot be transformed: {error}") from error


class Stream:
    """Fetches jobs in their order; in worker processes, which stay from one call to the next, where any are asked for.

    Args:
        fetcher: What fetches.
        workers: Number of worker processes; 0 fetches in this one.
        pin: Whether batches come in page-locked memory, from which a GPU copies while the CPU goes on.
    """

    def __init__(self, fetcher: Fetcher, workers: int, pin: bool) -> None:
        self.fetcher, self.workers, self.pin = fetcher, workers, pin
        self._jobs: list[Job] = []
        self._loader: DataLoader[Fetched] | None = None

    def __call__(self, jobs: Sequence[Job]) -> Generator[Fetched, None, None]:
        """Yield each job's batch; workers end when the generator is closed early or one of them fails."""
        if not self.workers:
            yield from map(self.fetcher.__getitem__, jobs)
            return
        self._jobs[:] = jobs
        done = False
        try:
            yield from self._loader or self._started()
            done = True
        finally:
            if not done:
                self.close()

    def close(self) -> None:
        """End the workers, if there are any."""
        self._loader = None  # DataLoader ends its workers when it is let go, and has no other way

    def _started(self) -> DataLoader[Fetched]:
        self._loader = DataLoader(
            self.fetcher, batch_size=None, sampler=self._jobs, num_workers=self.workers, collate_fn=_as_it_is,
            pin_memory=self.pin, prefetch_factor=_AHEAD, persistent_workers=True,
            generator=torch.Generator(),  # else DataLoader draws from the process-wide one
        )  # fmt: skip
        return self._loader


def _as_it_is(fetched: Any) -> Any:
    return fetched


def _seed_generators(key: int, slot: int) -> None:
    """Seed the process-wide generators on the CPU, which torchvision, timm and Pillow's users draw from."""
    digest = hashlib.blake2b(f"{key}/{slot}".encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little") >> 1
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def _generators_as_before() -> Iterator[None]:
    """Leave the process-wide generators as they were found: a training draws from them too."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
