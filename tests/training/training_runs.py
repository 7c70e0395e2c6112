"""A training of seconds, and what it reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slws_lab.spec import RunSpec
from slws_lab.training import Surroundings, TrainResult, train

TINY: dict[str, Any] = {
    "kind": "train",
    "model": {"name": "shufflemamba_micro", "drop_path": 0.2, "args": {"embed_dim": 16, "depth": 3}},
    "data": {"name": "digits", "augment": {"crop": 1, "flip": 0.5, "erase": 0.5}},
    "shuffle": {"schedule": "linear", "max_rate": 0.8},
    "train": {"epochs": 2, "batch_size": 128, "lr": 3e-3, "smoothing": 0.1, "clip_grad": 1.0, "ema_decay": 0.9},
    "seed": 1,
}  # fmt: skip
MEASURED = ("train/images_per_s", "train/peak_memory_mb", "train/seconds")

Curve = dict[int, dict[str, float]]
Train = Callable[..., tuple[TrainResult, Curve]]


def spec(**changes: Any) -> RunSpec:
    """Return the tiny run with parts changed: `train={"epochs": 3}` changes that field only."""
    merged = {
        key: {**TINY[key], **value} if isinstance(value, dict) and isinstance(TINY.get(key), dict) else value
        for key, value in changes.items()
    }
    return RunSpec.model_validate({**TINY, **merged})


@pytest.fixture
def run_tiny(tmp_path: Path) -> Train:
    """Train a spec on one thread in a folder; returns the result and the reported curve without measurements."""
    torch.set_num_threads(1)

    def call(
        run: RunSpec, folder: str = "a", stop: Callable[[], bool] = lambda: False, curve: Curve | None = None,
        **more: Any,
    ) -> tuple[TrainResult, Curve]:  # fmt: skip
        reported: Curve = {} if curve is None else curve

        def report(epoch: int, metrics: dict[str, float]) -> None:
            reported[epoch] = {name: value for name, value in metrics.items() if name not in MEASURED}

        result = train(run, Surroundings(tmp_path / folder, torch.device("cpu"), report, stop, **more))
        return result, reported

    return call
