"""Confirming what a search found: its best settings with fresh seeds, the winner's curse, and the test split read once."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from command.trainer import make_command_project
from conftest import Folder, make_project
from scipy.stats import t

from slws_lab.analysis import searching
from slws_lab.analysis.statistics import Paired
from slws_lab.cli import show_trials
from slws_lab.errors import UserError
from slws_lab.lab import data_checking, executing, science, search_reporting, testing
from slws_lab.lab.confirming import Confirmed, confirm, confirming
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.lab.standing import Standing
from slws_lab.lab.testing import read_before
from slws_lab.launch import Work
from slws_lab.reports.report import write_report
from slws_lab.search.trial import Trial
from slws_lab.spec import Recipe
from slws_lab.spec.handoff import known_as
from slws_lab.spec.levels import Settings
from slws_lab.tracking import Attempt, RunFolder, journal, provenance, read_json, starts
from slws_lab.training import check
from slws_lab.training.answering import told

COMMAND = """\
name: tiny
question: Which rate?
recipe: ../experiments/tiny.yaml
search:
  space: {lr: {log: [0.01, 1.0]}, train.epochs: {int: [1, 4]}}
  trials: 5
  confirm: {top: 2, seeds: 3}
seeds: [0, 1]
metric: {name: val/top1}
resources: {gpus: 0}
"""
DIGITS = """\
name: tiny
question: Which rate?
recipe: ../experiments/tiny.yaml
set: {train.epochs: 1, shuffle.schedule: none}
search:
  space: {train.lr: {log: [1e-4, 1e-1]}}
  trials: 5
  confirm: {top: 2, seeds: 3}
seeds: 1
metric: {name: val/top1, weights: raw}
resources: {gpus: 0}
"""


def trial(number: int, value: float, state: Any = "complete", feasible: bool = True, **settings: Any) -> Trial:
    given: Settings = {name.replace("__", "."): level for name, level in settings.items()}
    return Trial(number, given, state, (value,) if state == "complete" else (), feasible=feasible)


BASELINE = trial(0, 64.5, lr=0.1, train__epochs=3)
TRIALS = [
    BASELINE,
    trial(1, 70.0, lr=0.3, train__epochs=3),
    trial(2, 99.0, "pruned", lr=0.9, train__epochs=3),
    trial(3, 75.0, lr=0.5, train__epochs=3),
    trial(4, 98.0, feasible=False, lr=0.8, train__epochs=3),
    trial(5, 60.0, lr=0.05, train__epochs=3),
]


def planted(purse: object, path: Path, work: Work, should_stop: object) -> None:
    """Leave what a training would: a value of 49 and its seed."""
    attempt = Attempt(path)
    starts.note_start(attempt, threads=1, made_by="planted")
    journal.append(attempt.journal, 1, 1.0, {"val/top1": 49.0 + RunFolder(path.parent).spec().seed})
    made = {"started": 1.0, "finished": 2.0, "device": "cpu", "threads": 1, "scan_backend": "", "epochs": 1}
    attempt.finish({**made, "status": "finished", "cause": "", "provenance": provenance.gather(work.root)})


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ship and draw nothing, and let the science tower answer in this process: all of it takes seconds."""

    class Nowhere:
        def __init__(self, project: Project) -> None: ...
        def start(self) -> None: ...
        def finish(self) -> str:
            return ""

    def ask(module: str, question: Any) -> Any:
        heard = json.loads(json.dumps(question))
        if module == "training":
            recipes = [Recipe.model_validate(raw) for raw in heard["recipes"]]
            return json.loads(json.dumps(check(recipes, Path(heard["root"]), heard["scan"])))
        return json.loads(json.dumps(told(importlib.import_module(f"slws_lab.{module}").answer, heard)))

    monkeypatch.setattr(executing, "Shipping", Nowhere)
    monkeypatch.setattr("slws_lab.lab.confirming.attempt", lambda *_, **__: "")
    monkeypatch.setattr("slws_lab.lab.confirming.report", lambda _: None)
    for place in (science, data_checking):
        monkeypatch.setattr(place, "ask", ask)


def opened(folder: Folder, study: str) -> Project:
    folder.study.write_text(study)
    return Project.open(str(folder.study))


def confirmed(project: Project, trials: list[Trial]) -> Confirmed:
    found = confirm(project, trials, Options("in_process"), lambda _: None)
    assert found is not None
    return found


def test_the_best_settings_that_count_are_confirmed_beside_the_baseline(tmp_path: Path) -> None:
    project = opened(make_command_project(tmp_path / "p"), COMMAND)
    found = confirming(
        project, [*TRIALS, trial(6, 80.0, lr=0.5, train__epochs=3), trial(7, 90.0, lr=0.1, train__epochs=3)]
    )
    assert found is not None
    assert [arm.settings["lr"] for arm in found.project.design.arms] == [0.1, 0.5, 0.3]
    numbers = {arm.settings["lr"]: found.trials[arm.id] for arm in found.project.design.arms}
    assert {lr: one and one.number for lr, one in numbers.items()} == {0.1: 7, 0.5: 6, 0.3: 1}
    assert (found.project.design.seeds, found.project.report_folder.name) == ((2, 3, 4), "tiny-confirm")


@pytest.mark.parametrize("trials", [[], [BASELINE], [TRIALS[2]], [TRIALS[4]], [trial(1, 5.0, lr=0.1)]])
def test_where_no_trial_but_the_baseline_counts_there_is_nothing_to_confirm(
    tmp_path: Path, trials: list[Trial]
) -> None:
    project = opened(make_command_project(tmp_path / "p"), COMMAND)
    assert confirming(project, trials) is None
    assert confirm(project, trials, Options("in_process"), lambda _: None) is None
    assert not project.workspace.runs.exists()


def test_a_commands_search_is_confirmed_reported_and_mirrored_and_has_no_test_split(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    folder = make_command_project(tmp_path / "p")
    project = opened(folder, COMMAND.replace("top: 2", "top: 1"))
    found = confirmed(project, TRIALS)
    assert (found.outcome.started, found.outcome.failed, found.tested) == (6, (), None)
    looked, own = [gap.searched - gap.confirmed for gap in found.gaps]
    assert found.notes == (
        f"trial 3 looked better in the search than with fresh seeds by {looked:+.2f} points, "
        f"beyond the baseline by {looked - own:+.2f} points".replace("-", "−"),
        "the runs are a command's: of a test split only the command knows, so none was read",
    )
    assert (folder.path / "reports/tiny-confirm/report.html").exists()
    assert not (folder.path / "reports/tiny").exists()
    client = MlflowClient(f"sqlite:///{folder.workspace / 'mlflow.db'}")
    assert client.get_experiment_by_name("tiny-confirm") is not None
    first, baseline = found.gaps
    assert [(gap.label, gap.trial, gap.searched, gap.n) for gap in found.gaps] == [
        ("lr=0.5", 3, 75.0, 3),
        ("lr=0.1", None, 64.5, 3),
    ]
    records = found.confirming.table.records
    values = [records[run_id].value(found.confirming.project.study.spec.metric) or math.nan for run_id in first.run_ids]
    half = t.ppf(0.975, 2) * (sum((v - mean(values)) ** 2 for v in values) / 2 / 3) ** 0.5
    assert (first.confirmed, first.low, first.high) == pytest.approx(
        (mean(values), mean(values) - half, mean(values) + half)
    )
    assert 72 < first.confirmed < 73 and first.searched > first.confirmed > baseline.confirmed
    again = confirming(project, TRIALS)
    assert again is not None and again.gaps() == found.gaps


@pytest.mark.usefixtures("alone")
def test_a_search_may_lack_its_baseline_and_a_setting_that_diverges_has_no_mean(tmp_path: Path) -> None:
    project = opened(
        make_command_project(tmp_path / "p"), COMMAND.replace("train.epochs: {int: [1, 4]}", "do: [null, diverge]")
    )
    found = confirmed(project, [trial(1, 70.0, lr=0.1, do="diverge")])
    assert [(gap.trial, gap.n, len(gap.run_ids)) for gap in found.gaps] == [(1, 0, 0), (None, 3, 3)]
    assert math.isnan(found.gaps[0].confirmed) and found.gaps[0].low is None and math.isnan(found.gaps[1].searched)


@pytest.mark.usefixtures("alone")
def test_the_test_split_is_read_once_of_the_best_and_the_baseline_when_every_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = opened(make_project(tmp_path / "p"), DIGITS)
    trials = [trial(1, 60.0, train__lr=0.0002)]
    read: list[str] = []
    plain = testing.evaluate_run

    def evaluate(name: str, options: Any, *places: Path) -> dict[str, Any]:
        if len(read) == 2:
            read.append("stopped")
            raise KeyboardInterrupt
        read.append(name)
        return plain(name, options, *places)

    def gone(*_: object) -> dict[str, Any]:
        raise UserError("the weights of x are gone")

    monkeypatch.setattr(testing, "evaluate_run", evaluate)
    part = confirm(project, trials, Options("in_process", {"seed": "1"}), lambda _: None)
    assert part is not None and part.tested is None and [gap.n for gap in part.gaps] == [1, 1]
    assert part.notes[0].startswith("trial 1 looked better in the search") and read == []
    assert part.notes[1].startswith("the test split was not read")
    with pytest.raises(KeyboardInterrupt):
        confirmed(project, trials)
    with monkeypatch.context() as patch:
        patch.setattr(testing, "evaluate_run", gone)
        stuck = confirmed(project, trials)
    assert stuck.tested is None and "the weights of x are gone" in stuck.notes[1]
    assert read_before(stuck.confirming.project, stuck.confirming.test_file) is None
    found = confirmed(project, trials)
    assert found.outcome.started == 0 and found.tested is not None and len(found.notes) == 1
    tested = found.tested
    arms = found.confirming.project.design.arms
    runs = found.confirming.project.design.run_ids
    assert tested.best == found.gaps[0].label == arms[1].label
    read.remove("stopped")
    assert sorted(read) == sorted(runs[arm.id, seed] for arm in (arms[1], arms[0]) for seed in (1, 2, 3))
    assert (tested.figure, tested.weights, list(tested.values), list(tested.baseline)) == (
        "top1",
        "last",
        [1, 2, 3],
        [1, 2, 3],
    )
    kept = read_json(tested.file)["read"]
    assert tested.values == {seed: kept[runs[arms[1].id, seed]]["last"]["top1"] for seed in (1, 2, 3)}
    assert tested.difference.delta == pytest.approx(mean(tested.values.values()) - mean(tested.baseline.values()))
    assert len({one["last"]["n"] for one in kept.values()}) == 1
    again = confirmed(project, trials)
    assert again.tested == tested and len(read) == 6
    assert again.notes[1:] == (f"the test split was read before, and is not read again: {tested.file}",)
    assert read_before(again.confirming.project, again.confirming.test_file) == tested and len(read) == 6
    later = confirmed(project, [*trials, trial(4, 90.0, train__lr=0.03)])
    assert later.outcome.started == 3 and later.tested == tested and len(read) == 6
    assert later.notes[2:] == (f"it was read for {tested.best}, the best at that time; now {later.gaps[0].label} is, by its fresh mean",)  # fmt: skip
    shown: list[Any] = []
    opened_again = project.with_trials(tuple(trials))
    monkeypatch.setattr(search_reporting, "write_report", lambda *_: None)
    monkeypatch.setattr(search_reporting, "write_search_report", lambda *given: shown.append(given[-1]))
    monkeypatch.setattr(Standing, "of", lambda _: Standing(opened_again, "5 trials"))
    search_reporting.search_report(opened_again, again.confirming.table)
    assert shown[0].tested == tested and shown[0].gaps == again.gaps and len(read) == 6


@pytest.mark.usefixtures("alone")
def test_a_gap_is_of_the_searchs_objective_with_what_the_setting_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executing, "_execute_here", planted)
    objective = "  objectives: [{name: mnasnet, target_ms: 2.0, hard: true}]\n  trials: 5"
    study = DIGITS.replace("  trials: 5", objective).replace("top: 2", "top: 1")
    project = opened(make_project(tmp_path / "p"), study)
    found = confirmed(project, [Trial(1, {"train.lr": 0.03}, "complete", (30.0,), figures={"latency_ms": 4.0})])
    top, baseline = found.gaps
    assert found.confirming.best() == found.confirming.project.design.arms[1]
    assert (top.searched, top.confirmed, top.n) == (30.0, 25.5, 3)  # twice the target's latency: half of 50, 51, 52
    assert baseline.n == 0 and math.isnan(baseline.confirmed)  # nobody measured its latency


@pytest.mark.usefixtures("alone")
def test_the_best_by_fresh_seeds_is_the_objectives_and_not_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faster(purse: object, path: Path, work: Work, should_stop: object) -> None:
        """Leave an accuracy that grows with the rate; the larger rates are the slower ones, see below."""
        attempt = Attempt(path)
        starts.note_start(attempt, threads=1, made_by="planted")
        spec = RunFolder(path.parent).spec()
        journal.append(attempt.journal, 1, 1.0, {"val/top1": 40.0 + 100 * spec.train.lr + spec.seed})  # type: ignore[union-attr]
        made = {"started": 1.0, "finished": 2.0, "device": "cpu", "threads": 1, "scan_backend": "", "epochs": 1}
        attempt.finish({**made, "status": "finished", "cause": "", "provenance": provenance.gather(work.root)})

    monkeypatch.setattr(executing, "_execute_here", faster)
    monkeypatch.setattr(testing, "evaluate_run", lambda *_: {"weights": {"last": dict.fromkeys(testing.KEPT, 50.0)}})
    for objective, chosen in (("{name: mnasnet, target_ms: 2.0, hard: true}", 0.01), ("latency_ms", 0.01)):
        search = f"  objectives: [{objective}]\n  trials: 5"
        project = opened(make_project(tmp_path / objective[:5].strip("{")), DIGITS.replace("  trials: 5", search))
        slow = Trial(1, {"train.lr": 0.09}, "complete", (9.0,), figures={"latency_ms": 4.0})
        quick = Trial(2, {"train.lr": 0.01}, "complete", (8.0,), figures={"latency_ms": 2.0})
        found = confirmed(project, [slow, quick])
        best = found.confirming.best()
        assert best is not None and best.settings["train.lr"] == chosen
        assert found.tested is not None and found.tested.best == best.label


@pytest.mark.usefixtures("alone")
def test_a_changed_search_of_the_same_name_keeps_its_own_test_figures(tmp_path: Path) -> None:
    project = opened(make_command_project(tmp_path / "p"), COMMAND)
    first = confirming(project, TRIALS)
    other = confirming(opened(make_command_project(tmp_path / "q"), COMMAND.replace("[1, 4]", "[1, 5]")), TRIALS)
    assert first is not None and other is not None
    assert first.test_file.name.startswith("tiny-") and first.test_file.name != other.test_file.name
    assert first.test_file.parent == project.workspace.path / "searches"
    longer = confirming(opened(make_command_project(tmp_path / "r"), COMMAND.replace("trials: 5", "trials: 9")), TRIALS)
    assert longer is not None and longer.test_file.name == first.test_file.name  # the same search goes on


def test_the_page_of_a_confirmation_names_a_study_that_commands_know(tmp_path: Path) -> None:
    project = opened(make_command_project(tmp_path / "p"), COMMAND)
    found = confirming(project, TRIALS)
    assert found is not None
    assert (known_as(found.project.study), known_as(project.study)) == ("tiny", "tiny")
    page = (write_report(found.table, found.project.study, tmp_path / "out").folder / "report.html").read_text()
    assert "slws rerun tiny " in page and "slws rerun tiny-confirm" not in page
    named = opened(make_command_project(tmp_path / "q"), COMMAND.replace("name: tiny", "name: my-confirm"))
    assert known_as(named.study) == "my-confirm"


@pytest.mark.usefixtures("alone")
def test_the_terminal_and_its_json_say_what_failed_in_the_confirmation_and_what_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = COMMAND.replace("train.epochs: {int: [1, 4]}", "do: [null, raise]").replace("trials: 5", "trials: 1")
    project = opened(make_command_project(tmp_path / "p"), study)
    found = confirmed(project, [trial(1, 70.0, lr=0.2, do="raise")])
    assert len(found.outcome.failed) == 3
    standing = Standing(project.with_trials((trial(1, 70.0, lr=0.2, do="raise"),)), "1 trials")
    read = searching.Tested("lr=0.2", "top1", "last", {2: 5.0}, {2: 4.0}, Paired(1, 1.0), tmp_path / "kept.json")
    ended = executing.Outcome(1, (), False, 1.0, "")
    shown = replace(found, tested=read)
    show_trials.outcome(standing, ended, shown, None, "", False)
    out, err = capsys.readouterr()
    assert err.count("confirmation: lr=0.2, do=raise") == 3 and err.count("    log: ") == 3
    assert "difference +1.00 points. Kept in" in out
    show_trials.outcome(standing, ended, shown, None, "", True)
    said = json.loads(capsys.readouterr().out)["confirmation"]
    assert said["study"] == "tiny-confirm" and len(said["failed"]) == 3 and said["report"] is None
    assert said["tested"]["difference"]["delta"] == 1.0 and said["notes"] == list(found.notes)
    show_trials.status(standing, False)
    out = capsys.readouterr().out
    assert out.count("do=raise · seed") == 3 and out.count(" failed: ") == 3
    show_trials.status(standing, True)
    failed = json.loads(capsys.readouterr().out)["confirmation"]["failed"]
    assert len(failed) == 3 and all(one["cause"] for one in failed)
