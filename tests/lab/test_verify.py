"""Verifying a finished study: one changed digit in any file that holds its numbers is found, and what is said mends it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Folder, Slws, numbers

from slws_lab.lab import shipping
from slws_lab.lab.project import Project
from slws_lab.lab.verifying import Verdict, run_folders, verify
from slws_lab.tracking import RunFolder, Workspace, journal, starts, write_text
from slws_lab.tracking.audit import Fault
from slws_lab.tracking.audit_digests import result_text

# What a planted digit is not looked for in, and why. All other files of the workspace and the report are looked at.
NOT_FILES = {
    r"\.slws/cache/.*": "answers that are asked for again; neither a record nor a report is made from them",
    r"\.slws/mirror/tiny\.json": "how much of each journal was sent; where it is wrong, the journal is sent anew",
}
# Table, column, and of a table of names and values the name.
NOT_CELLS = {
    r"alembic_version .*|workspaces .*|experiment_tags .*|experiments (creation|last_update)_time .*": "MLflow's own, and the people's who set views",
    r"experiments artifact_location .*": "where later runs put their artifacts; each run has its own address",
    r"experiments \w+ 0": "MLflow's experiment `Default`",
    r"inputs (input_uuid|step) .*|datasets experiment_id .*": "ids that nothing names",
    r"runs start_time study": "when MLflow was first told of the study, which no folder says",
}


def verdict(folder: Folder) -> Verdict:
    project = Project.open(str(folder.study))
    return verify([project], run_folders(project.workspace))


def faults(project: Project, kind: str) -> list[Fault]:
    """Return what is found by looking at the run folders alone, or at all else, which is quicker than at both."""
    found = verify([], run_folders(project.workspace)) if kind.startswith(".slws/runs/") else verify([project], [])
    return found.faults


def first(folder: Folder) -> RunFolder:
    return next(Workspace(folder.workspace).folders())


def copied(folder: Folder, path: Path) -> Folder:
    """Copy a project with its MLflow store, whose artifacts then are the copy's."""
    copy = Folder(shutil.copytree(folder.path, path))
    with contextlib.closing(sqlite3.connect(copy.workspace / "mlflow.db")) as database:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(folder.path), str(path)))
        database.commit()
    return copy


@pytest.fixture(scope="module")
def sound(finished: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A copy of the finished project in which nothing is wrong. Whoever changes it changes it back."""
    copy = copied(finished, tmp_path_factory.mktemp("sound") / "project")
    *_, last = Workspace(copy.workspace).folders()
    (attempt,) = last.attempts()
    (attempt.path / "diff.patch").write_text("-x = 1\n+x = 2\n")
    write_text(attempt.path / "result.json", result_text(attempt.path, attempt.result() or {}))
    last.choose(attempt)
    begun = last.new_attempt()
    starts.note_start(begun, threads=1, made_by="planted")
    for entry in journal.read(attempt.journal):
        journal.append(begun.journal, entry.step, entry.time, entry.metrics)
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


def plants(path: Path) -> Iterator[int]:
    """Put another digit into a file, at its first and its last one, and yield where; then make it whole again."""
    whole = path.read_bytes()
    places = [match.start() for match in re.finditer(rb"[0-9]", whole)]
    try:
        for place in dict.fromkeys((places[0], places[-1])):
            path.write_bytes(whole[:place] + b"%d" % ((whole[place] - ord("0") + 1) % 10) + whole[place + 1 :])
            yield place
    finally:
        path.write_bytes(whole)


def kinds(folder: Folder) -> dict[str, Path]:
    """Return a file of each kind that a workspace and a report consist of, MLflow's database aside."""
    files = [path for top in (folder.workspace, folder.path / "reports") for path in top.rglob("*") if path.is_file()]
    found = {}
    for path in sorted(files):
        name = re.sub(r"[\w.-]+-s\d+-[0-9a-f]{12}", "RUN", path.relative_to(folder.path).as_posix())
        name = re.sub(r"(tables|figures)/\w+", r"\1/NAME", name)  # one of each format
        found[re.sub(r"[0-9a-f]{32}", "MLFLOW", name)] = path
    return {name: path for name, path in found.items() if path.name != "mlflow.db"}


def test_a_changed_digit_is_found_in_every_file_of_a_workspace_and_a_report(sound: Folder) -> None:
    looked_at, project = [], Project.open(str(sound.study))
    for kind, path in kinds(sound).items():
        if any(re.fullmatch(pattern, kind) for pattern in NOT_FILES) or not re.search(rb"[0-9]", path.read_bytes()):
            continue
        looked_at.append(kind)
        for place in plants(path):
            found = faults(project, kind)
            assert found, (kind, place, path.read_bytes()[max(0, place - 40) : place + 10])
            assert all(fault.mend for fault in found)
            assert path in [fault.file for fault in found] or kind.startswith((".slws/mlartifacts/", ".slws/mirror/id"))
    assert verdict(sound).faults == []
    assert len([kind for kind in looked_at if kind.startswith(".slws/runs/")]) == 14
    assert len([kind for kind in looked_at if kind.startswith(".slws/mlartifacts/")]) == 20
    assert len([kind for kind in looked_at if kind.startswith("reports/")]) == 14


def cells(database: Path) -> Iterator[tuple[str, str, str, object, int]]:
    """Yield table, column, name, value and row of what an MLflow database holds with digits: of tags each name, else two rows a column."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            named = {"tags": "key", "runs": "name", "experiments": "experiment_id"}.get(table, "''")
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
                rows = connection.execute(f"SELECT {named}, {column}, rowid FROM {table} ORDER BY rowid").fetchall()
                rows = [row for row in rows if re.search(r"\d", str(row[1]))]
                some = (
                    {row[0]: row for row in rows}.values() if table == "tags" else dict.fromkeys(rows[:1] + rows[-1:])
                )
                for name, value, row in some:
                    yield table, column, "study" if name == "tiny" else str(name), value, row


def test_a_changed_digit_is_found_in_every_value_that_mlflow_holds(sound: Folder) -> None:
    database, project = sound.workspace / "mlflow.db", Project.open(str(sound.study))
    whole, looked_at = database.read_bytes(), set()
    for table, column, name, value, row in list(cells(database)):
        if any(re.fullmatch(pattern, f"{table} {column} {name}") for pattern in NOT_CELLS):
            continue
        looked_at.add(f"{table}.{column}")
        text = str(value)
        last = max(match.start() for match in re.finditer(r"\d", text))
        other = type(value)(text[:last] + str((int(text[last]) + 5) % 10) + text[last + 1 :])  # type: ignore[call-arg]
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (other, row))
            connection.commit()
        found = faults(project, "mlflow.db")
        database.write_bytes(whole)
        assert found, (table, column, name, value, other)
        assert all(fault.mend for fault in found)
    tables = {"metrics", "latest_metrics", "params", "tags", "runs", "datasets", "inputs", "experiments"}
    assert {cell.partition(".")[0] for cell in looked_at} == tables


def test_what_is_said_mends_a_changed_journal(
    sound: Folder, tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is made again bit by bit, the attempt that was changed goes, and report and mirror follow: in one go."""
    folder = copied(sound, tmp_path / "project")
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
    folder = copied(sound, tmp_path / "project")
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
    folder = copied(sound, tmp_path / "project")
    shared = (folder.workspace / "mlflow.db").rename(tmp_path / "shared.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}")
    shipping.ship(Project.of_recipe(folder.recipe, 1, folder.workspace))
    projects = shipping.studies_with_runs(folder.path, folder.workspace)
    assert [project.study.spec.name for project in projects] == ["tiny", "train-tiny", "train-tiny", "train-tiny"]
    shipped = shipping.sync(projects, rebuild=True)
    assert [sent.runs for _, sent in shipped] == [6, 1, 1, 1]
    assert verify(projects, run_folders(Workspace(folder.workspace))).faults == []
    assert not (folder.workspace / "mlflow.db").exists()
