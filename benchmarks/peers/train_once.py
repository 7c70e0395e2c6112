"""One tiny training as people write it: an entry of a grid, logged to MLflow. What the peers of `dispatch.py` execute."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

RECIPE = {
    "kind": "train",
    "model": {"name": "shufflemamba_micro", "args": {"embed_dim": 16, "depth": 2}},
    "data": {"name": "digits"},
    "shuffle": {"schedule": "linear", "max_rate": 0.5},
    "train": {"epochs": 2, "batch_size": 128, "min_lr": 0.0},
}


def train_once(lr: float, seed: int) -> float:
    """Train, log parameters and each epoch's metrics to MLflow (MLFLOW_TRACKING_URI), and return the accuracy."""
    import mlflow
    import torch

    from slws_lab.spec import RunSpec
    from slws_lab.training import Surroundings, train

    torch.set_num_threads(1)
    run = RunSpec.model_validate({**RECIPE, "train": {**RECIPE["train"], "lr": lr}, "seed": seed})
    mlflow.set_experiment("peers")
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_name=f"lr {lr}, seed {seed}"):
        mlflow.log_params({"lr": lr, "seed": seed})

        def report(epoch: int, metrics: dict[str, float]) -> None:
            mlflow.log_metrics(metrics, step=epoch)

        found = train(run, Surroundings(Path(folder), torch.device("cpu"), report))
        mlflow.log_metric("seconds", found.seconds)
    return float(found.metrics["val/top1"])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    print(train_once(given.lr, given.seed))
