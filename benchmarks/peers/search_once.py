"""One trial of a search as people write it: suggested, trained, logged to MLflow. What the peers of `search_peers.py` execute."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

METRIC = "val/top1_ema"
RECIPE = Path(__file__).parents[2] / "experiments" / "shufflemamba_micro_digits.yaml"
SCHEDULES = ["none", "linear", "constant", "reverse"]
BASELINE = {"shuffle.schedule": "none", "model.drop_path": 0.0, "train.weight_decay": 0.05}
PAPER = {**BASELINE, "shuffle.schedule": "linear", "shuffle.max_rate": 0.5}


def suggest(trial: Any) -> dict[str, Any]:
    """Return a setting of the space of `studies/search.yaml`, drawn by an Optuna trial."""
    settings = {"shuffle.schedule": trial.suggest_categorical("shuffle.schedule", SCHEDULES)}
    if settings["shuffle.schedule"] != "none":
        settings["shuffle.max_rate"] = trial.suggest_float("shuffle.max_rate", 0.1, 0.7)
    settings["model.drop_path"] = trial.suggest_float("model.drop_path", 0.0, 0.3)
    settings["train.weight_decay"] = trial.suggest_float("train.weight_decay", 1e-3, 0.3, log=True)
    return settings


def train_once(settings: dict[str, Any], epochs: int, watch: Callable[[int, float], None]) -> float:
    """Train a setting, log it and each epoch's metrics to MLflow (MLFLOW_TRACKING_URI), and return the last epoch's accuracy.

    Args:
        settings: Field of the recipe to value.
        epochs: So many.
        watch: Called with each epoch and its accuracy; what it raises ends the trial.
    """
    import mlflow
    import torch
    from ruamel.yaml import YAML

    from slws_lab.spec import RunSpec
    from slws_lab.spec.paths import assign
    from slws_lab.training import Surroundings, train

    torch.set_num_threads(1)
    recipe = YAML(typ="safe").load(RECIPE)
    run = RunSpec.model_validate({**assign(recipe, {**settings, "train.epochs": epochs}), "seed": 0})
    mlflow.set_experiment("peers")
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run():
        mlflow.log_params(settings)

        def report(epoch: int, metrics: dict[str, float]) -> None:
            mlflow.log_metrics(metrics, step=epoch)
            watch(epoch, metrics[METRIC])

        found = train(run, Surroundings(Path(folder), torch.device("cpu"), report))
        mlflow.log_metric("seconds", found.seconds)
    return float(found.metrics[METRIC])
