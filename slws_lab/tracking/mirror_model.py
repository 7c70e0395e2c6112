"""A trained model among MLflow's artifacts: which files it consists of, where they are in a run's folder, and sending them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slws_lab.tracking.folder import Attempt

if TYPE_CHECKING:
    from mlflow.entities import Run

    from slws_lab.tracking.mirror_store import Store

FOLDER = "model"  # of an attempt, and of an MLflow run's artifacts
MLMODEL, CONFIG, REQUIREMENTS, WEIGHTS = "MLmodel", "config.json", "requirements.txt", "model.safetensors"
LOADER = "slws_lab.worker.served"  # the module whose `_load_pyfunc` loads it
BEST, TOLD = "slws.best", "slws.model"
HISTORY = "mlflow.log-model.history"  # by which MLflow's page of artifacts knows a model

Weights = Literal["last", "ema"]


def weights_of(attempt: Attempt, which: Weights) -> Path:
    """Return where the final weights of an attempt are, or were before they were cleaned away."""
    return attempt.checkpoint / f"{which}.safetensors"


def model_files(attempt: Attempt, which: Weights) -> dict[str, Path]:
    """Return the files of an attempt's model: path within the artifacts' folder -> source.

    Args:
        attempt: One that has finished.
        which: The weights.
    """
    folder = attempt.path / FOLDER
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {**found, WEIGHTS: weights_of(attempt, which)}


def lacking(attempt: Attempt, which: Weights) -> str:
    """Say why an attempt has no model that could be loaded; empty where it has one."""
    if not weights_of(attempt, which).is_file():
        return "its weights were removed"
    if not (attempt.path / FOLDER / MLMODEL).is_file():
        return "it was trained before models were kept for MLflow"
    return ""


def send(store: Store, run: Run, attempt: Attempt, which: Weights) -> str:
    """Make an MLflow run's artifacts hold an attempt's model.

    Args:
        store: The store.
        run: The run that mirrors the attempt.
        attempt: The attempt.
        which: The weights.

    Returns:
        Why there is none, the first time that this is found; else empty.
    """
    if not store.is_at_home(run):
        return ""
    if why := lacking(attempt, which):
        known = run.data.tags.get(TOLD)
        if known is None:
            store.tag(run, {TOLD: why})
        return "" if known else f"MLflow has no model of the best run, {attempt.run_id}: {why}"
    store.replace_artifacts(run, FOLDER, model_files(attempt, which))
    store.tag(run, tags_of(run))
    return ""


def lacking_tags(tags: Mapping[str, str]) -> list[str]:
    """Return which tags the best run's MLflow run should have beside the one that says where its model is; none without that one."""
    told = tags.get(TOLD)
    wanted = [] if told is None else [BEST, *([f"slws.artifacts.{FOLDER}"] if told.startswith("runs:/") else [])]
    return [name for name in wanted if name not in tags]


def tags_of(run: Run) -> dict[str, str]:
    """Return the tags by which people, and MLflow's page, find the model of a run that holds one."""
    flavors = {"python_function": {"loader_module": LOADER}}
    history = [{"artifact_path": FOLDER, "run_id": run.info.run_id, "flavors": flavors}]
    return {TOLD: f"runs:/{run.info.run_id}/{FOLDER}", HISTORY: json.dumps(history)}
