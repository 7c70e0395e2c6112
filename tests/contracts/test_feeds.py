"""What every launcher promises of a list that grows: jobs wait for more, take what is given back, and one run is stopped without the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from places import COMMANDS, Place, left, processes
from slurm_cluster import wait_for

from slws_lab.launch import Feed, Job, Work
from slws_lab.tracking import Attempt, Claim, is_held, starts

every_launcher = pytest.mark.parametrize(
    "place", ["in_process", *COMMANDS, pytest.param("ray_apart", marks=pytest.mark.ray)], indirect=True
)


@dataclass
class Loop:
    """A loop as a search has it: it polls jobs and looks on, also while the one launcher that works when it is polled does so."""

    place: Place
    count: int = 3
    most: int | None = 1
    work: Work = field(init=False)
    feed: Feed = field(init=False)
    jobs: list[Job] = field(init=False)
    steps: list[Callable[[], bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = self.place.work(self.count, most=self.most)
        self.feed = Feed.create(Feed.name(named.jobs))
        self.attempts = [Attempt(path) for path in named.attempts]
        self.work = replace(named, attempts=(), feed=self.feed.path, look_in=self.look)

    def run(self, *steps: Callable[[], Any]) -> None:
        """Start jobs, and take one step after the other, each as often as it takes until it returns something true; then the list is closed."""
        self.steps, self.jobs = [*steps, lambda: self.feed.close() is None], self.place.make().start(self.work)
        until = time.monotonic() + 60
        while jobs := [job for job in self.jobs if job.poll()]:
            assert time.monotonic() < until, f"{len(self.steps)} steps are left of {len(steps)}"
            self.jobs = jobs
            self.look()
            time.sleep(0.02)
        assert self.steps == []
        self.feed.remove()

    def look(self) -> None:
        if self.steps and self.steps[0]():
            del self.steps[0]

    def add(self, *numbers: int) -> Callable[[], bool]:
        return lambda: self.feed.add(self.attempts[number].path for number in numbers) is None

    def drop(self, number: int) -> Callable[[], bool]:
        return lambda: self.feed.drop(self.attempts[number].path) is None

    def started(self, number: int) -> Callable[[], bool]:
        return lambda: starts.starts(self.attempts[number]) > 0

    def ended(self, *numbers: int) -> Callable[[], bool]:
        return lambda: all(self.attempts[number].status for number in numbers)

    def stopped(self, number: int) -> Callable[[], bool]:
        """Return a step that asks an attempt to stop until nobody holds it any more."""

        def ask() -> bool:
            self.attempts[number].ask_to_stop()
            return not is_held(self.attempts[number].claim)

        return ask

    def free(self, number: int) -> Callable[[], bool]:
        return lambda: self.place.hold_of(self.attempts[number].path).unlink() is None

    def hold(self, number: int) -> None:
        self.place.hold_of(self.attempts[number].path).touch()

    def pids(self) -> set[int]:
        """Return who has started the attempts."""
        return {line["pid"] for attempt in self.attempts for line in starts.lines(attempt) if "pid" in line}


@every_launcher
def test_what_comes_later_is_executed_by_the_worker_that_waits_for_it(place: Place) -> None:
    loop = Loop(place)
    loop.run(loop.add(0), loop.ended(0), loop.add(1, 2), loop.ended(1, 2))
    assert [(attempt.status, starts.starts(attempt)) for attempt in loop.attempts] == [("finished", 1)] * 3
    assert len(loop.pids()) == (3 if place.apart else 1)
    assert left(loop.work) == []
    assert processes(replace(loop.work, attempts=tuple(attempt.path for attempt in loop.attempts))) == []


@every_launcher
def test_what_was_dropped_is_not_begun_and_one_that_is_added_again_is(place: Place) -> None:
    loop = Loop(place, 4)
    loop.hold(0)
    loop.run(
        loop.add(0, 1, 2, 3), loop.started(0), loop.drop(1), loop.drop(2), loop.add(2), loop.free(0), loop.ended(2, 3)
    )
    assert [starts.starts(attempt) for attempt in loop.attempts] == [1, 0, 1, 1]
    assert starts.lines(loop.attempts[3])[0]["time"] < starts.lines(loop.attempts[2])[0]["time"]


@every_launcher
def test_one_run_is_stopped_with_a_checkpoint_while_its_job_goes_on_and_is_gone_on_with_when_it_is_asked_for_again(
    place: Place,
) -> None:
    loop = Loop(place, 2)
    loop.hold(0)
    seen: list[Any] = []

    def look() -> bool:
        first = loop.attempts[0]
        seen.extend([first.status, (first.checkpoint / "resume.pt").exists(), starts.lines(first)[-1].get("stopped")])
        return True

    loop.run(
        loop.add(0, 1), loop.started(0), loop.drop(0), loop.stopped(0), loop.ended(1), look, loop.free(0), loop.add(0)
    )
    assert seen == [None, True, True]
    assert [(attempt.status, starts.starts(attempt)) for attempt in loop.attempts] == [("finished", 2), ("finished", 1)]
    assert len(loop.pids()) == (3 if place.apart else 1)


@every_launcher
def test_what_another_process_held_and_gave_back_is_taken(place: Place) -> None:
    loop = Loop(place, 2)
    other = Claim.take(loop.attempts[0].claim)
    assert other is not None
    other.__enter__()
    loop.run(loop.add(0, 1), loop.ended(1), lambda: other.__exit__() is None, loop.ended(0))
    assert [(attempt.status, starts.starts(attempt)) for attempt in loop.attempts] == [("finished", 1)] * 2


@every_launcher
def test_as_many_jobs_wait_as_there_are_slots_and_a_stop_ends_them_all(place: Place) -> None:
    loop = Loop(place, 1, most=None)
    slots = place.make().slots(place.resources)
    loop.run(lambda: len(loop.jobs) == slots, loop.add(0), loop.ended(0))
    loop = Loop(place, 1, most=None)
    jobs: list[Job] = place.make().start(loop.work)
    assert all(job.poll() for job in jobs)
    for job in jobs:
        job.cancel()
    until = time.monotonic() + 60
    while any([job.poll() for job in jobs]):
        assert time.monotonic() < until
        time.sleep(0.02)
    loop.feed.remove()
    assert left(loop.work) == []


@pytest.mark.slurm
@pytest.mark.parametrize("place", ["slurm"], indirect=True)
def test_jobs_on_slurm_that_follow_the_list_of_a_killed_command_are_taken_back_by_the_next(place: Place) -> None:
    before, loop = Loop(place), Loop(place)
    loop.hold(0)
    first = place.make()
    jobs = first.start(before.work)
    before.feed.add([before.attempts[0].path])
    wait_for(lambda: starts.starts(before.attempts[0]), "run")
    array = jobs[0]._array  # type: ignore[attr-defined]
    array.leave(tidy=False)  # as when its process is gone
    loop.feed.add([loop.attempts[0].path])
    loop.run(lambda: starts.starts(loop.attempts[0]) == 2, loop.free(0), loop.add(1), loop.ended(0, 1))
    assert [starts.starts(attempt) for attempt in loop.attempts] == [2, 1, 0]
    assert "stopped" in starts.lines(loop.attempts[0])[1]
    before.feed.remove()
    assert left(loop.work) == [array.folder]  # the next start removes it
