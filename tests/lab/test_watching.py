"""Watching: what has ended and what is in hand is seen, however many tasks there are, without looking at all of them each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Folder

from slws_lab.lab import watching
from slws_lab.lab.planning import plan
from slws_lab.lab.project import Project
from slws_lab.lab.watching import Task, Watched
from slws_lab.tracking import Attempt, Claim
from slws_lab.tracking.causes import kind_of


@dataclass
class Tasks:
    """Made-up tasks, and how often the result of each was looked for."""

    ones: list[Task]
    looks: dict[str, int]

    def end(self, number: int, status: str = "finished", cause: str = "") -> None:
        attempt = self.ones[number].attempt
        attempt.path.mkdir(parents=True, exist_ok=True)
        attempt.finish({"status": status, "cause": cause})


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    """Three hundred tasks, and a clock that stands still, so that a second look is no look at all."""
    made = Tasks([], {})

    def looked(attempt: Attempt) -> dict[str, Any] | None:
        made.looks[attempt.run_id] = made.looks.get(attempt.run_id, 0) + 1
        return real(attempt)

    real = Attempt.result
    monkeypatch.setattr(Attempt, "result", looked)
    arm: Any = SimpleNamespace(label="arm")
    for i in range(300):
        run: Any = SimpleNamespace(run_id=f"r{i}", arm=arm, seed=i)
        made.ones.append(Task(run, Attempt(tmp_path / f"r{i}" / "attempt-1")))
    return made


def test_each_look_sees_what_comes_next_and_not_all(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    watched.add(tasks.ones)
    watched.look()
    assert len(tasks.looks) == 300
    monkeypatch.setattr(watched, "_whole_at", float("inf"))
    tasks.end(0)
    tasks.end(1, "failed", "why")
    tasks.end(200)
    tasks.looks.clear()
    watched.look()
    assert (set(watched.ended), len(tasks.looks)) == ({"r0", "r1"}, watching.NEXT)
    assert [(e.lost.seed, e.lost.status, e.lost.cause) for e in watched.ended.values() if e.status == "failed"] == [
        (1, "failed", "why")
    ]
    monkeypatch.setattr(watched, "_whole_at", 0.0)
    watched.look()
    assert set(watched.ended) == {"r0", "r1", "r200"}


def test_what_is_in_hand_is_seen_at_every_look_and_is_not_free(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    watched.add(tasks.ones)
    far = tasks.ones[250].attempt
    far.path.mkdir(parents=True)
    claim = Claim.take(far.claim)
    assert claim
    with claim:
        free = watched.free()
        assert [task.run.run_id for task in watched.held] == ["r250"]
        assert (len(free), far.path in free) == (299, False)
        monkeypatch.setattr(watched, "_whole_at", float("inf"))
        tasks.end(250)
        watched.look()
        assert (set(watched.ended), watched.held) == ({"r250"}, ())


def test_a_run_whose_folder_takes_no_attempt_is_told_and_costs_no_other_run(
    project: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Project.open(str(project.study))
    monkeypatch.setattr("slws_lab.lab.science.check", lambda *_: {a.id: {} for a in opened.design.arms})
    first, second, *_ = plan(opened).runs
    shut, real = opened.workspace.run(first.run_id).path, Path.mkdir

    def refused(path: Path, *arguments: Any, **more: Any) -> None:
        if path.is_relative_to(shut):
            raise PermissionError(13, "Permission denied", str(path))
        real(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", refused)
    watched = Watched()
    watched.add(Task.of(opened, run, replace=False) for run in (first, second))
    watched.look()
    watched.give_up_shut()
    (ended,) = watched.ended.values()
    assert (ended.task.run, ended.status, kind_of(ended.cause).name) == (first, "failed", "folder")
    assert [path.parent.name for path in watched.free()] == [second.run_id]


def test_another_attempt_at_a_run_takes_the_place_of_the_one_that_ended(tasks: Tasks) -> None:
    watched = Watched()
    tasks.end(0, "failed")
    watched.add(tasks.ones[:2])
    watched.look()
    again = Task(tasks.ones[0].run, Attempt(tasks.ones[0].attempt.path.with_name("attempt-2")))
    watched.add([again])
    watched.look()
    assert (watched.total, list(watched.ended), watched.left) == (2, [], True)
    assert again.attempt.path in watched.free()
