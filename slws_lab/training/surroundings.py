"""What a training gets from the outside and gives back: `Surroundings`, `Progress`, `TrainResult`, and how it may end otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from slws_lab.training.checkpoint import Shelf
from slws_lab.training.world import World


class Interrupted(Exception):
    """The training was asked to stop; its checkpoint is written, and the same run goes on from there."""


class Unsaved(Exception):
    """The training has ended, and its weights cannot be written; nothing is wrong with it, and it goes on from its checkpoint."""


class Outdated(Exception):
    """What a checkpoint was made of has changed since; going on would mix two trainings, so it must be begun again."""


@dataclass(frozen=True)
class Surroundings:
    """What a training gets from the outside. Nothing of it changes a number, but for rounding.

    Attributes:
        folder: Where its checkpoint and final weights go.
        device: Where it computes.
        report: Called after each epoch, in rank 0, with the epoch's number (from 1, over all stages) and its metrics.
        should_stop: Asked before each step.
        scan: Name of the selective-scan back-end.
        root: The project's folder, to which paths in the recipe are relative.
        workers: Processes that read images; 0 reads here.
        resident: Whether the whole data set is decoded onto the device; None where it fits.
        grad_checkpointing: Whether blocks are computed again in the backward.
        cuda_graph: Whether whole steps are recorded and replayed where they can be, see `graph`.
        world: The processes that share the batches.
        desk: See `checkpoint.Shelf`.
        reported: Epochs whose metrics the caller has; a checkpoint after more is of no use. None for any number.
        save_every_s: Seconds after which a checkpoint is written within an epoch too.
        tidy: Whether the checkpoint goes when the training has ended; False where the caller keeps it until the result is put away.
    """

    folder: Path
    device: torch.device
    report: Callable[[int, dict[str, float]], None]
    should_stop: Callable[[], bool] = lambda: False
    scan: str = "auto"
    root: Path = field(default_factory=Path.cwd)
    workers: int = 0
    resident: bool | None = None
    grad_checkpointing: bool = False
    cuda_graph: bool = False
    world: World = field(default_factory=World)
    desk: Path | None = None
    reported: int | None = None
    save_every_s: float = 300.0
    tidy: bool = True

    @property
    def shelf(self) -> Shelf:
        """Return where the checkpoints are."""
        return Shelf(self.folder, self.desk)


@dataclass(frozen=True)
class Images:
    """What a trained model takes and gives.

    Attributes:
        size: Height, and width, in pixels.
        channels: 1 is grey, 3 is RGB.
        mean: Mean of each channel by which they are normalised; pixels from 0 to 1.
        std: Standard deviation likewise.
        outputs: Logits that the model gives for each; 0 where it has no classifier.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    outputs: int


@dataclass(frozen=True)
class TrainResult:
    """What a training ended with. Diverged is a result, not a failure.

    Attributes:
        status: finished, or diverged (the loss became NaN or infinite).
        cause: When it diverged; empty otherwise.
        epochs: Epochs done, over all stages.
        metrics: The last epoch's metrics, finite ones only.
        params: Trainable parameters of the model.
        shuffle_rates: Shuffle rate of each layer, in the last stage; empty without the shuffle.
        data_fingerprint: Digest of the data set and its splits.
        scan_backend: Name of the selective-scan back-end; empty for a model without one.
        seconds: Time spent training and evaluating, over all resumes.
        started_from: What `init_from` gave and did not; empty without one.
        broken: Images that could not be read and were left out: sample id -> cause.
        flops: Of one image, as `inference.count_flops` counts them; None where they cannot be counted.
        images: What the model takes, in the last stage.
    """

    status: Literal["finished", "diverged"]
    cause: str
    epochs: int
    metrics: dict[str, float]
    params: int
    shuffle_rates: tuple[float, ...]
    data_fingerprint: str
    scan_backend: str
    seconds: float
    started_from: str = ""
    broken: dict[str, str] = field(default_factory=dict)
    flops: int | None = None
    images: Images | None = None


@dataclass
class Progress:
    """Where a training stands; all that a checkpoint holds beside the weights.

    Attributes:
        stage: Number of the stage at work, from 0.
        stages: How many there are.
        steps_before: Steps of the stages before it.
        epochs_before: Epochs of the stages before it.
        step: Steps done in this stage.
        seconds: Time spent so far.
        loss_sum: Sum of the losses of this epoch's samples so far, over all ranks.
        samples: How many samples these are.
        started_from: See `TrainResult`.
        broken: See `TrainResult`.
        bad_step: The first step whose loss was not finite, counted over all stages; None while all are.
    """

    stage: int = 0
    stages: int = 1
    steps_before: int = 0
    epochs_before: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    samples: int = 0
    started_from: str = ""
    broken: dict[str, str] = field(default_factory=dict)
    bad_step: int | None = None

    @classmethod
    def of(cls, state: dict[str, Any] | None) -> Progress:
        """Read the progress out of a checkpoint; without one a training stands at its beginning."""
        return cls(**state["progress"]) if state else cls()
