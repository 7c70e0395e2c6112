"""A GPU and the workers on it: the first of a shape is alone until its need is measured, then others join while there is room and gain."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slws_lab.errors import UserError
from slws_lab.launch.feed import Feed, Listed
from slws_lab.launch.inventory import Gpu, Inventory
from slws_lab.launch.launcher import LaunchError, Needs, Work
from slws_lab.launch.packing import Room, Wanted, allowance, choose, processes
from slws_lab.launch.process import WorkerProcess, environment
from slws_lab.tracking import Attempt, is_held, journal, starts
from slws_lab.tracking.causes import MEMORY, kind_of
from slws_lab.tracking.claim import owner_of
from slws_lab.tracking.journal import Entry

LOOK_S = 2.0
SHARE = 20  # a look at all attempts is followed by a time so many times as long without one
MEASURE_S = 5.0  # of a worker's attempts together, before they say how fast it is
PATIENCE_S = 300.0
SPEED = "train/images_per_s"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """Images that were made, and the time that it took.

    Attributes:
        seconds: The time.
        images: How many, as the epochs' own speeds say.
    """

    seconds: float
    images: float


@dataclass
class Worker:
    """A worker process, all of whose attempts are of one shape.

    Attributes:
        attempts: What it is to execute -> the number of the last time that it was asked for.
        feed: By which it gets more of its shape; None where nothing more will come.
        idle: Whether it waits for more.
        released: Whether it ends when nothing of its attempts is free.
        started: When it was, seconds since 1970.
        warm: Whether it has ended an epoch: before, it does not yet take its share of the GPU.
        epochs: What its attempts have made since the number of workers was last changed, but in their first epochs.
        wholes: What those of them have made that began and ended since, first epochs and preparation too.
    """

    process: WorkerProcess
    shape: str
    attempts: dict[Path, int]
    feed: Feed | None = None
    idle: bool = False
    released: bool = False
    started: float = field(default_factory=time.time)
    warm: bool = False
    epochs: dict[Path, Made] = field(default_factory=dict)
    wholes: dict[Path, Made] = field(default_factory=dict)

    @property
    def rate(self) -> float | None:
        """The images a second that it makes; whole attempts say so only where none has a second epoch."""
        later = self.epochs.values()
        return rate(later if any(made.seconds for made in later) else self.wholes.values())

    def see(self, attempt: Attempt, since: float, *, ended: bool) -> None:
        """Note what an attempt that it executes, or has just ended, has made since a time."""
        entries = list(journal.read(attempt.journal))
        self.warm = self.warm or any(entry.time > self.started for entry in entries)
        self.epochs[attempt.path] = made(entries, since, whole=False)
        began = _last_start(attempt).get("time", 0.0) if ended else 0.0
        if began >= since:
            self.wholes[attempt.path] = made(entries, began, whole=True)

    def supply(self, wanted: dict[Path, int]) -> None:
        """Tell it what has changed in what it is to execute: all that has not ended and is of its shape."""
        if self.feed is not None and not self.released:
            self.feed.add(path for path, number in wanted.items() if self.attempts.get(path) != number)
            for path in self.attempts.keys() - wanted.keys():
                self.feed.drop(path)
            self.feed.touch()
            self.attempts = wanted

    def release(self) -> None:
        """Let it end when it has worked off what it has."""
        if self.feed is not None and not self.released:
            self.feed.close()
            self.released = True

    def tidy(self) -> None:
        """Remove what is left of it when it has ended."""
        if self.feed is not None:
            self.feed.remove()

    def forget(self) -> None:
        self.epochs.clear()
        self.wholes.clear()


class SharedGpu:
    """A job: the workers of one GPU. As a worker ends, or more becomes known of what runs need, others are started.

    Args:
        work: What there is to do.
        needs: What is known of it.
        gpu: The GPU.
        inventory: Says what of it is taken.
        name: What the files of its workers are called, with a place for their number.
    """

    def __init__(self, work: Work, needs: Needs, gpu: Gpu, inventory: Inventory, name: Callable[[int], str]) -> None:
        self._work, self._needs, self._gpu, self._inventory, self._name = work, needs, gpu, inventory, name
        self._listed = Listed(work.feed, work.attempts)
        self._done: set[Path] = set()
        self._workers: list[Worker] = []
        self._held: dict[int, Attempt] = {}
        self._ended: list[tuple[int, Attempt]] = []
        self._unpackable: set[str] = set()
        self._started = 0
        self._others_gb = 0.0
        self._cancelled = False
        self._look_at = 0.0
        self._unchanged_since = time.time()
        self.waiting_since: float | None = None
        self.beside: Sequence[SharedGpu] = ()
        self._look()

    def poll(self) -> bool:
        """Return whether anything works here, or waits: for memory that other programs hold, or for more attempts.

        Raises:
            LaunchError: Workers die before they start a run, or no GPU has had room for any attempt for long.
        """
        alive = [worker for worker in self._workers if worker.process.poll()]
        ended = [worker for worker in self._workers if worker not in alive]
        if ended:
            for worker in ended:
                worker.tidy()
            self._workers = alive
            self._count_anew()
        news = self._listed.look()
        if not self._cancelled and (ended or news or time.monotonic() >= self._look_at):
            try:
                self._look()
            except UserError as error:  # of one GPU: its runs go on elsewhere
                log.warning("%s; going on without GPU %s", error.given, self._gpu.index)
                self.cancel()
        waits = self.waiting_since is not None or self._listed.open
        return bool(self._workers) or (waits and not self._cancelled)

    def cancel(self) -> None:
        self._cancelled = True
        for worker in self._workers:
            worker.process.cancel()

    def kill(self) -> None:
        self._cancelled = True
        for worker in self._workers:
            worker.process.kill()
            worker.tidy()

    def is_stuck(self, now: float) -> bool:
        """Say whether nothing has worked here for long, or nothing will."""
        waits = self.waiting_since is not None and now - self.waiting_since > PATIENCE_S
        return waits or (self._cancelled and not self._workers)

    def _look(self) -> None:
        """See what has ended and what is held, learn from it, and start workers as long as another one can begin."""
        began = time.monotonic()
        free = self._see()
        now = time.monotonic()
        self._look_at = now + max(LOOK_S, SHARE * (now - began))
        self._learn()
        self._end_surplus()
        while wanted := choose(self._wanted(free), self._room(), self._most):
            self._start(wanted, free)
            free = [attempt for attempt in free if attempt.path != wanted.attempt]
        for worker in self._workers:
            if not self._listed.open or (free and worker.idle):  # its place is wanted by others
                worker.release()
        if self._workers or not free:
            self.waiting_since = None
        else:
            self._wait(free)

    def _see(self) -> list[Attempt]:
        """Note who holds what, and return the attempts that nobody has or is about to take."""
        self._listed.look()
        pids, unheld = {worker.process.pid for worker in self._workers}, set()
        self._held, self._ended = {}, []
        for attempt in [Attempt(path) for path in self._listed.known if path not in self._done]:
            result = attempt.result()
            if result is not None:
                if result["status"] == "failed" and kind_of(str(result.get("cause", ""))) == MEMORY:
                    self._unpackable.add(self._needs.shape(attempt.path))
                if (start := _last_start(attempt)).get("host") == socket.gethostname():
                    self._ended.append((start["pid"], attempt))
                self._done.add(attempt.path)
            elif not is_held(attempt.claim):
                unheld.add(attempt.path)
            elif (owner := owner_of(attempt.claim)) and owner.host == socket.gethostname() and owner.pid in pids:
                self._held[owner.pid] = attempt
        return self._not_taken([Attempt(path) for path in self._listed.wanted if path in unheld])

    def _not_taken(self, free: list[Attempt]) -> list[Attempt]:
        """Return what is free and nobody is about to take: a worker that holds nothing takes the first that it has."""
        wanted = {path: number for path, number in self._listed.wanted.items() if path not in self._done}
        for worker in self._workers:
            if worker.feed is not None:
                worker.supply({path: n for path, n in wanted.items() if self._needs.shape(path) == worker.shape})
            worker.idle = False
            if worker.process.pid not in self._held:
                taken = next((attempt for attempt in free if attempt.path in worker.attempts), None)
                free = [attempt for attempt in free if attempt != taken]
                worker.idle = worker.feed is not None and taken is None
        return free

    def _wanted(self, free: list[Attempt]) -> list[Wanted]:
        """Return the first free attempt of each shape, in the order in which they are wanted."""
        first: dict[str, Path] = {}
        for attempt in free:
            first.setdefault(self._needs.shape(attempt.path), attempt.path)
        return [Wanted(path, shape, self._allowance(shape)) for shape, path in first.items()]

    def _allowance(self, shape: str) -> float | None:
        """Return what is set aside for a worker; None, the whole GPU, also where the measured need has proved too small."""
        return None if shape in self._unpackable else allowance(self._needs.memory_gb(shape, self._gpu.name))

    def _most(self, shape: str) -> int:
        return processes(self._needs.rates(shape, self._gpu.name))

    def _room(self) -> Room:
        """Return the GPU's memory as it is shared; where the driver does not tell our workers' part, others are taken to hold as before."""
        usage = self._inventory.usage(self._gpu)
        pids = [worker.process.pid for worker in self._workers]
        if len(self._held) == len(pids) and all(pid in usage.processes for pid in pids):
            self._others_gb = max(0.0, usage.used_gb - sum(usage.processes[pid] for pid in pids))
        working = [(worker.shape, self._allowance(worker.shape)) for worker in self._workers]
        return Room(self._gpu.memory_gb, self._others_gb, working)

    def _learn(self) -> None:
        """Keep what processes of one shape give together, once that many have worked side by side for long enough."""
        number, shapes = len(self._workers), {worker.shape for worker in self._workers}
        if any(worker.idle for worker in self._workers):
            self._count_anew()
            return
        if len(shapes) != 1:
            return
        (shape,) = shapes
        if number in self._needs.rates(shape, self._gpu.name):
            return
        for worker in self._workers:
            for seen, ended in ((self._held.items(), False), (self._ended, True)):
                for attempt in [attempt for pid, attempt in seen if pid == worker.process.pid]:
                    worker.see(attempt, self._unchanged_since, ended=ended)
        if not all(worker.warm for worker in self._workers):
            self._count_anew()
            return
        rates = [found for worker in self._workers if (found := worker.rate) is not None]
        if len(rates) == number:
            self._needs.note_rate(shape, self._gpu.name, number, sum(rates))

    def _count_anew(self) -> None:
        """Forget how fast workers are: another number of them is at work from now on."""
        self._unchanged_since = time.time()
        for worker in self._workers:
            worker.forget()

    def _end_surplus(self) -> None:
        """Stop the latest workers where fewer give as much, and what begins anew of a shape that is packed no longer.

        They leave checkpoints, from which their runs go on later.
        """
        most = min((self._most(worker.shape) for worker in self._workers), default=0)
        for number, worker in enumerate(self._workers):
            again = worker.shape in self._unpackable and worker.process.pid not in self._held
            if number >= most or (again and len(self._workers) > 1):
                worker.process.cancel()

    def _start(self, wanted: Wanted, free: list[Attempt]) -> None:
        alike = [attempt.path for attempt in free if self._needs.shape(attempt.path) == wanted.shape]
        path = self._work.jobs / self._name(self._started)
        feed = Feed.create(path.with_name(f"{path.name}.feed")) if self._work.feed else None
        work = replace(self._work, attempts=tuple(alike), feed=feed.path if feed else None)
        process = WorkerProcess(work, path, environment(work.resources.threads, self._gpu.visible))
        self._workers.append(Worker(process, wanted.shape, {path: self._listed.wanted[path] for path in alike}, feed))
        self._started += 1
        self._count_anew()

    def _wait(self, free: list[Attempt]) -> None:
        """Wait for memory that other programs hold, until no GPU has had room for long."""
        now = time.monotonic()
        self.waiting_since = self.waiting_since or now
        if all(gpu.is_stuck(now) for gpu in (self, *self.beside)):
            least = min(one.allowance_gb or 0.0 for one in self._wanted(free))
            raise LaunchError(
                f"GPU {self._gpu.index} has had no room for {PATIENCE_S / 60:g} minutes: other programs hold {self._others_gb:.1f} of "
                f"its {self._gpu.memory_gb:.1f} GB, and a run needs {least:.1f} GB\n  to do:   see who they are by nvidia-smi"
            )


def made(entries: Iterable[Entry], since: float, *, whole: bool) -> Made:
    """Return what an attempt has made since a time; entries without a speed, as of a command, say nothing.

    Args:
        entries: Its journal.
        since: Seconds since 1970.
        whole: Whether the attempt began just then, and all counts; else what came before the first entry does not.
    """
    own = [entry for entry in entries if entry.time >= since]
    times = [*([since] if whole else []), *(entry.time for entry in own)]
    timed = zip(times, own if whole else own[1:], strict=False)
    spans = [(entry.time - before, entry.metrics[SPEED]) for before, entry in timed if SPEED in entry.metrics]
    return Made(sum(seconds for seconds, _ in spans), sum(seconds * speed for seconds, speed in spans))


def rate(parts: Iterable[Made]) -> float | None:
    """Return the images a second of several parts together; None while they are too short."""
    parts = list(parts)
    seconds = sum(part.seconds for part in parts)
    return sum(part.images for part in parts) / seconds if seconds >= MEASURE_S else None


def _last_start(attempt: Attempt) -> dict[str, Any]:
    """Return when, where and by which process an attempt was begun or gone on with the last time; empty where nobody knows."""
    known = (line for line in reversed(starts.lines(attempt)) if {"time", "host", "pid"} <= line.keys())
    return next(known, {})
