"""A search in a process of its own is killed or interrupted, and the same command ends it as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from conftest import Folder
from faults.faults import kill_tree, left, processes, wait_for
from search.line_search import finish, make, record_of, start, trials

from slws_lab.search.trial import counts
from slws_lab.tracking import Workspace, journal

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
