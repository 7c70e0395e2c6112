"""The loop of a search with a pruner: what is pruned has no result, spares what was not begun, and can be gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.faults import left
from search.line_search import PRUNED, look_often, make, ordinary, record_of, run, search, trials

from slws_lab.lab.executing import Progress
from slws_lab.lab.project import Project
from slws_lab.tracking import Claim, Workspace, journal


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)


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
        found = [] if claims else [trial for trial in trials(folder) if trial.state == "pruned"]
        if found:
            attempt = Workspace(folder.workspace).run(record_of(folder, found[0]).run_id).attempts()[0]
            claim = Claim.take(attempt.claim)
            claims.extend([claim] if claim else [])

    search(folder, watch=take_it)
    assert len(claims) == 1 and len(trials(folder)) == 5
    assert not claims[0].asked_to_stop()


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
