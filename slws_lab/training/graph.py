"""A step on fixed memory that is recorded once and then replayed: a CUDA graph, for models too small to keep a GPU busy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from slws_lab.errors import UserError
from slws_lab.models import VisionMamba

if TYPE_CHECKING:  # the benchmarks of a GPU take this file alone, where the lab's own packages may be missing
    from slws_lab.spec import Recipe
    from slws_lab.training.surroundings import Surroundings

WARM_UP = 3

Compute = Callable[[], None]


class Recorder(Protocol):
    """Runs a computation and records it; what it reads and writes must stay where it is."""

    def run(self, compute: Compute) -> None:
        """Compute, in a way that prepares the recording."""

    def record(self, compute: Compute) -> Compute:
        """Return a call that computes the same again on the same memory; recording itself changes no value that is kept."""


class CudaGraph:
    """Records as a CUDA graph, on a stream that has met all libraries' work spaces before."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def run(self, compute: Compute) -> None:
        """Compute on the stream that records."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # without a recording, which is yet to come
            compute()
        torch.cuda.current_stream().wait_stream(self._stream)

    def record(self, compute: Compute) -> Compute:
        """Return the replay.

        Raises:
            UserError: The computation does what a CUDA graph cannot hold, such as asking for a value.
        """
        recorded = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on, such as the one that copies images into pinned memory.
            with torch.cuda.graph(recorded, stream=self._stream, capture_error_mode="thread_local"):
                compute()
        except RuntimeError as error:
            first = str(error.__context__ or error).strip().split("\n", 1)[0]
            raise UserError(f"this model's step cannot be recorded as a CUDA graph: {first}",
                            where="resources.cuda_graph", todo="leave it out for this model") from error  # fmt: skip
        return recorded.replay


RECORDERS: dict[str, Callable[[], Recorder]] = {"cuda": CudaGraph}


class Recorded:
    """A step that is recorded for one size of batch; other batches, such as an epoch's last, are computed as usual.

    The first batches are computed as usual too, but on the fixed memory: real steps prepare the recording, so it needs no weights
    to be put back. Random numbers are drawn anew in each replay, from the global generator as it is then.

    Args:
        step: Takes images and targets, returns the loss; it asks for no value and reads no number that changes.
        recorder: How it is recorded.
        batch: Size of the batches that are replayed.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], recorder: Recorder, batch: int) -> None:
        self._step, self._recorder, self._batch = step, recorder, batch
        self._memory: tuple[Tensor, Tensor] | None = None
        self._replay: Compute | None = None
        self._left = WARM_UP
        self._loss = torch.empty(())

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Take a step and return its mean loss, (), which the next call overwrites; tensors as for `Step`."""
        if len(images) != self._batch:
            return self._step(images, targets)
        if self._memory is None:
            self._memory = torch.empty_like(images), torch.empty_like(targets)
        for fixed, given in zip(self._memory, (images, targets), strict=True):
            fixed.copy_(given)
        if self._left:
            self._left -= 1
            self._recorder.run(self._compute)
            return self._loss
        if self._replay is None:
            self._replay = self._recorder.record(self._compute)
        self._replay()
        return self._loss

    def _compute(self) -> None:
        assert self._memory is not None
        self._loss = self._step(*self._memory)


def obstacle(recipe: Recipe, around: Surroundings, model: nn.Module) -> str:
    """Say why a stage's steps are not recorded; empty if they are."""
    train, shuffle = recipe.train, recipe.shuffle
    reasons = {
        "not asked for": not around.cuda_graph,
        f"a {around.device.type.upper()} has none": around.device.type not in RECORDERS,
        "a step is made of several parts": train.ranks > 1 or train.accumulate > 1,
        "blocks are computed again in the backward": around.grad_checkpointing,
        "each sample has a permutation of its own, and an epoch's last batch fewer samples": shuffle.permutation
        == "sample",
        f"{type(model).__name__} does not say how many tokens its blocks shuffle": shuffle.schedule != "none"
        and not isinstance(model, VisionMamba),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
