"""A study of somebody's command, from the plan to the table: run, failed, repeated, mirrored, verified, explained."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from command.trainer import RECIPE, attempt_of, make_command_project, place
from conftest import Folder, Here, Slws, numbers, on_one_core, run_slws, start_slws

from slws_lab import worker
from slws_lab.lab import science
from slws_lab.lab.project import Project
from slws_lab.spec import CommandRun, dotted, expand, load_study
from slws_lab.tracking import Workspace, journal, provenance


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A project whose study of a command has been run to its end. Do not change it."""
    folder = make_command_project(tmp_path_factory.mktemp("command") / "project")
    run_slws(folder, "run", "tiny", **on_one_core())
    return folder


def rows(folder: Folder) -> list[dict[str, str]]:
    return numbers(folder.path / "reports/tiny/records.csv")


def test_the_study_ends_in_records_and_a_table(done: Folder) -> None:
    found = rows(done)
    assert [(row["lr"], row["seed"], row["status"]) for row in found] == [
        (lr, seed, "finished") for lr in ("0.1", "0.3") for seed in "012"
    ]
    assert all(row["val/top1"] and row["train/loss"] for row in found)
    table = (done.path / "reports/tiny/table.md").read_text()
    assert "as the command gave it at its last step" in table and "validation split" not in table
    assert "| 0.3 |" in table and "helps" in table


def test_everything_checks_out_digit_by_digit(done: Folder, run_here: Here) -> None:
    assert "6 runs, 6 results, 1 reports, 48 points in MLflow looked at" in run_here(done, "verify", "tiny")


def test_mlflow_shows_the_declared_fields_and_every_value(done: Folder) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{done.workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    project = Project.open(str(done.study))
    runs = {
        run.data.tags["slws.run_id"]: run
        for run in client.search_runs([experiment.experiment_id])
        if "slws.run_id" in run.data.tags
    }
    assert set(runs) == set(project.design.run_ids.values())
    for run_id, run in runs.items():
        spec = project.workspace.run(run_id).spec()
        assert run.data.params == {k: v if isinstance(v, str) else json.dumps(v) for k, v in dotted(spec).items()}
        points = client.get_metric_history(run.info.run_id, "val/top1")
        entries = journal.read(project.workspace.run(run_id).attempts()[0].journal)
        assert {p.step: p.value for p in points} == {e.step: e.metrics["val/top1"] for e in entries}


def test_the_plan_of_a_command_asks_no_torch_and_tells_its_cost_from_history(
    done: Folder, run_here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(science, "ask", lambda *_: pytest.fail("the science tower was asked"))
    more = done.study.read_text().replace("seeds: 3", "seeds: 4").replace("[0.1, 0.3]", "[0.1, 0.3, 0.5]")
    (done.path / "studies/more.yaml").write_text(more.replace("name: tiny", "name: more"))
    found = json.loads(run_here(done, "plan", "more", "--json"))
    assert (found["todo"], len(found["arms"])) == (6, 3)
    shown = run_here(done, "plan", "more")
    assert "3 runs of this arm" in shown and "cost of lr=0.5: not known before a run of it has finished" in shown
    (done.path / "studies/more.yaml").unlink()


def test_a_command_cannot_be_probed_and_its_files_are_not_counted_before_it_has_run(
    tmp_path: Path, done: Folder, run_here: Here, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_command_project(tmp_path / "project")
    shown = run_here(folder, "plan", "tiny")
    assert "--probe" not in shown and "GB to come, the files of the command not counted, " in shown
    assert slws("plan", "tiny", "--probe", cwd=folder.path) == 2
    said = capsys.readouterr().err
    assert "a command's steps cannot be measured: only it knows them" in said and "where:   --probe" in said
    (done.path / "studies/more.yaml").write_text(
        done.study.read_text().replace("seeds: 3", "seeds: 4").replace("name: tiny", "name: more")
    )
    assert (
        "GB to come, 0" not in (shown := run_here(done, "plan", "more"))
        and "not counted, " not in shown.split("disk: ")[1]
    )
    (done.path / "studies/more.yaml").unlink()


def test_why_says_that_the_packages_of_another_python_are_not_known(
    tmp_path: Path, run_here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_command_project(tmp_path / "project", recipe=RECIPE.replace("{python}", sys.executable))
    run = next(iter(expand(load_study(folder.study)).runs))
    assert isinstance(run, CommandRun)
    attempt = attempt_of(folder, run)
    assert worker.execute(attempt, place(folder)) == "finished"
    monkeypatch.setattr(provenance, "packages", lambda: {"python": "4.0"})
    said = run_here(folder, "why", attempt.run_id)
    assert "with packages that are not known: the command has its own" in said and "fresh: code is the same now" in said


def test_status_why_and_a_rerun_that_is_verified(done: Folder, tmp_path: Path, run_here: Here) -> None:
    run_id = rows(done)[0]["run_id"]
    done = Folder(Path(shutil.copytree(done.path, tmp_path / "copy")))
    assert "finished" in run_here(done, "status", "tiny")
    said = run_here(done, "why", run_id)
    assert "recipe.command" in said and "fresh: code and packages are the same now" in said
    assert "identical" in run_here(done, "rerun", "tiny", run_id, "--verify", "--launcher", "in_process")


def test_a_changed_script_makes_its_runs_stale(done: Folder, tmp_path: Path, run_here: Here) -> None:
    copy = Folder(Path(shutil.copytree(done.path, tmp_path / "copy")))
    (copy.path / "main.py").write_text((copy.path / "main.py").read_text() + "# changed\n")
    assert "6 runs are stale" in run_here(copy, "plan", "tiny")


def test_a_changed_command_makes_other_runs(done: Folder, tmp_path: Path, run_here: Here) -> None:
    copy = Folder(Path(shutil.copytree(done.path, tmp_path / "copy")))
    copy.recipe.write_text(RECIPE.replace("main.py --lr", "main.py  --lr"))
    assert json.loads(run_here(copy, "plan", "tiny", "--json"))["todo"] == 0
    copy.recipe.write_text(RECIPE.replace("main.py --lr", "./main.py --lr"))
    assert json.loads(run_here(copy, "plan", "tiny", "--json"))["todo"] == 6


def test_a_failure_is_counted_with_its_cause_and_only_it_is_run_again(tmp_path: Path, run_here: Here) -> None:
    folder = make_command_project(tmp_path / "project")
    folder.study.write_text(
        folder.study.read_text()
        .replace("lr: [0.1, 0.3]", "do: [silent, log]")
        .replace("grid: [lr]", "grid: [do]")
        .replace("seeds: 3", "seeds: 1")
    )
    said = run_here(folder, "run", "tiny", "--launcher", "in_process", code=1)
    assert "1 failed: the command ended well and never gave train/loss, val/top1" in " ".join(said.split())
    assert [row["status"] for row in rows(folder)] == ["failed", "finished"]
    script = folder.path / "main.py"
    script.write_text(script.read_text().replace('!= "silent"', '!= "nothing"'))
    assert "1 run executed" in run_here(folder, "run", "tiny", "--launcher", "in_process", "--retry", "error")
    assert [row["status"] for row in rows(folder)] == ["finished"] * 2


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("{python} main.py", "pyhton main.py", ["there is no program 'pyhton'", "tiny.yaml:3:10 (command)"]),
        (
            "{python} main.py",
            "{python} $CODE/main.py",
            ["the environment has no variable 'CODE'", "tiny.yaml:3:10 (command)", "export CODE=..."],
        ),
        ("epochs: train.epochs", "cwd: nowhere", ["there is no folder '", "nowhere'", "tiny.yaml:13:6 (cwd)"]),
    ],
)
def test_what_is_not_there_is_found_before_anything_starts(
    tmp_path: Path, slws: Slws, before: str, after: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_command_project(tmp_path / "project", recipe=RECIPE.replace(before, after))
    assert slws("run", "tiny", cwd=folder.path) == 2
    said = capsys.readouterr().err
    assert [part for part in says if part not in said] == []
    assert not (folder.workspace / "runs").exists()


def test_a_command_that_is_killed_with_its_study_leaves_nothing_and_the_same_command_ends_alike(
    done: Folder, tmp_path: Path
) -> None:
    folder = make_command_project(tmp_path / "project")
    folder.study.write_text(folder.study.read_text().replace("seeds: 3", "seeds: 1"))
    folder.recipe.write_text(RECIPE.replace("pause: {type: float, value: 0", "pause: {type: float, value: 0.2"))
    slws = start_slws(folder, "run", "tiny", **on_one_core())
    while not list(folder.workspace.glob("runs/*/attempt-1/journal.jsonl")):
        assert slws.poll() is None
        time.sleep(0.05)
    family = psutil.Process(slws.pid).children(recursive=True)
    os.kill(slws.pid, signal.SIGKILL)
    slws.communicate()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    run_slws(folder, "run", "tiny", **on_one_core())
    values = [{(row["lr"], row["val/top1"]) for row in rows(one) if row["seed"] == "0"} for one in (done, folder)]
    assert values[0] == values[1]
    assert len(list(Workspace(folder.workspace).folders())) == len(values[1]) == 2


def test_one_training_of_a_recipe_alone(tmp_path: Path, run_here: Here) -> None:
    folder = make_command_project(tmp_path / "project")
    said = run_here(folder, "train", str(folder.recipe), "--seed", "2", "--launcher", "in_process")
    (run,) = Workspace(folder.workspace).folders()
    assert "val/top1" in said and run.run_id.startswith("deit-s2-")
    assert said.endswith(f"Look at it:  slws why {run.run_id}, slws ui\n")
    assert (folder.workspace / ".gitignore").read_text() == "*\n"


def test_eval_and_data_check_say_that_they_are_for_trainings(
    done: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("eval", rows(done)[0]["run_id"], cwd=done.path) == 2
    assert slws("data", "check", str(done.recipe), cwd=done.path) == 2
    said = capsys.readouterr().err
    assert "is a run of a command" in said and "the recipe is a command's" in said


def test_cleaning_weights_removes_what_commands_have_left(done: Folder, tmp_path: Path, run_here: Here) -> None:
    copy = Folder(Path(shutil.copytree(done.path, tmp_path / "copy")))
    run_here(copy, "clean", "--weights", "--yes")
    assert list(copy.workspace.glob("runs/*/attempt-*/files")) == []
    assert [row["status"] for row in rows(copy)] == ["finished"] * 6
