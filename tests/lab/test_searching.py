"""The loop of a search: trials drawn, run, pruned and told; killed, interrupted, out of time, out of budget, and gone on with."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from command.trainer import make_command_project
from conftest import Folder, make_project
from faults.faults import kill_tree, left, processes, wait_for

from slws_lab.errors import UserError
from slws_lab.lab import executing, inference, running, science, searching
from slws_lab.lab.executing import Outcome, Progress
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.launch import in_process, inventory
from slws_lab.search.trial import Trial, best, counts
from slws_lab.spec import Recipe
from slws_lab.tracking import Claim, Workspace, journal

RECIPE = """\
kind: command
name: line
command: "{python} main.py --lr {lr} --epochs {train.epochs} --seed {seed} --pause {pause} {do:--do} --output_dir {run.dir}"
resume: "--resume {run.dir}/checkpoint.pth"
fields:
  lr: {type: float, value: 0.5, min: 0, max: 10}
  train.epochs: {type: int, value: 3, min: 1}
  pause: {type: float, value: 0, shape: false}
  do: {type: str, value: null}
metrics: {file: log.txt, step: epoch, counts_from: 0, names: {val/top1: test_acc1, train/loss: train_loss}}
epochs: train.epochs
"""
HEAD = """\
name: tiny
question: Which rate is best?
recipe: ../experiments/tiny.yaml
metric: {name: val/top1}
resources: {gpus: 0}
"""
SEARCH = """\
seeds: 1
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: random
  trials: 4
"""


class Quiet:
    """Stands in for the mirror, which has tests of its own and takes seconds to load."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def start(self) -> None:
        pass

    def finish(self) -> str:
        return ""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (searching, executing):
        monkeypatch.setattr(place, "Shipping", Quiet)
    monkeypatch.setattr(searching, "POLL_S", 0.02)
    monkeypatch.setattr(in_process, "LOOK_S", 0.05)
    monkeypatch.setattr(inventory, "cores", lambda: 2)


def make(folder: Path, search: str = SEARCH, recipe: str = RECIPE) -> Folder:
    """Make a project whose command also pauses as the environment says, which is in no id."""
    made = make_command_project(folder / "project", HEAD + search, recipe)
    script = made.path / "main.py"
    script.write_text(
        script.read_text().replace("sleep(args.pause)", "sleep(float(os.environ.get('PAUSE', args.pause)))")
    )
    return made


def search(folder: Folder, launcher: str = "in_process", watch: Callable[[Progress], None] = lambda _: None) -> Outcome:
    return searching.search(Project.open(str(folder.study)), Options(launcher), watch)


def trials(folder: Folder) -> tuple[Trial, ...]:
    return Project.open(str(folder.study)).trials


def made(folder: Folder) -> dict[str, str]:
    """Return when each attempt was begun, and with what it ended."""
    files = [
        path for path in folder.workspace.glob("runs/*/attempt-*/*") if path.name in ("starts.jsonl", "result.json")
    ]
    return {str(path.relative_to(folder.workspace)): path.read_text() for path in files}


def record_of(folder: Folder, trial: Trial, seed: int = 0) -> Any:
    project = Project.open(str(folder.study))
    arm = next(arm for arm in project.design.arms if arm.settings == trial.settings)
    return project.record(project.design.run_ids[arm.id, seed])


def ordinary(folder: Folder, settings: list[dict[str, Any]], name: str = "other", seeds: str = "seeds: 1\n") -> Path:
    """Write a study without a search, of these settings."""
    path = folder.path / f"studies/{name}.yaml"
    path.write_text(HEAD.replace("name: tiny", f"name: {name}") + seeds + f"designs: [{{list: {settings}}}]\n")
    return path


def run(path: Path) -> Outcome:
    return running.run(Project.open(str(path)), Options("in_process"), lambda _: None)


@pytest.mark.parametrize("launcher", ["in_process", "local"])
def test_a_search_ends_with_the_trials_that_were_asked_for_and_goes_on_when_more_are(
    tmp_path: Path, launcher: str
) -> None:
    folder = make(tmp_path)
    outcome = search(folder, launcher)
    assert (outcome.started, outcome.failed, outcome.interrupted, outcome.halted) == (4, (), False, False)
    first = trials(folder)
    assert [trial.state for trial in first] == ["complete"] * 4
    assert first[0].settings == {"lr": 0.5}
    assert [trial.values[0] for trial in first] == [record_of(folder, trial).curves["val/top1"][3] for trial in first]
    assert best(first, "maximize")[0].settings["lr"] == max(trial.settings["lr"] for trial in first)  # type: ignore[type-var]
    before = made(folder)
    assert search(folder, launcher).started == 0
    assert made(folder) == before
    folder.study.write_text(folder.study.read_text().replace("trials: 4", "trials: 6"))
    assert search(folder, launcher).started == 2
    assert trials(folder)[:4] == first and len(trials(folder)) == 6
    assert left(folder) == []


def test_runs_that_another_study_has_finished_are_not_executed_anew(tmp_path: Path) -> None:
    folder = make(tmp_path, SEARCH.replace("{float: [0.1, 0.9]}", "[0.5, 0.1, 0.9]").replace("random", "grid"))
    run(ordinary(folder, [{}, {"lr": 0.1}, {"lr": 0.9}]))
    before = made(folder)
    assert len(before) == 6
    search(folder)
    assert made(folder) == before
    assert sorted(trial.settings["lr"] for trial in trials(folder)) == [0.1, 0.5, 0.9]  # type: ignore[type-var]
    assert [trial.values[0] for trial in trials(folder)] == [
        record_of(folder, trial).curves["val/top1"][3] for trial in trials(folder)
    ]


PRUNED = """\
seeds: 1
set: {train.epochs: 6}
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: random
  trials: 3
  enqueue: [{lr: 0.9}, {lr: 0.8}, {lr: 0.1}]
  pruner: {name: median, n_startup_trials: 2}
"""


def test_a_pruned_run_has_no_result_and_another_study_resumes_and_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path, PRUNED)
    run(ordinary(folder, [{"lr": 0.9, "train.epochs": 6}, {"lr": 0.8, "train.epochs": 6}]))
    monkeypatch.setenv("PAUSE", "0.4")
    outcome = search(folder)
    assert (outcome.started, outcome.failed) == (3, ())
    assert [trial.state for trial in trials(folder)] == ["complete", "complete", "pruned"]
    poor = trials(folder)[2]
    record = record_of(folder, poor)
    assert record.status == "pending" and record.value(Project.open(str(folder.study)).study.spec.metric) is None
    attempt = Workspace(folder.workspace).run(record.run_id).attempts()[0]
    assert attempt.status is None and (attempt.files / "checkpoint.pth").exists()
    done = max(entry.step for entry in journal.read(attempt.journal))
    assert 1 <= max(poor.curve) <= done < 6
    assert left(folder) == []
    monkeypatch.setenv("PAUSE", "0")
    run(ordinary(folder, [{"lr": 0.1, "train.epochs": 6}], "third"))
    assert attempt.status == "finished"
    assert [entry.step for entry in journal.read(attempt.journal)] == [1, 2, 3, 4, 5, 6]
    assert len(attempt.starts.read_text().splitlines()) > 1
    assert trials(folder)[2] == poor


def test_a_pruned_run_is_asked_to_stop_by_the_local_launcher_and_its_job_goes_on_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path, PRUNED.replace("trials: 3", "trials: 4\n  parallel: 1"))
    monkeypatch.setenv("PAUSE", "0.3")
    search(folder, "local")
    assert [trial.state for trial in trials(folder)][:3] == ["complete", "complete", "pruned"]
    assert record_of(folder, trials(folder)[2]).status == "pending"
    assert left(folder) == []


def test_whoever_takes_a_pruned_run_while_the_search_goes_on_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path, PRUNED.replace("trials: 3", "trials: 5"))
    claims: list[Claim] = []
    monkeypatch.setenv("PAUSE", "0.3")

    def take_it(_: Progress) -> None:
        found = [trial for trial in trials(folder) if trial.state == "pruned"]
        if found and not claims:
            attempt = Workspace(folder.workspace).run(record_of(folder, found[0]).run_id).attempts()[0]
            claim = Claim.take(attempt.claim)
            claims.extend([claim] if claim else [])

    search(folder, watch=take_it)
    assert len(claims) == 1 and len(trials(folder)) == 5
    assert not claims[0].asked_to_stop()


FAILING = """\
seeds: 1
search:
  space: {do: [log, silent, diverge]}
  sampler: grid
  enqueue: []
  trials: 9
"""


def test_failed_and_diverged_trials_are_told_with_their_causes_and_only_what_failed_is_tried_again(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path, FAILING)
    outcome = search(folder)
    assert sorted(lost.status for lost in outcome.failed) == ["diverged", "failed"]
    found = {trial.settings["do"]: trial for trial in trials(folder)}
    assert {do: trial.state for do, trial in found.items()} == {
        "log": "complete",
        "silent": "failed",
        "diverge": "failed",
    }
    assert found["silent"].cause.startswith("failed: the command ended well and never gave")
    assert found["diverge"].cause.startswith("diverged: ")
    script = folder.path / "main.py"
    script.write_text(script.read_text().replace('!= "silent"', '!= "nothing"'))
    assert search(folder).started == 1
    assert [(trial.settings["do"], trial.state) for trial in trials(folder)[3:]] == [("silent", "complete")]
    assert trials(folder)[found["silent"].number].again == 3
    assert sum(counts(trial) for trial in trials(folder)) == 3
    assert search(folder).started == 0


def test_a_trials_value_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    folder = make(tmp_path, SEARCH.replace("seeds: 1", "seeds: [3, 5, 8]").replace("trials: 4", "trials: 2"))
    search(folder)
    for trial in trials(folder):
        values = [record_of(folder, trial, seed).curves["val/top1"][3] for seed in (3, 5, 8)]
        assert len(set(values)) == 3
        assert trial.values == (pytest.approx(fmean(values), abs=1e-12),)


def test_a_pruner_of_epochs_sees_the_first_seed_before_others_are_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path, PRUNED.replace("seeds: 1", "seeds: 2"))
    run(ordinary(folder, [{"lr": 0.9, "train.epochs": 6}, {"lr": 0.8, "train.epochs": 6}], seeds="seeds: 2\n"))
    monkeypatch.setenv("PAUSE", "0.4")
    search(folder)
    good, _, poor = trials(folder)
    assert dict(good.curve) == dict(record_of(folder, good, 0).curves["val/top1"])
    assert poor.state == "pruned"
    assert [record_of(folder, poor, seed).attempts for seed in (0, 1)] == [1, 0]


def test_wilcoxon_sees_seeds_as_steps_and_spares_the_last_ones(tmp_path: Path) -> None:
    text = """\
seeds: 6
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: random
  trials: 2
  enqueue: [{lr: 0.9}, {lr: 0.1}]
  pruner: wilcoxon
"""
    folder = make(tmp_path, text)
    search(folder)
    good, poor = trials(folder)
    assert list(good.curve) == [0, 1, 2, 3, 4, 5] and good.state == "complete"
    assert poor.state == "pruned" and list(poor.curve) == [0, 1, 2, 3]  # of 4 pairs the smallest p is 1/16
    assert dict(poor.curve) == {seed: record_of(folder, poor, seed).curves["val/top1"][3] for seed in range(4)}
    assert [record_of(folder, poor, seed).status for seed in range(6)] == ["finished"] * 4 + ["pending"] * 2


def test_a_search_of_minutes_begins_no_trial_after_them_and_ends_what_it_began(tmp_path: Path) -> None:
    folder = make(tmp_path, SEARCH.replace("trials: 4", "minutes: 0.03"))
    search(folder)
    found = trials(folder)
    assert len(found) >= 2 and {trial.state for trial in found} == {"complete"}
    assert found[-1].begun is not None and found[0].begun is not None
    assert found[-1].begun - found[0].begun < 0.03 * 60
    assert search(folder).started == 0, "the minutes are those of all commands together"


def test_a_search_stops_before_its_device_hours_are_spent_and_leaves_what_it_began_to_be_gone_on_with(
    tmp_path: Path,
) -> None:
    text = SEARCH.replace("  trials: 4\n", "").replace(
        "seeds: 1", "seeds: 1\nset: {pause: 0.2}\nbudget: {device_hours: 0.0012}"
    )
    folder = make(tmp_path, text)
    outcome = search(folder)
    assert outcome.halted and not outcome.interrupted
    found = trials(folder)
    assert found[-1].state == "running" and {trial.state for trial in found[:-1]} <= {"complete"}
    assert left(folder) == []


DRIVER = """\
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from slws_lab.lab import executing, searching
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.launch import inventory
from slws_lab.search import book
from lab.test_searching import Quiet
book.STALE_S = 5.0  # for a trial whose process died before it named itself
searching.Shipping, searching.POLL_S, inventory.cores = Quiet, 0.02, lambda: 2
outcome = searching.search(Project.open("studies/tiny.yaml"), Options("local"), lambda _: None)
sys.exit(130 if outcome.interrupted else 0)
"""
KILLED = """\
seeds: 1
set: {pause: 0.1, train.epochs: 4}
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: {name: tpe, n_startup_trials: 3}
  trials: 8
  pruner: {name: median, n_startup_trials: 4, n_warmup_steps: 2}
"""


def start(folder: Folder) -> subprocess.Popen[str]:
    """Search in a process of its own, as `slws run` does."""
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", DRIVER.format(paths=[str(tests)])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder.path, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]


def finish(process: subprocess.Popen[str], code: int = 0) -> None:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, out + err


def told(folder: Folder) -> dict[int, tuple[Any, ...]]:
    """Return what was told of each trial that has ended."""
    return {t.number: (t.state, t.settings, t.values, t.curve, t.ended) for t in trials(folder) if t.state != "running"}


def test_killed_again_and_again_at_random_moments_a_search_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    folder, moments = make(tmp_path, KILLED), random.Random(4)
    before: dict[int, tuple[Any, ...]] = {}
    for kill in range(3):
        process = start(folder)
        begun, at_most = folder.workspace / "runs", 2 * kill
        wait_for(
            lambda b=begun, m=at_most, p=process: len(list(b.glob("*"))) > m or p.poll() is not None, "further trials"
        )  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.8))
        kill_tree(process)
        now = told(folder)
        assert {number: now.get(number) for number in before} == before, "something was told twice"
        before = now
        assert processes(folder) == []
    finish(start(folder))
    found, ended = trials(folder), told(folder)
    assert {number: ended[number] for number in before} == before
    assert [trial.number for trial in found] == list(range(len(found)))
    assert sum(counts(trial) for trial in found) == 8
    assert {trial.state for trial in found} <= {"complete", "pruned"}
    assert len({trial.settings["lr"] for trial in found}) == len(found), "a draw repeats"
    for trial in found:
        record = record_of(folder, trial)
        attempts = Workspace(folder.workspace).run(record.run_id).attempts()
        assert len(attempts) == 1 and attempts[0].lacks() == ""
        if trial.state == "complete":
            assert trial.values == (record.curves["val/top1"][4],)
            assert [entry.step for entry in journal.read(attempts[0].journal)] == [1, 2, 3, 4]
    young = ".tmp"  # in folders that others may write to, half-written files are removed when they are old
    assert [path for path in left(folder) if not path.endswith(young)] == []


def test_an_interrupted_search_stops_its_runs_and_the_same_command_goes_on(tmp_path: Path) -> None:
    folder = make(tmp_path, KILLED.replace("trials: 8", "trials: 3").replace("pause: 0.1", "pause: 0.5"))
    process = start(folder)
    wait_for(
        lambda: list(folder.workspace.glob("runs/*/attempt-1/journal.jsonl")) or process.poll() is not None, "epoch"
    )
    os.kill(process.pid, signal.SIGINT)
    finish(process, 130)
    assert processes(folder) == []
    assert {trial.state for trial in trials(folder)} == {"running"}
    finish(start(folder))
    assert [trial.state for trial in trials(folder)] == ["complete"] * 3
    assert left(folder) == []


def test_the_local_launcher_works_on_as_many_trials_as_there_are_slots(tmp_path: Path) -> None:
    folder, most = make(tmp_path, SEARCH.replace("seeds: 1", "seeds: 1\nset: {pause: 0.2}")), [0]

    def watch(progress: Progress) -> None:
        most[0] = max(most[0], len(progress.running))

    search(folder, "local", watch)
    assert most[0] == 2
    assert len({trial.settings["lr"] for trial in trials(folder)}) == 4


def test_a_mistake_is_told_before_anything_starts(tmp_path: Path) -> None:
    folder = make(tmp_path, recipe=RECIPE.replace("{python} main.py", "pyhton main.py"))
    with pytest.raises(UserError, match="there is no program 'pyhton'"):
        search(folder)
    assert not (folder.workspace / "runs").exists() and not (folder.workspace / "searches").exists()


LARGEST = 9000  # parameters
DEPTHS = """\
name: tiny
question: How deep, within what may be spent?
recipe: ../experiments/tiny.yaml
set: {train.epochs: 1, train.ema_decay: null}
metric: {name: val/top1}
seeds: 1
resources: {gpus: 0}
search:
  space: {model.args.depth: [1, 3]}
  sampler: {name: tpe, n_startup_trials: 1}
  objectives: [metric, latency_ms]
  constraints: {params: LARGEST}
  trials: 2
  enqueue: [{model.args.depth: 3}, {model.args.depth: 1}]
""".replace("LARGEST", str(LARGEST))


def test_what_breaks_a_budget_is_not_trained_and_a_latency_is_measured_once_per_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The science tower answers in this process: the measurement and the training are real."""
    from slws_lab.training import check
    from slws_lab.training.inference import measure_asked

    measured: list[int] = []

    def measure(_: str, question: dict[str, Any]) -> dict[str, Any]:
        found = measure_asked(json.loads(json.dumps(question["measure"])))
        measured.append(found["params"])
        return found

    def ask(_: str, heard: dict[str, Any]) -> Any:
        recipes = [Recipe.model_validate(raw) for raw in json.loads(json.dumps(heard["recipes"]))]
        return json.loads(json.dumps(check(recipes, Path(heard["root"]), heard["scan"])))

    monkeypatch.setattr(science, "ask", ask)
    monkeypatch.setattr(inference, "answer_of", measure)
    folder = make_project(tmp_path / "project", DEPTHS)
    assert search(folder).failed == ()
    deep, flat = trials(folder)
    assert sorted(measured) == sorted([deep.figures["params"], flat.figures["params"]])
    assert deep.figures["params"] > LARGEST >= flat.figures["params"]
    assert (deep.state, deep.values) == ("infeasible", ()) and deep.cause.startswith("params ")
    assert record_of(folder, deep).attempts == 0, "what is too large is not trained"
    assert flat.state == "complete" and flat.feasible
    record, (accuracy, latency) = record_of(folder, flat), flat.values
    assert accuracy == record.curves["val/top1"][1] and latency == flat.figures["latency_ms"] > 0
    assert {"flops", "latency_ms"} & set(flat.figures) == {"latency_ms"}, "only what was asked for"
    assert search(folder).started == 0 and len(measured) == 2
