"""A search in a process of its own is killed or interrupted, and the same command ends it as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder
from faults.faults import kill_tree, left, processes, wait_for
from search.line_search import PRUNED, finish, look_often, make, record_of, search, start, trials

from slws_lab.search.trial import counts
from slws_lab.tracking import Workspace, journal
from slws_lab.tracking.claim import Owner

KILLED = """\
seeds: 1
set: {pause: 0.1, train.epochs: 4}
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: {name: tpe, n_startup_trials: 3}
  trials: 6
  pruner: {name: median, n_startup_trials: 3, n_warmup_steps: 2}
"""


def told(folder: Folder) -> dict[int, tuple[Any, ...]]:
    """Return what was told of each trial that has ended."""
    return {t.number: (t.state, t.settings, t.values, t.curve, t.ended) for t in trials(folder) if t.state != "running"}


def test_killed_again_and_again_at_random_moments_a_search_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    folder, moments = make(tmp_path, KILLED), random.Random(4)
    before: dict[int, tuple[Any, ...]] = {}
    for kill in range(2):
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
    assert sum(counts(trial) for trial in found) == 6
    assert {trial.number: trial.cause for trial in found if trial.state not in ("complete", "pruned")} == {}
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
    folder = make(tmp_path, KILLED.replace("trials: 6", "trials: 2").replace("pause: 0.1", "pause: 0.5"))
    process = start(folder)
    wait_for(
        lambda: list(folder.workspace.glob("runs/*/attempt-1/journal.jsonl")) or process.poll() is not None, "epoch"
    )
    os.kill(process.pid, signal.SIGINT)
    finish(process, 130)
    assert processes(folder) == []
    assert {trial.state for trial in trials(folder)} == {"running"}
    finish(start(folder))
    assert [trial.state for trial in trials(folder)] == ["complete"] * 2
    assert left(folder) == []


def test_what_a_killed_worker_left_at_a_run_that_has_ended_or_was_pruned_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One died while it gave its claim back, one held a run that was pruned by whoever went on: nobody takes either again."""
    look_often(monkeypatch)
    folder = make(tmp_path, PRUNED)
    monkeypatch.setenv("PAUSE", "0.1")
    search(folder)
    assert [trial.state for trial in trials(folder)] == ["complete", "complete", "pruned"]
    whole, _, pruned = (
        Workspace(folder.workspace).run(record_of(folder, trial).run_id).attempts()[0] for trial in trials(folder)
    )
    assert (whole.status, pruned.status) == ("finished", None)
    whole.claim.mkdir()
    (whole.path / ".claim.0123").mkdir()
    sheet = pruned.claim / "token/owner.json"
    sheet.parent.mkdir(parents=True)
    sheet.write_text(json.dumps({**asdict(Owner.me()), "started": "1"}))  # a former process of this number
    assert len(left(folder)) == 3
    search(folder)
    assert left(folder) == []
    assert pruned.journal.exists()
