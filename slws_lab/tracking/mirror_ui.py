"""How MLflow's own UI opens on our runs: the tags that choose its view and columns, and the command that starts it.

MLflow shows an experiment in its GenAI view unless the tag `mlflow.experimentKind` says otherwise. No tag sets the
columns of its run list, but saved views are tags, `mlflow.sharedViewState.<id>`: its menu "Views" lists them, and a
link opens one.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
import time
from typing import Any

from slws_lab.spec import Study
from slws_lab.tracking.folder import Workspace
from slws_lab.tracking.mirror_store import is_http, own_uri, set_environment

LOOPBACK = "127.0.0.1"
TRAINING = "workflowType=machine_learning"
# What MLflow's page expects of a line chart beside its metric.
LINE = {
    "lineSmoothness": 0, "scaleType": "linear", "xAxisScaleType": "linear", "xAxisKey": "step", "selectedXAxisMetricKey": "",
    "yAxisKey": "metric", "yAxisExpressions": [], "range": {}, "ignoreOutliers": False, "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}  # fmt: skip
STUDY_VIEW, ARMS_VIEW, RUNS_VIEW = "slws-study", "slws-arms", "slws-runs"
FIXED_COLUMNS = ("1", "attributes.`Run Name`", "runDateAndNestInfo")  # MLflow's names of what it always shows
WIDTHS = {"1": 50, "attributes.`Run Name`": 340, "runDateAndNestInfo": 150, "tags.`slws.status`": 130}
SECTIONS = ("val", "train", "whole_run", "Model metrics", "System metrics")  # of charts; the last two are MLflow's own


def default_uri(workspace: Workspace) -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the workspace's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_uri(workspace)


def ui_command(workspace: Workspace, uri: str | None, port: int, host: str = LOOPBACK) -> list[str]:
    """Return what starts MLflow's UI on a store; empty if the store is a server, which has one.

    The store goes to children of this process by a variable, since any user of the machine can read a command and a
    store's address may hold a password. MLflow's telemetry is switched off for them, and Python files in the current
    folder are not taken for packages.

    Args:
        workspace: Where artifacts are.
        uri: The store; None means the default one.
        port: Port on the host.
        host: Address to listen on; the default one cannot be reached from other machines.
    """
    set_environment()
    store = uri or default_uri(workspace)
    if is_http(store):
        return []
    os.environ |= {"MLFLOW_BACKEND_STORE_URI": store, "PYTHONSAFEPATH": "1"}
    artifacts = (workspace.path / "mlartifacts").absolute().as_uri()
    return [
        sys.executable, "-P", "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--artifacts-destination", artifacts,
    ]  # fmt: skip


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine alone; a name other than localhost counts as not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def experiment_tags(study: Study) -> dict[str, str]:
    """Return the experiment's tags: the model-training view, the metric whose chart comes first, the saved views."""
    only_runs = {"searchFilter": "tags.`slws.kind` = 'run'", "runsHiddenMode": "SHOW_ALL"}
    by_arm = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "slws.arm"}]}
    views = {
        STUDY_VIEW: _view("Study with its runs", study, {}),
        ARMS_VIEW: _view("Arms, mean over seeds", study, {**only_runs, "groupBy": by_arm}),
        RUNS_VIEW: _view("Runs, best first", study, {**only_runs, **_best_first(study)}),
    }
    return {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": study.spec.metric.key,
        "mlflow.note.content": study.spec.question,
        **{f"mlflow.sharedViewState.{name}": view for name, view in views.items()},
    }


def page_of(experiment: str, view: str) -> str:
    """Return the address of an experiment's run list in a saved view, to be put behind the UI's own address.

    MLflow 3.17 chooses between its GenAI and model-training views by the address or the browser's memory alone.
    """
    return f"#/experiments/{experiment}/runs?{TRAINING}&viewStateShareKey={view}"


def page_of_run(experiment: str, run: str) -> str:
    """Return the address of a run's page, as `page_of` does."""
    return f"#/experiments/{experiment}/runs/{run}?{TRAINING}"


def _view(name: str, study: Study, state: dict[str, Any]) -> str:
    columns = _columns(study)
    widths = {column: max(110, 9 * len(column.split("`")[1])) for column in columns} | WIDTHS
    shown = {
        "selectedColumns": columns,
        "columnOrder": [*FIXED_COLUMNS, *columns],
        "columnWidths": widths,
        **_charts(study),
    }
    now = round(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(shown | state)})


def _best_first(study: Study) -> dict[str, Any]:
    """Return the order by the study's metric; MLflow nests runs under their parent only if sorted by time."""
    metric = study.spec.metric
    return {"orderByKey": f"metrics.`{metric.key}`", "orderByAsc": metric.goal == "minimize"}


def _columns(study: Study) -> list[str]:
    """Return the columns, what matters first: the result, what was varied, then what it is, how it went, what it cost.

    A browser shows few before it scrolls.
    """
    first, *others = _metrics(study)
    cost = (f"whole_run/{name}" for name in ("params", "flops", "seconds"))
    return [
        f"metrics.`{first}`",
        *(f"params.`{field}`" for name, factor in study.spec.factors.items() for field in factor.fields(name)),
        *(f"tags.`slws.{name}`" for name in ("seed", "role", "status")),
        *(f"metrics.`{name}`" for name in (*others, *cost)),
    ]


def _metrics(study: Study) -> list[str]:
    """Return the metrics to look at, the study's first."""
    return list(dict.fromkeys([study.spec.metric.key, "val/loss", "train/loss"]))


def _charts(study: Study) -> dict[str, Any]:
    """Return the charts that come first, each a line over epochs; MLflow adds those of all other metrics behind them."""
    places = dict.fromkeys([*(_section(name) for name in _metrics(study)), *SECTIONS])
    lines = [
        {"type": "LINE", "uuid": f"slws-{name}", "metricKey": name, "metricSectionId": f"slws-{_section(name)}", "runsCountToCompare": 100,
         "deleted": False, "isGenerated": True, **LINE}
        for name in _metrics(study)
    ]  # fmt: skip
    sections = [
        {
            "uuid": f"slws-{name}",
            "name": name,
            "display": True,
            "isReordered": True,
            "deleted": False,
            "isGenerated": True,
        }
        for name in places
    ]
    return {"compareRunCharts": lines, "compareRunSections": sections, "isAccordionReordered": True}


def _section(metric: str) -> str:
    """Return the section in which MLflow puts a metric's chart."""
    return metric.rpartition("/")[0] or "Model metrics"
