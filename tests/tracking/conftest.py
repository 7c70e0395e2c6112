"""A small project with made-up journals, and MLflow stores to mirror it to."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slws_lab.spec import Design, Study, expand, flatten, load_study
from slws_lab.tracking import Attempt, RunFolder, Workspace, journal, record
from slws_lab.tracking.mirror import Mirror, Shipped, default_uri, ui_command
from slws_lab.tracking.mirror_store import new_database, set_environment

RECIPE = Path(__file__).parents[2] / "experiments" / "shufflemamba_micro_digits.yaml"
STUDY = """
name: {name}
question: Does the rate matter?
recipe: ../experiments/recipe.yaml
factors:
  shuffle.max_rate: [0.5, 0.1, 0.3, 0.2]
designs: [{{one_at_a_time: [shuffle.max_rate]}}]
seeds: {seeds}
metric: {{name: val/top1}}
"""


class Project:
    """A workspace with studies of four arms over the same recipe, mirrored to a store."""

    names = ("train/loss", "val/top1", "val/loss")
    epochs = 3

    def __init__(self, root: Path, database: Path | None = None) -> None:
        (root / ".slws").mkdir(parents=True)
        (root / "experiments").mkdir()
        (root / "studies").mkdir()
        (root / "pyproject.toml").touch()
        shutil.copy(RECIPE, root / "experiments" / "recipe.yaml")
        if database:
            shutil.copy(database, root / ".slws" / "mlflow.db")
        self.root = root
        self.workspace = Workspace(root / ".slws")
        self.uri = default_uri(self.workspace)

    def study(self, name: str = "rates", seeds: int = 1) -> tuple[Study, Design]:
        path = self.root / "studies" / f"{name}.yaml"
        if not path.exists():
            path.write_text(STUDY.format(name=name, seeds=seeds))
        study = load_study(path)
        return study, expand(study)

    def ship(self, name: str = "rates") -> Shipped:
        with Mirror.open(self.workspace, self.uri) as mirror:
            return mirror.ship(*self.study(name))

    @staticmethod
    def value(name: str, step: int, seed: int) -> float:
        return len(name) + step / 7 + seed / 3

    def write(
        self, attempt: Attempt, steps: range, seed: int = 0, time_of: Callable[[int], float] | None = None
    ) -> None:
        for step in steps:
            moment = time_of(step) if time_of else 1e9 + step
            journal.append(attempt.journal, step, moment, {name: self.value(name, step, seed) for name in self.names})

    def start(self, number: int = 0) -> tuple[RunFolder, Attempt]:
        run = self.study()[1].runs[number]
        folder = self.workspace.run(run)
        folder.create(run)
        return folder, folder.new_attempt()

    def finish(self, attempt: Attempt, status: str = "finished", cause: str = "") -> None:
        attempt.finish({
            "status": status, "cause": cause, "metrics": {}, "epochs": self.epochs, "params": 1234, "threads": 1,
            "data_fingerprint": "f" * 16, "scan_backend": "chunked", "host": "h", "device": "cpu", "started": 1e9,
            "finished": 1e9 + 60.25, "seconds": 60.25, "resumes": 0, "provenance": {"commit": "c" * 40, "dirty": True},
        })  # fmt: skip

    def run_all(self, seeds: int = 1) -> Design:
        design = self.study(seeds=seeds)[1]
        for number, run in enumerate(design.runs):
            _, attempt = self.start(number)
            self.write(attempt, range(1, self.epochs + 1), run.seed)
            self.finish(attempt)
        return design

    def report(self, files: dict[str, str]) -> Path:
        """Write files as a report, with the manifest that names them, and return its folder."""
        folder = self.root / "reports" / "rates"
        for name, text in {**files, "manifest.json": json.dumps({"files": dict.fromkeys(files, "")})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def children(self, name: str = "rates", kind: str = "run") -> dict[str, Any]:
        """What MLflow holds of a study, by run id."""
        experiment = self.client.get_experiment_by_name(name).experiment_id
        found = self.client.search_runs([experiment], f"tags.`slws.kind` = '{kind}'", max_results=1000)
        assert len({run.data.tags.get("slws.run_id") for run in found}) == len(found)
        return {run.data.tags.get("slws.run_id", "parent"): run for run in found}

    def parent(self, name: str = "rates") -> Any:
        return self.children(name, kind="study")["parent"]

    def history(self, run: Any, name: str) -> list[tuple[int, float, int]]:
        return sorted((m.step, m.value, m.timestamp) for m in self.client.get_metric_history(run.info.run_id, name))

    def check_equal(self) -> None:
        """MLflow holds as many runs as there are folders, with their params, curves and original times."""
        children, parent = self.children(), self.parent()
        folders = {folder.run_id: folder for folder in self.workspace.folders()}
        assert children.keys() == folders.keys() == set(self.study()[1].run_ids.values())
        for run_id, child in children.items():
            params = flatten(folders[run_id].spec().model_dump(mode="json"))
            assert child.data.params.keys() == params.keys()
            assert float(child.data.params["train.lr"]) == params["train.lr"]
            assert float(child.data.params["shuffle.max_rate"]) == params["shuffle.max_rate"]
            assert child.data.params["shuffle.schedule"] == params["shuffle.schedule"]
            assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
            curves = record(folders[run_id]).curves
            assert curves.keys() == set(self.names)
            for name, curve in curves.items():
                wanted = [(step, value, round((1e9 + step) * 1000)) for step, value in curve.items()]
                assert self.history(child, name) == wanted
                assert child.data.metrics[name] == curve[self.epochs]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database as a workspace's first pass makes it; made once, since its migrations take seconds."""
    set_environment()
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    new_database(path)
    return path


@pytest.fixture
def mirrored(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Project(tmp_path, empty_database)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[tuple[Project, str]]:
    """A project whose store has MLflow's server and UI running on it, and the server's address."""
    project = Project(tmp_path_factory.mktemp("served"), empty_database)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ui_command(project.workspace, project.uri, port)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=project.root)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        yield project, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)
