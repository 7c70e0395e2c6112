"""A study run by the local launcher: complete, repeatable, mirrored, explained."""

from __future__ import annotations

import json

import pytest
from conftest import Folder, Here, numbers, on_one_core, run_slws, start_slws

from slws_lab.lab.project import Project
from slws_lab.spec import flatten
from slws_lab.tracking import Attempt, Workspace, journal, starts

IN_PROCESS = ("--launcher", "in_process")


def runs(folder: Folder) -> list[Attempt]:
    return [attempt for run in Workspace(folder.workspace).folders() for attempt in run.attempts()]


def test_all_runs_are_finished_and_reported(finished: Folder) -> None:
    rows = numbers(finished.path / "reports/tiny/records.csv")
    assert [(row["shuffle.schedule"], row["seed"], row["status"]) for row in rows] == [
        (schedule, seed, "finished") for schedule in ("none", "linear") for seed in "012"
    ]
    assert len({row["val/loss"] for row in rows}) == 6


def test_nothing_is_left_behind_but_results(finished: Folder) -> None:
    for attempt in runs(finished):
        names = {path.name for path in attempt.path.iterdir()}
        assert names - {"diff.patch"} == {
            "journal.jsonl",
            "log.txt",
            "result.json",
            "starts.jsonl",
            "checkpoint",
            "model",
        }
        assert {path.name for path in attempt.checkpoint.iterdir()} == {"last.safetensors", "ema.safetensors"}
    assert list((finished.workspace / "jobs").iterdir()) == []


def test_the_same_command_again_starts_nothing(finished_copy: Folder, run_here: Here) -> None:
    before = [(attempt.path, attempt.starts.read_text()) for attempt in runs(finished_copy)]
    assert "0 runs executed" in run_here(finished_copy, "run", "tiny")
    assert [(attempt.path, attempt.starts.read_text()) for attempt in runs(finished_copy)] == before


def test_mlflow_holds_what_the_folders_hold(finished: Folder) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["slws.run_id"]: run for run in found if run is not parent}
    project = Project.open(str(finished.study))
    assert len(children) == len(found) - 1 == 6
    for (arm_id, seed), run_id in project.design.run_ids.items():
        child, record = children[run_id], project.record(run_id)
        spec = project.workspace.run(run_id).spec()
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["slws.arm"] == project.design.arm(arm_id).label
        assert child.data.tags["slws.seed"] == str(seed)
        assert child.info.status == "FINISHED"
        flat = flatten(spec.model_dump(mode="json")).items()
        assert child.data.params == {name: v if isinstance(v, str) else json.dumps(v) for name, v in flat}
        assert {n: child.data.metrics[n] for n in record.curves} == {n: c[max(c)] for n, c in record.curves.items()}
        for entry in journal.read(project.workspace.run(run_id).attempts()[0].journal):
            points = {m.step: m for m in client.get_metric_history(child.info.run_id, "val/loss")}
            assert points[entry.step].timestamp == round(entry.time * 1000)
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/report.html", "report/table.tex", "report/manifest.json"} <= artifacts


def test_the_in_process_launcher_gives_the_same_bits(finished: Folder, fresh: Folder, run_here: Here) -> None:
    run_here(fresh, "run", "tiny", *IN_PROCESS, "--only", "seed=0", code=1)
    first, second = (numbers(folder.path / "reports/tiny/records.csv") for folder in (finished, fresh))
    place = ("commit", "code")
    for row, other in zip(first, second, strict=True):
        if row["seed"] == "0":
            assert {k: v for k, v in row.items() if k not in place} == {
                k: v for k, v in other.items() if k not in place
            }
        else:
            assert other["status"] == "pending"


def test_a_rerun_of_an_arm_is_identical_from_a_fresh_and_from_a_warm_worker(finished_copy: Folder) -> None:
    """On one core one worker executes the arm's three runs: the first fresh, the others warm."""
    printed = run_slws(finished_copy, "rerun", "tiny", "schedule=linear", "--verify", "--json", **on_one_core())
    answers = json.loads(printed)
    assert [answer["differences"] for answer in answers] == [[], [], []]
    assert [answer["attempt"] for answer in answers] == [2, 2, 2]
    pids = [json.loads(attempt.starts.read_text())["pid"] for attempt in runs(finished_copy) if attempt.number == 2]
    assert (len(pids), len(set(pids))) == (3, 1)


def test_a_rerun_that_differs_says_where_is_flagged_and_replaces_only_when_asked(
    finished_copy: Folder, run_here: Here
) -> None:
    attempt = runs(finished_copy)[0]
    lines = attempt.journal.read_text().splitlines()
    entry = json.loads(lines[1])
    entry["metrics"]["val/loss"] += 1e-9
    del entry["crc"]
    attempt.journal.write_text("\n".join([lines[0], json.dumps(entry)]) + "\n")
    printed = run_here(finished_copy, "rerun", "tiny", attempt.run_id, "--verify", "--json", *IN_PROCESS, code=1)
    (answer,) = json.loads(printed)
    assert [(d["what"], d["epoch"]) for d in answer["differences"]] == [("val/loss", 2)]
    status = json.loads(run_here(finished_copy, "status", "tiny", "--json"))
    (flagged,) = [run for run in status["runs"] if run["differs"]]
    assert (flagged["run_id"], flagged["attempt"], flagged["attempts"]) == (attempt.run_id, 1, 2)
    run_here(finished_copy, "rerun", "tiny", attempt.run_id, "--replace", *IN_PROCESS)
    status = json.loads(run_here(finished_copy, "status", "tiny", "--json"))
    assert [run["attempt"] for run in status["runs"] if run["run_id"] == attempt.run_id] == [3]


def test_a_failed_run_is_recorded_the_study_goes_on_and_the_same_command_tries_it_again(
    fresh: Folder, run_here: Here
) -> None:
    design = Project.open(str(fresh.study)).design
    victim = Workspace(fresh.workspace).run(design.runs[0])
    victim.create(design.runs[0])
    attempt = victim.new_attempt()
    for _ in range(starts.MAX_WITHOUT_PROGRESS):
        starts.note_start(attempt, threads=1, made_by="planted")
    printed = run_slws(fresh, "run", "tiny", "--only", "seed=0", code=1, **on_one_core())
    assert "1 failed: the process died 3 times" in printed
    assert "--retry lost" in printed
    status = json.loads(run_here(fresh, "status", "tiny", "--json", code=1))
    assert [run["status"] for run in status["runs"] if run["seed"] == 0] == ["failed", "finished"]
    run_here(fresh, "run", "tiny", "--only", "seed=0", *IN_PROCESS, code=1)
    assert [attempt.status for attempt in victim.attempts()] == ["failed", "finished"]


def test_a_run_is_explained_and_stale_code_is_named_and_refreshed(finished_copy: Folder, run_here: Here) -> None:
    attempt = runs(finished_copy)[0]
    known = json.loads(run_here(finished_copy, "why", attempt.run_id[:-3], "--json"))
    assert known["run_id"] == attempt.run_id
    assert known["stale"] == []
    assert known["result"]["provenance"]["modules"]["slws_lab.models.mixer"]
    result = attempt.result() or {}
    result["provenance"]["modules"]["slws_lab.models.mixer"] = "000000000000"
    attempt.finish(result)
    assert json.loads(run_here(finished_copy, "why", attempt.run_id, "--json"))["stale"] == [
        "code changed since: slws_lab.models.mixer"
    ]
    assert "0 runs executed" in run_here(finished_copy, "run", "tiny")
    assert "1 run executed" in run_here(finished_copy, "run", "tiny", "--refresh", *IN_PROCESS)
    assert json.loads(run_here(finished_copy, "why", attempt.run_id, "--json"))["stale"] == []


def test_a_recipe_trains_alone(fresh: Folder, run_here: Here) -> None:
    answer = json.loads(run_here(fresh, "train", "experiments/tiny.yaml", "--seed", "3", "--json", *IN_PROCESS))
    assert answer["status"] == "finished"
    assert answer["run_id"].startswith("shufflemamba_micro-s3-")


@pytest.mark.parametrize(
    ("file", "content"),
    [("result.json", "{bad"), ("result.json", "{}"), ("journal.jsonl", "garbage"), ("journal.jsonl", None)],
)
def test_a_damaged_run_is_named_and_run_again(file: str, content: str | None, finished_copy: Folder) -> None:
    attempt = runs(finished_copy)[0]
    if content is None:
        (attempt.path / file).unlink()
    else:
        (attempt.path / file).write_text(content)
    project = Project.open(str(finished_copy.study))
    record = project.record(attempt.run_id)
    assert record.status == "failed"
    assert "damaged" in record.cause or "0 of 2 epochs" in record.cause
    assert record.next_attempt == 2


def test_damaged_files_that_can_be_made_anew_are_made_anew(finished_copy: Folder, run_here: Here) -> None:
    attempt = runs(finished_copy)[0]
    (attempt.path / "journal.jsonl").unlink()
    (attempt.path.parent / "run.json").write_text("{bad")
    (finished_copy.workspace / "mirror" / "tiny.json").write_text("{bad")
    out = run_here(finished_copy, "run", "tiny", *IN_PROCESS)
    assert "1 run executed" in out
    project = Project.open(str(finished_copy.study))
    assert project.workspace.run(attempt.run_id).spec().seed in (0, 1, 2)
    assert (project.record(attempt.run_id).status, project.record(attempt.run_id).attempt) == ("finished", 2)


def test_a_damaged_file_is_one_message(finished_copy: Folder) -> None:
    attempt = runs(finished_copy)[0]
    (attempt.path.parent / "run.json").write_text("{bad")
    process = start_slws(finished_copy, "why", attempt.run_id)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert "is damaged" in err
    assert "Traceback" not in err
