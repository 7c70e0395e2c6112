"""Verifying a finished study: one changed digit in any file that holds its numbers is found, and what is said mends it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Folder, Slws, numbers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slws_lab.lab import shipping
from slws_lab.lab.project import Project
from slws_lab.lab.verifying import Verdict, run_folders, verify
from slws_lab.tracking import RunFolder, Workspace, write_text
from slws_lab.tracking.audit_digests import result_text

REPORT = ("records.csv", "table.md", "table.tex", "table.html", "report.html", "manifest.json")
RUN = ("run.json", "attempt-1/journal.jsonl", "attempt-1/starts.jsonl", "attempt-1/result.json")
CELLS = {"metrics": ("value", "timestamp", "step"), "latest_metrics": ("value",), "params": ("value",)}


def verdict(folder: Folder) -> Verdict:
    project = Project.open(str(folder.study))
    return verify([project], run_folders(project.workspace))


def first(folder: Folder) -> RunFolder:
    return next(Workspace(folder.workspace).folders())


@pytest.fixture(scope="module")
def sound(finished: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A copy of the finished project in which nothing is wrong. Whoever changes it changes it back."""
    copy = Folder(shutil.copytree(finished.path, tmp_path_factory.mktemp("sound") / "project"))
    for run in Workspace(copy.workspace).folders():
        for attempt in run.attempts():
            write_text(attempt.path / "result.json", result_text(attempt.path, attempt.result() or {}))
    from slws_lab.lab.reporting import report

    project = Project.open(str(copy.study))
    report(project)
    shipping.ship(project)
    return copy


def test_a_finished_study_is_sound_and_looking_changes_nothing(sound: Folder) -> None:
    before = {path: path.read_bytes() for path in sound.path.rglob("*") if path.is_file()}
    found = verdict(sound)
    assert (found.faults, found.notes) == ([], [])
    assert (found.runs, found.results, found.reports) == (6, 6, 1)
    assert found.points > 6 * 2 * 8
    assert {path: path.read_bytes() for path in sound.path.rglob("*") if path.is_file()} == before


@contextmanager
def changed(path: Path, share: float) -> Iterator[None]:
    """Put another digit into a file, at this share of its digits."""
    whole = path.read_bytes()
    places = [match.start() for match in re.finditer(rb"[0-9]", whole)]
    place = places[int(share * len(places))]
    path.write_bytes(whole[:place] + b"%d" % ((whole[place] - ord("0") + 1) % 10) + whole[place + 1 :])
    try:
        yield
    finally:
        path.write_bytes(whole)


@contextmanager
def changed_cell(path: Path, table: str, column: str, share: float) -> Iterator[None]:
    """Put another digit into a number of MLflow's database, at this share of the table's rows."""
    whole = path.read_bytes()
    with sqlite3.connect(path) as database:
        rows = database.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
        rows = [row for row in rows if re.search(r"\d", str(row[1]))]
        row, value = rows[int(share * len(rows))]
        text = str(value)
        last = max(match.start() for match in re.finditer(r"\d", text))
        other = text[:last] + str((int(text[last]) + 5) % 10) + text[last + 1 :]
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (type(value)(other), row))
    database.close()
    try:
        yield
    finally:
        path.write_bytes(whole)


places = st.one_of(
    st.tuples(st.sampled_from(REPORT), st.none()),
    st.tuples(st.sampled_from(RUN), st.none()),
    st.tuples(st.just("mlflow.db"), st.sampled_from([(t, c) for t, columns in CELLS.items() for c in columns])),
)


@given(places, st.floats(0, 1, exclude_max=True))
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_digit_is_found_in_its_file(
    sound: Folder, place: tuple[str, tuple[str, str] | None], share: float
) -> None:
    name, cell = place
    folders = {"mlflow.db": sound.workspace, **dict.fromkeys(REPORT, sound.path / "reports/tiny")}
    path = folders.get(name, first(sound).path) / name
    with changed_cell(path, *cell, share) if cell else changed(path, share):
        faults = verdict(sound).faults
    assert path in [fault.file for fault in faults], faults
    assert all(fault.mend for fault in faults)


def test_what_is_said_mends_a_changed_journal(
    sound: Folder, tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is made again bit by bit, the attempt that was changed goes, and report and mirror follow: in one go."""
    folder = Folder(shutil.copytree(sound.path, tmp_path / "project"))
    before = numbers(folder.path / "reports/tiny/records.csv")
    attempt = first(folder).attempts()[0]
    attempt.journal.write_text(attempt.journal.read_text().replace('"step": 2', '"step": 3'))
    assert slws("verify", "--json", cwd=folder.path) == 1
    command = json.loads(capsys.readouterr().out)["faults"][0]["mend"]
    for part in command.replace("--replace", "--replace --launcher in_process").split(" && "):
        assert slws(*part.split()[1:], cwd=folder.path) == 0, part
    assert verdict(folder).faults == []
    after = numbers(folder.path / "reports/tiny/records.csv")
    made_here = dict.fromkeys(("commit", "code"))  # this process has imported other modules than a worker does
    assert [{**row, **made_here} for row in after] == [{**row, **made_here} for row in before]
    assert [attempt.number for attempt in first(folder).attempts()] == [2]


@pytest.mark.parametrize("name", ["mlflow.db", "reports/tiny/table.md", "run.json"])
def test_what_is_said_names_a_command_for_each_place(name: str, sound: Folder) -> None:
    path = {"mlflow.db": sound.workspace / name, "run.json": first(sound).path / name}.get(name, sound.path / name)
    whole = path.read_bytes()
    path.write_bytes(b"{" + whole[1:])
    path.write_bytes(whole[: len(whole) // 2])
    try:
        (command,) = {fault.mend for fault in verdict(sound).faults}
    finally:
        path.write_bytes(whole)
    wanted = {
        "mlflow.db": "slws sync --rebuild",
        "reports/tiny/table.md": "slws report tiny",
        "run.json": f"rm -f {path} && slws rerun tiny {first(sound).run_id} --replace && slws clean --superseded --yes"
        " && slws report tiny && slws sync tiny",
    }
    assert command == wanted[name]


def test_a_tracker_that_never_answers_holds_up_neither_the_end_of_a_study_nor_of_its_process(sound: Folder) -> None:
    """The process must end while its requests are open: nothing ever answers them, and MLflow would wait for hours."""
    script = (
        "from slws_lab.lab import shipping; from slws_lab.lab.project import Project\n"
        "shipping.LIMIT_S, shipping.EVERY_S = 0.5, {every}\n"
        "ship = shipping.Shipping(Project.open('tiny')); ship.start(); print(ship.finish())"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made and never looked at
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**os.environ, "MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_TIMEOUT": "7200"}
        for every in (0.0, 5.0):  # in a pass while the study runs, and in the last one
            command = [sys.executable, "-c", script.format(every=every)]
            told = subprocess.check_output(command, cwd=sound.path, env=environment, timeout=240, text=True)
            assert told == f"{shipping.LATE}\n"
    assert verdict(sound).faults == []


@pytest.mark.parametrize("answer", ["refuses", "is damaged"])
def test_a_tracker_that_is_away_costs_a_study_one_message(
    answer: str, sound: Folder, slws: Slws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    folder = Folder(shutil.copytree(sound.path, tmp_path / "project"))
    if answer == "refuses":
        with socket.create_server(("127.0.0.1", 0)) as closed:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
    else:
        (folder.workspace / "mlflow.db").write_bytes(b"no database at all " * 1000)
    told = shipping.attempt(Project.open(str(folder.study)))
    said = {"refuses": "could not be reached", "is damaged": "`slws sync --rebuild` fills a new one"}[answer]
    assert said in told
    assert "nothing is lost" in told
    found = verdict(folder)
    assert [fault.mend for fault in found.faults] == [
        {"refuses": "give the command again when it answers", "is damaged": "slws sync --rebuild"}[answer]
    ]


def test_what_was_trained_outside_a_study_is_rebuilt_too(
    sound: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`slws train` mirrors a recipe as a study of its own; the same run counts for both. In a store that is shared."""
    folder = Folder(shutil.copytree(sound.path, tmp_path / "project"))
    shared = (folder.workspace / "mlflow.db").rename(tmp_path / "shared.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}")
    shipping.ship(Project.of_recipe(folder.recipe, 1, folder.workspace))
    projects = shipping.studies_with_runs(folder.path, folder.workspace)
    assert [project.study.spec.name for project in projects] == ["tiny", "train-tiny", "train-tiny", "train-tiny"]
    shipped = shipping.sync(projects, rebuild=True)
    assert [sent.runs for _, sent in shipped] == [6, 1, 1, 1]
    assert verify(projects, run_folders(Workspace(folder.workspace))).faults == []
    assert not (folder.workspace / "mlflow.db").exists()
