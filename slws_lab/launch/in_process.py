"""The in-process launcher: executes runs one after the other in this process, so that a debugger can step into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slws_lab.launch.launcher import Job, Work
from slws_lab.spec import Resources

Execute = Callable[[Path, Work, Callable[[], bool]], object]


class InProcess:
    """Executes runs by a function that it is handed, since launchers know nothing of torch.

    Args:
        execute: Called with an attempt's folder, the work, and a function that says whether to stop.
    """

    name = "in_process"

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        return 1

    def start(self, work: Work) -> list[Job]:
        return [InProcessJob(work, self._execute)]


class InProcessJob:
    """All work, one attempt a poll."""

    def __init__(self, work: Work, execute: Execute) -> None:
        self._work, self._execute = work, execute
        self._left = list(work.attempts)
        self._stopped = False

    def poll(self) -> bool:
        """Execute the next attempt; it blocks until that has ended."""
        if self._left and not self._stopped:
            self._execute(self._left.pop(0), self._work, lambda: self._stopped)
        return bool(self._left) and not self._stopped

    def cancel(self) -> None:
        self._stopped = True

    def kill(self) -> None:
        self._stopped = True
