"""One training, from a `RunSpec` to a `TrainResult`. It reports to whoever called it and knows no tracker."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from slws_lab import shuffle
from slws_lab.data import Augment, Resident, epoch_order, normalize
from slws_lab.spec import RunSpec
from slws_lab.training import build, checkpoint
from slws_lab.training.evaluate import evaluate
from slws_lab.training.numerics import Numerics, set_deterministic
from slws_lab.training.randomness import generator, key, seed_globals

CHECKPOINT_SHARE = 0.02
CHECKPOINT_MIN_S = 2.0


class Interrupted(Exception):
    """The training was asked to stop; its checkpoint is written, and the same run goes on from there."""


@dataclass(frozen=True)
class Surroundings:
    """What a training gets from the outside.

    Attributes:
        folder: Where its checkpoint and final weights go.
        device: Where it computes.
        report: Called after each epoch with the epoch's number (from 1) and its metrics.
        should_stop: Asked before each step.
        scan: Name of the selective-scan back-end.
    """

    folder: Path
    device: torch.device
    report: Callable[[int, dict[str, float]], None]
    should_stop: Callable[[], bool] = lambda: False
    scan: str = "auto"


@dataclass(frozen=True)
class TrainResult:
    """What a training ended with. Diverged is a result, not a failure.

    Attributes:
        status: finished, or diverged (the loss became NaN or infinite).
        cause: When it diverged; empty otherwise.
        epochs: Epochs done.
        metrics: The last epoch's metrics, finite ones only.
        params: Trainable parameters of the model.
        shuffle_rates: Shuffle rate of each layer; empty without the shuffle.
        data_fingerprint: Digest of the data set and its splits.
        scan_backend: Name of the selective-scan back-end; empty for a model without one.
        seconds: Time spent training and evaluating, over all resumes.
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


def train(run: RunSpec, around: Surroundings) -> TrainResult:
    """Train a run to its end, from its checkpoint if there is one.

    Raises:
        Interrupted: `around.should_stop()` said so; the checkpoint is up to date.
    """
    return _Training(run, around).run_epochs()


@dataclass
class _Progress:
    """Where a training stands; all that a checkpoint holds beside the weights."""

    step: int = 0
    seconds: float = 0.0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))


class _Training:
    """A training at work."""

    def __init__(self, run: RunSpec, around: Surroundings) -> None:
        set_deterministic()
        if around.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(around.device)
        self.run, self.around, self.spec = run, around, run.train
        self.dataset = build.build_data(run)
        seed_globals(run.seed, "init")
        scan = build.resolve_scan(around.scan, around.device)
        self.model = build.build_model(run, build.Shape.of(self.dataset), scan).to(around.device)
        # The average is copied before the shuffle's hooks are there: it never trains, so it never shuffles.
        self.ema = ModelEmaV3(self.model, decay=self.spec.ema_decay) if self.spec.ema_decay else None
        self.draws = torch.Generator(device="cpu")
        self.rates = self._attach_shuffle()
        self.numerics = Numerics(around.device, self.spec.precision, self.dataset.mean, self.dataset.std)
        self.splits = {name: Resident(self.dataset.splits[name], around.device) for name in ("train", "val")}
        self.augment = Augment(**run.data.augment.model_dump())
        self.optimizer = build.build_optimizer(self.model, self.spec)
        self.schedule = build.build_schedule(self.optimizer, self.spec, len(self.splits["train"]))
        self.loss = nn.CrossEntropyLoss(label_smoothing=self.spec.smoothing)
        self.progress = _Progress(loss_sum=torch.zeros((), dtype=torch.float64, device=around.device))
        self.saved_at, self.save_cost = time.monotonic(), 0.0
        self._resume()

    def run_epochs(self) -> TrainResult:
        per_epoch = math.ceil(len(self.splits["train"]) / self.spec.batch_size)
        for epoch in range(self.progress.step // per_epoch, self.spec.epochs):
            started = time.monotonic()
            metrics = self._train_epoch(epoch, per_epoch)
            if math.isfinite(metrics["train/loss"]):
                metrics |= self._evaluate()
            diverged = not math.isfinite(metrics.get("val/loss", math.nan))
            self.progress.seconds += time.monotonic() - started
            self.around.report(epoch + 1, metrics)
            if diverged:
                return self._result("diverged", epoch + 1, metrics)
            if epoch + 1 < self.spec.epochs:  # after the last epoch the weights are kept, and nothing is left to resume
                self._save_sometimes()
        return self._result("finished", self.spec.epochs, metrics)

    def _train_epoch(self, epoch: int, per_epoch: int) -> dict[str, float]:
        started, first = time.monotonic(), self.progress.step - epoch * per_epoch
        order = epoch_order(len(self.splits["train"]), generator(self.run.seed, "order", epoch))
        batches = order.split(self.spec.batch_size)[first:]
        self.model.train()
        for indices in batches:
            if self.around.should_stop():
                self.progress.seconds += time.monotonic() - started
                self._save()
                raise Interrupted
            self._step(indices)
        samples = sum(len(indices) for indices in batches)
        mean_loss = float(self.progress.loss_sum) / len(order)
        self.progress.loss_sum.zero_()
        return {
            "train/loss": mean_loss,
            "train/lr": self.optimizer.param_groups[0]["lr"],
            "train/images_per_s": samples / (time.monotonic() - started),
            "train/peak_memory_mb": _peak_memory_mb(self.around.device),
        }

    def _step(self, indices: Tensor) -> None:
        seed, step = self.run.seed, self.progress.step
        self.schedule.step_update(step)
        images, labels = self.splits["train"].batch(indices)
        images = self.augment(normalize(images, *self._scale()), generator(seed, "augment", step))
        seed_globals(seed, "global", step)
        self.draws.manual_seed(key(seed, "shuffle", step))
        with self.numerics.autocast():
            loss = self.loss(self.model(images).float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.spec.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip_grad)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model)
        self.progress.loss_sum += loss.detach().double() * len(indices)
        self.progress.step += 1

    def _scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.numerics.mean, self.numerics.std

    def _evaluate(self) -> dict[str, float]:
        found = {f"val/{k}": v for k, v in evaluate(self.model, self.splits["val"], self.numerics).items()}
        if self.ema is not None:
            averaged = evaluate(self.ema.module, self.splits["val"], self.numerics)
            found |= {f"val/{k}_ema": v for k, v in averaged.items()}
        return found

    def _attach_shuffle(self) -> tuple[float, ...]:
        if self.run.shuffle.schedule == "none":
            return ()
        blocks = build.token_blocks(self.model)
        rates = build.layer_rates(self.run.shuffle, len(blocks))
        shuffle.attach(self.model, blocks, rates, self.draws)
        return rates

    def _result(self, status: Literal["finished", "diverged"], epochs: int, metrics: dict[str, float]) -> TrainResult:
        checkpoint.keep_weights(self.around.folder, self.model, self.ema.module if self.ema else None)
        return TrainResult(
            status=status,
            cause="" if status == "finished" else _cause(metrics, epochs),
            epochs=epochs,
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
            params=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            shuffle_rates=self.rates,
            data_fingerprint=self.dataset.fingerprint,
            scan_backend=getattr(self.model, "scan_backend", ""),
            seconds=self.progress.seconds,
        )

    def _save_sometimes(self) -> None:
        """Save when it is due: so seldom that saving takes a small share of the time, whatever the model's size."""
        since = time.monotonic() - self.saved_at
        if since >= max(CHECKPOINT_MIN_S, self.save_cost / CHECKPOINT_SHARE):
            self._save()

    def _save(self) -> None:
        started = time.monotonic()
        checkpoint.save(self.around.folder, {
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "loss_sum": self.progress.loss_sum,
        })  # fmt: skip
        self.saved_at = time.monotonic()
        self.save_cost = self.saved_at - started

    def _resume(self) -> None:
        state: dict[str, Any] | None = checkpoint.load(self.around.folder)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = _Progress(state["step"], state["seconds"], state["loss_sum"].to(self.around.device))


def _cause(metrics: dict[str, float], epoch: int) -> str:
    name = "val/loss" if math.isfinite(metrics["train/loss"]) else "train/loss"
    return f"{name} became {metrics[name]} in epoch {epoch}"


def _peak_memory_mb(device: torch.device) -> float:
    """Return the device's peak in this run on a GPU, the process's largest resident size so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
