"""The in-process launcher beside a loop that looks on between the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slws_lab.launch import Feed, InProcess, Job, Work, in_process
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(in_process, "LOOK_S", 0.0)
    feed = Feed.create(Feed.name(tmp_path))
    paths = [tmp_path / "runs" / f"r{i}" / "attempt-1" for i in range(2)]
    for path in paths:
        path.mkdir(parents=True)
    feed.add(paths)
    return Work(tmp_path, (), Resources(), tmp_path, feed=feed.path)


def ten_steps(path: Path, work: Work, should_stop: Callable[[], bool]) -> str:
    """Execute a run of ten steps, each of which the loop may look at; what goes wrong in it is a failure, as in the worker."""
    try:
        status = "interrupted" if any(should_stop() for _ in range(10)) else "finished"
    except ZeroDivisionError:
        status = "failed"
    if status != "interrupted":
        Attempt(path).finish({"status": status})
    return status


def statuses(work: Work) -> list[str | None]:
    return [Attempt(path).status for path in Feed.read(work.feed).known]  # type: ignore[arg-type]


def test_a_loop_looks_on_between_steps_and_may_poll_there(work: Work) -> None:
    looks: list[bool] = []
    jobs: list[Job] = []
    jobs += InProcess(ten_steps).start(replace(work, look_in=lambda: looks.append(jobs[0].poll())))
    assert jobs[0].poll()
    assert statuses(work) == ["finished", None]
    assert looks == [True] * 10


def test_what_the_loop_raises_stops_the_run_and_is_no_failure_of_it(work: Work) -> None:
    def look() -> None:
        raise ZeroDivisionError("the loop's own")

    (job,) = InProcess(ten_steps).start(replace(work, look_in=look))
    with pytest.raises(ZeroDivisionError, match="the loop's own"):
        job.poll()
    assert statuses(work) == [None, None]


def test_a_run_that_lost_a_process_goes_back_and_so_does_one_that_was_stopped_and_is_wanted_until_it_is_dropped(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slws_lab.launch.feed.HELD_S", 0.0)
    assert work.feed is not None
    feed = Feed(work.feed)
    ends: Iterator[str] = iter(["lost", "interrupted", "interrupted", "finished"])
    done: list[tuple[str, str]] = []

    def execute(path: Path, work: Work, should_stop: Callable[[], bool]) -> str:
        done.append((path.parent.name, next(ends)))
        if done[-1][1] == "finished":
            Attempt(path).finish({"status": "finished"})
        elif len(done) == 3:
            feed.drop(path)
        return done[-1][1]

    (job,) = InProcess(execute).start(work)
    assert [job.poll() for _ in range(5)] == [True] * 5
    assert done == [("r0", "lost"), ("r0", "interrupted"), ("r0", "interrupted"), ("r1", "finished")]
