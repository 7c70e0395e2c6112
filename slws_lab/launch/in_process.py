"""The in-process launcher: executes runs one after the other in this process, so that a debugger can step into them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from slws_lab.launch.feed import Line
from slws_lab.launch.launcher import Job, Work
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt

Execute = Callable[[Path, Work, Callable[[], bool]], str | None]
LOOK_S = 0.2


class InProcess:
    """Executes runs by a function that it is handed, since launchers know nothing of torch.

    Args:
        execute: Called with an attempt's folder, the work, and a function that says whether to stop. It returns what
            `worker.execute` does, or None where the attempt's folder cannot be written.
    """

    name = "in_process"

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        return 1

    def start(self, work: Work) -> list[Job]:
        return [InProcessJob(work, self._execute)]


class InProcessJob:
    """All work, one attempt a poll.

    A caller that feeds the work polls again and again, pausing in between: a poll returns at once where nothing is free. While a
    run is in hand the caller has its say in `work.look_in`, which is called between two steps, at most every `LOOK_S`. It may do
    whatever the caller's own loop does: read journals, add to the list, drop from it, ask attempts to stop, cancel this job, poll it
    (which then does nothing). It draws nothing from global generators, which are the run's. What it raises stops the run with a
    checkpoint, and is raised by the poll that executes it.
    """

    def __init__(self, work: Work, execute: Execute) -> None:
        self._work, self._execute = work, execute
        self._line = Line(work.attempts, work.feed)
        self._in_hand: Attempt | None = None
        self._stopped = False
        self._look_at = 0.0
        self._error: Exception | None = None

    def poll(self) -> bool:
        """Execute the next attempt that is free; it blocks until that has ended."""
        if self._in_hand or self._stopped:
            return not self._stopped
        attempt = self._in_hand = self._line.take()
        if attempt is not None:
            try:
                self._execute_one(attempt)
            finally:
                self._in_hand = None
        fed = self._work.feed is not None and attempt is not None
        return (self._line.open or fed) and not self._stopped

    def cancel(self) -> None:
        self._stopped = True

    def kill(self) -> None:
        self._stopped = True

    def _execute_one(self, attempt: Attempt) -> None:
        status = self._execute(attempt.path, self._work, self._should_stop)
        if status is None or (status == "interrupted" and not self._line.wants()):
            self._line.put_aside()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _should_stop(self) -> bool:
        if self._work.look_in is not None and self._error is None and time.monotonic() >= self._look_at:
            try:
                self._work.look_in()
            except Exception as error:  # the caller's own: no failure of the run
                self._error = error
            self._look_at = time.monotonic() + LOOK_S
        return self._stopped or self._error is not None
