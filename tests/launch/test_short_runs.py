"""A worker that works off many short runs is never taken for one that hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slws_lab.lab.project import Project
from slws_lab.launch import Local, Work, process
from slws_lab.tracking import Attempt, starts

RECIPE = """\
kind: command
name: nothing
command: "printf 'top1 %s\\\\n' {run.value}{seed}"
fields: {run.value: {type: int, value: 10}}
metrics: {stdout: 'top1 (?P<top1>\\d+)', names: {val/top1: top1}}
"""
STUDY = """\
name: short
question: Does anything end early?
recipe: recipe.yaml
factors: {run.value: [1, 2, 3]}
designs: [{grid: [run.value]}]
seeds: 15
metric: {name: val/top1}
resources: {gpus: 0}
"""


def test_a_worker_outlives_runs_that_end_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = process.WorkerProcess._attempts

    def many(self: process.WorkerProcess) -> Iterator[Attempt]:
        yield from listed(self)
        time.sleep(0.3)  # as long as it takes to look at ten thousand attempts

    monkeypatch.setattr(process.WorkerProcess, "_attempts", many)
    monkeypatch.setattr(process, "LOOK_S", 0.0)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "study.yaml").write_text(STUDY)
    project = Project.open(str(tmp_path / "study.yaml"))
    runs = [arm.run(seed) for arm in project.design.arms for seed in project.design.seeds]
    for run in runs:
        project.workspace.run(run).create(run)
    attempts = [project.workspace.run(run).attempt(1) for run in runs]
    work = Work(tmp_path, tuple(a.path for a in attempts), project.study.spec.resources, project.workspace.jobs)
    jobs = Local().start(work)
    while any([job.poll() for job in jobs]):
        time.sleep(0.05)
    assert [attempt.status for attempt in attempts] == ["finished"] * len(runs)
    begun = [line["pid"] for attempt in attempts for line in starts.lines(attempt) if "pid" in line]
    assert (len(begun), len(set(begun))) == (len(runs), len(jobs))
