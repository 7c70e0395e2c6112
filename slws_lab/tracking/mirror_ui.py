"""How MLflow's own UI opens on our runs: the tags that choose its view and columns, and the command that starts it.

MLflow shows an experiment in its GenAI view unless the tag `mlflow.experimentKind` says otherwise. No tag sets the
columns of its run list, but saved views are tags, `mlflow.sharedViewState.<id>`: its menu "Views" lists them, and a
link opens one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from slws_lab.spec import Study
from slws_lab.tracking.folder import Workspace
from slws_lab.tracking.mirror_store import is_http, set_environment

RUNS_VIEW, ARMS_VIEW = "slws-runs", "slws-arms"
RESULTS = ("result/epochs", "result/seconds", "result/params")


def default_uri(workspace: Workspace) -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the workspace's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_uri(workspace)


def own_uri(workspace: Workspace) -> str:
    """Return the URI of the workspace's own SQLite file."""
    return f"sqlite:///{(workspace.path / 'mlflow.db').absolute()}"


def ui_command(workspace: Workspace, uri: str | None, port: int) -> list[str]:
    """Return what starts MLflow's UI on a store, for this machine only; empty if the store is a server, which has one.

    MLflow's telemetry is switched off for children of this process.

    Args:
        workspace: Where artifacts are.
        uri: The store; None means the default one.
        port: Port on the loopback address.
    """
    set_environment()
    store = uri or default_uri(workspace)
    if is_http(store):
        return []
    artifacts = (workspace.path / "mlartifacts").absolute().as_uri()
    return [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store, "--default-artifact-root", artifacts, "--no-serve-artifacts",
    ]  # fmt: skip


def experiment_tags(study: Study) -> dict[str, str]:
    """Return the experiment's tags: the model-training view, the metric whose chart comes first, two saved views."""
    columns = _columns(study)
    by_arm = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "slws.arm"}]}
    return {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": study.spec.metric.key,
        "mlflow.note.content": study.spec.question,
        f"mlflow.sharedViewState.{RUNS_VIEW}": _view("Runs of the study", {"selectedColumns": columns}),
        f"mlflow.sharedViewState.{ARMS_VIEW}": _view(
            "Arms (mean over seeds)", {"selectedColumns": columns, "groupBy": by_arm, "runsHiddenMode": "SHOW_ALL"}
        ),
    }


def page_of(experiment: str, view: str = RUNS_VIEW) -> str:
    """Return the address of an experiment's run list in a saved view, to be put behind the UI's own address."""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"


def _columns(study: Study) -> list[str]:
    spec = study.spec
    metrics = [spec.metric.key, "train/loss", "val/loss", *RESULTS]
    tags = ["slws.role", "slws.status", "slws.seed"]
    named = [("tags", tags), ("metrics", list(dict.fromkeys(metrics))), ("params", list(spec.factors))]
    return ["attributes.`Duration`", *(f"{kind}.`{name}`" for kind, names in named for name in names)]


def _view(name: str, state: dict[str, Any]) -> str:
    now = round(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)})
