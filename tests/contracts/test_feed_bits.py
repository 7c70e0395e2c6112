"""A training that was stopped alone, while its job went on with another, and was asked for again ends as an undisturbed one, bit by bit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from training_runs import spec

from slws_lab import worker
from slws_lab.launch import Feed, InProcess, Launcher, Local, Work, inventory
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, Workspace, differences, is_held, journal, starts

EPOCHS = 16
RUN = spec(model={"args": {"embed_dim": 16, "depth": 1}}, train={"epochs": EPOCHS, "batch_size": 256})


def here(path: Path, work: Work, should_stop) -> str:  # type: ignore[no-untyped-def]
    return worker.execute(Attempt(path), worker.Place(work.root, work.resources, should_stop))


@pytest.mark.parametrize("launcher", [Local(), InProcess(here)], ids=["local", "in_process"])
def test_a_training_that_was_stopped_alone_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: Launcher
) -> None:
    monkeypatch.setattr(inventory, "cores", lambda: 1)
    workspace = Workspace(tmp_path / ".slws")
    folder = workspace.run(RUN)
    folder.create(RUN)
    stopped, twin = folder.attempt(1), folder.attempt(2)
    feed = Feed.create(Feed.name(workspace.jobs))
    feed.add([stopped.path, twin.path])
    seen: list[tuple[str | None, bool]] = []

    def look() -> None:
        if twin.status and not seen:
            seen.append((stopped.status, any(stopped.checkpoint.glob("resume*.pt"))))
            feed.add([stopped.path])
            feed.close()
        elif not seen and len(list(journal.read(stopped.journal))) >= 1 and is_held(stopped.claim):
            feed.drop(stopped.path)
            stopped.ask_to_stop()

    work = Work(tmp_path, (), Resources(gpus=0), workspace.jobs, feed=feed.path, look_in=look)
    (job,) = launcher.start(work)
    limit = time.monotonic() + 120
    while job.poll():
        assert time.monotonic() < limit
        look()
        time.sleep(0.02)
    assert seen == [(None, True)]
    assert (stopped.status, (stopped.result() or {})["resumes"]) == ("finished", 1)
    assert [entry.step for entry in journal.read(stopped.journal)] == list(range(1, EPOCHS + 1))
    assert differences(stopped, twin) == []
    assert len({line["pid"] for one in (stopped, twin) for line in starts.lines(one) if "pid" in line}) == 1
