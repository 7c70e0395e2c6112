"""One rank's training, from a `RunSpec` to a `TrainResult`: its stages in order. It reports to its caller and knows no tracker."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slws_lab.spec import RunSpec, resolve_stages
from slws_lab.training import build
from slws_lab.training.inference import flops_of
from slws_lab.training.numerics import set_deterministic
from slws_lab.training.stage import Stage
from slws_lab.training.surroundings import Images, Progress, Surroundings, TrainResult, Unsaved


def train_rank(run: RunSpec, around: Surroundings) -> TrainResult:
    """Train a run to its end, from its checkpoint if there is one, as the one rank of `around.world`; see `ranks.train`."""
    set_deterministic()
    if around.device.type == "cuda":
        torch.cuda.empty_cache()  # what a warm worker's last run held is no part of this one's peak
        torch.cuda.reset_peak_memory_stats(around.device)
    recipes, state = resolve_stages(run), around.shelf.load(around.reported)
    weights: dict[str, Tensor] | None = None
    progress = Progress.of(state)
    progress.stages = len(recipes)
    while True:
        stage = Stage(run.seed, recipes[progress.stage], around, progress, state, weights)
        metrics = stage.run_epochs()
        following = progress.stage + 1
        if not _finite(metrics) or following == len(recipes):
            stage.close()
            return _result(stage, metrics)
        state, weights = None, stage.weights(run.stages[following].start)
        progress.stage, progress.step, progress.loss_sum = following, 0, 0.0
        progress.steps_before += stage.steps * stage.spec.epochs
        progress.epochs_before += stage.spec.epochs
        stage.close()
        del stage


def _result(stage: Stage, metrics: dict[str, float]) -> TrainResult:
    progress, around = stage.progress, stage.around
    if around.world.writes:
        try:
            around.shelf.keep_weights(stage.model, stage.ema.module if stage.ema else None)
        except OSError as error:
            raise Unsaved(error.strerror or str(error)) from error
        if around.tidy:
            around.shelf.forget()
    epochs = progress.epochs_before + math.ceil(progress.step / stage.steps)
    data = stage.dataset
    return TrainResult(
        status="finished" if _finite(metrics) else "diverged",
        cause="" if _finite(metrics) else _cause(metrics, epochs, progress.bad_step),
        epochs=epochs,
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        params=sum(p.numel() for p in stage.model.parameters() if p.requires_grad),
        shuffle_rates=stage.rates,
        data_fingerprint=data.fingerprint,
        scan_backend=getattr(stage.model, "scan_backend", ""),
        seconds=progress.seconds,
        started_from=progress.started_from,
        broken=progress.broken,
        flops=flops_of(stage.recipe, build.Shape.of(data), around.root),
        images=Images(data.size, data.channels, data.mean, data.std, stage.outputs),
    )


def _finite(metrics: dict[str, float]) -> bool:
    return math.isfinite(metrics.get("val/loss", math.nan))


def _cause(metrics: dict[str, float], epoch: int, step: int | None) -> str:
    name = "val/loss" if math.isfinite(metrics["train/loss"]) else "train/loss"
    at = "" if step is None else f" at step {step}"
    return f"{name} became {metrics[name]} in epoch {epoch}{at}"
