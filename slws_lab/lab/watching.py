"""Watching tasks: which have ended, which are in hand, which are free; the time that looking takes is bounded however many there are."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.lab.triage import Lost
from slws_lab.spec.kinds import AnyRecipe
from slws_lab.tracking import Attempt, is_held, journal
from slws_lab.tracking.files import NotWritten

NEXT = 64  # free attempts, in the order in which jobs take them, that every look looks at
SHARE = 20  # a look at all is followed by a time so many times as long without one


@dataclass(frozen=True)
class Task:
    """A run, and the attempt that executes it."""

    run: PlannedRun
    attempt: Attempt

    @classmethod
    def of(cls, project: Project, run: PlannedRun, *, replace: bool) -> Task:
        """Make the folder of the attempt that comes next by the run's record; another process that read the same makes the same.

        With `replace` the tables use this attempt as soon as it has a result, also if this process does not live to see it.
        """
        folder = project.workspace.run(run.run_id)
        attempt = Attempt(folder.path / f"attempt-{run.record.next_attempt}")
        with suppress(PermissionError, NotWritten):  # of one folder: `give_up_shut` tells of it, and the others go on
            folder.create(run.arm.run(run.seed))
            attempt.path.mkdir(parents=True, exist_ok=True)
            if replace:
                folder.choose(attempt)
        return cls(run, attempt)

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return max((entry.step for entry in journal.read(self.attempt.journal)), default=0)


@dataclass(frozen=True)
class Ended:
    """How a task has ended."""

    task: Task
    status: str
    cause: str

    @property
    def lost(self) -> Lost:
        run = self.task.run
        return Lost(run.arm.label, run.seed, self.status, self.cause, self.task.attempt.log)


class Watched:
    """All tasks of a command, as they stood at the last look."""

    def __init__(self) -> None:
        self.ended: dict[str, Ended] = {}
        self._left: dict[str, Task] = {}
        self._held: dict[str, Task] = {}
        self._whole_at = 0.0

    @property
    def total(self) -> int:
        return len(self.ended) + len(self._left)

    @property
    def held(self) -> tuple[Task, ...]:
        """The tasks that some process works on."""
        return tuple(self._held.values())

    @property
    def recipes(self) -> dict[Path, AnyRecipe]:
        """Folder of each attempt that has not ended -> its recipe."""
        return {task.attempt.path: task.run.arm.recipe for task in self._left.values()}

    @property
    def left(self) -> bool:
        """Whether any has not ended."""
        return bool(self._left)

    def add(self, tasks: Iterable[Task]) -> None:
        """Watch further tasks; another attempt at a run takes the place of the one before."""
        for task in tasks:
            self.ended.pop(task.run.run_id, None)
            self._left[task.run.run_id] = task
        self._whole_at = 0.0

    def look(self, *, whole: bool = False) -> None:
        """See what has ended, and what is in hand: always of what was in hand and of what comes next, now and then of all, and if asked."""
        started = time.monotonic()
        whole = whole or started >= self._whole_at
        names = list(self._left) if whole else [*self._held, *self._next()]
        for name in names:
            task = self._left[name]
            result = task.attempt.result()
            if result is not None:
                self.ended[name] = Ended(task, str(result["status"]), str(result.get("cause", "")))
                del self._left[name]
                self._held.pop(name, None)
            elif is_held(task.attempt.claim):
                self._held[name] = task
            else:
                self._held.pop(name, None)
        if whole:
            now = time.monotonic()
            self._whole_at = now + SHARE * (now - started)

    def give_up_shut(self) -> None:
        """Count as failed those that nobody works on and whose folder cannot be written, while the rest of the workspace can."""
        for name, task in list(self._left.items()):
            if name not in self._held and (why := task.attempt.shut()):
                self.ended[name] = Ended(task, "failed", f"its folder cannot be written: {why}")
                del self._left[name]

    def free(self) -> tuple[Path, ...]:
        """Return the folders of the attempts that nobody works on, in the order in which they are wanted."""
        self.look(whole=True)
        return tuple(task.attempt.path for name, task in self._left.items() if name not in self._held)

    def _next(self) -> list[str]:
        found = []
        for name in self._left:
            if name not in self._held:
                found.append(name)
                if len(found) == NEXT:
                    break
        return found
