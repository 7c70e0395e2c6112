"""`slws ui`: what it prints, what it starts, and when a browser is opened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import Folder, Slws

from slws_lab.cli import commands_ui
from slws_lab.lab import serving
from slws_lab.tracking.mirror_links import Links

Started = list[list[str]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What the command would become: it is noted, and the command goes on as if it had ended."""
    found: Started = []
    monkeypatch.setattr(os, "environ", {**os.environ, "DISPLAY": ":0"})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(os, "execv", lambda _, command: found.append(command))
    monkeypatch.setattr(serving, "_check_port", lambda _: None)
    return found


@pytest.fixture
def shown(finished: Folder, project: Folder) -> Folder:
    """A project that MLflow has, and a report; nothing in it was run."""
    for name in ("runs", "mirror"):
        shutil.copytree(finished.workspace / name, project.workspace / name)
    (project.workspace / "mlflow.db").touch()
    (project.path / "reports" / "tiny").mkdir(parents=True)
    (project.path / "reports" / "tiny" / "report.html").touch()
    return project


def test_it_says_where_each_study_and_report_is(
    shown: Folder, slws: Slws, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("ui", "--port", 7001, cwd=shown.path) == 0
    told = capsys.readouterr().out
    for place in ("#/experiments?workflowType=machine_learning", "slws/studies/tiny", "slws/reports/tiny/report.html"):
        assert f"http://127.0.0.1:7001/{place}" in told
    assert started[0][-2:] == ["--app-name", "slws"]
    assert Path(os.environ["SLWS_UI_ROOT"]) == shown.path and Path(os.environ["SLWS_UI_WORKSPACE"]) == shown.workspace


def test_a_recipe_that_was_trained_is_named_once_whatever_seeds_there_are(
    shown: Folder, slws: Slws, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown.workspace / "mirror" / "train-tiny.json").write_text('{"open": false, "offsets": {}}')
    assert slws("ui", cwd=shown.path) == 0
    assert capsys.readouterr().out.count("  train-tiny: ") == 1


@pytest.mark.parametrize(
    ("arguments", "terminal", "opens"),
    [
        (("tiny",), False, "/slws/studies/tiny"),
        (("tiny",), True, "/slws/studies/tiny"),
        (("studies/tiny.yaml",), False, "/slws/studies/tiny"),
        ((), True, "/#/experiments?workflowType=machine_learning"),
        ((), False, ""),
        (("tiny", "--no-open"), True, ""),
        (("--no-open",), True, ""),
    ],
)
def test_a_browser_is_opened_where_somebody_looks(
    shown: Folder,
    slws: Slws,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    terminal: bool,
    opens: str,
) -> None:
    monkeypatch.setattr(commands_ui.out, "_force_terminal", terminal)
    assert slws("ui", *arguments, cwd=shown.path) == 0
    assert os.environ["SLWS_UI_OPENS"] == (f"http://127.0.0.1:5000{opens}" if opens else "")


def test_no_browser_is_opened_where_there_is_no_window(
    shown: Folder, slws: Slws, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in serving.DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    assert slws("ui", "tiny", cwd=shown.path) == 0
    assert os.environ["SLWS_UI_OPENS"] == "" and started


def test_where_there_is_nothing_to_show_it_says_what_to_run(
    project: Folder, slws: Slws, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, todo in (((), "slws run STUDY"), (("tiny",), "slws run tiny")):
        assert slws("ui", *arguments, cwd=project.path) == 2
        assert todo in capsys.readouterr().err
    assert slws("ui", "nothing", cwd=project.path) == 2
    assert not started and not project.workspace.exists()


def test_a_study_that_was_never_sent_is_told_apart(
    shown: Folder, slws: Slws, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown.study.with_name("other.yaml")).write_text(shown.study.read_text().replace("name: tiny", "name: other"))
    assert slws("ui", "other", cwd=shown.path) == 2
    assert "MLflow has nothing of study 'other'" in capsys.readouterr().err and not started


def test_with_a_server_of_the_team_only_the_reports_are_served_here(
    shown: Folder, slws: Slws, started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:planted-pass@mlflow.example.org")
    monkeypatch.setattr(Links, "check", lambda _: None)
    assert slws("ui", "--host", "0.0.0.0", cwd=shown.path) == 0
    told = capsys.readouterr()
    assert "MLflow UI: https://mlflow.example.org/#/experiments" in told.out
    assert "http://0.0.0.0:5000/slws/reports/tiny/report.html" in told.out
    assert "can read the reports" in told.err and "planted-pass" not in told.out + told.err
    assert "uvicorn" in started[0]


def test_a_server_of_the_team_that_is_away_is_said_before_anything_starts(
    shown: Folder, slws: Slws, started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:planted-pass@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert slws("ui", cwd=shown.path) == 1
    assert "planted-pass" not in capsys.readouterr().err and not started
