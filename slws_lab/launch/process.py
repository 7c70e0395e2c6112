"""One worker process under supervision: replaced when it dies of something else than the work's end, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from slws_lab.launch.feed import Listed
from slws_lab.launch.launcher import FRESH, UNWRITABLE, LaunchError, Work
from slws_lab.launch.warm import Waiting
from slws_lab.tracking import Attempt, is_held, write_json
from slws_lab.tracking.claim import silent_desk
from slws_lab.tracking.starts import starts

MAX_IDLE_DEATHS = 3
REST_S = 0.5
CALM_S = 60.0
LOOK_S = 10.0
LOG_TAIL = 15


class WorkerProcess:
    """A job on this machine: a worker as a command, in a session of its own, which ends when this process ends.

    Args:
        work: What it is to do.
        path: Where its list of work and its log stand, without their endings.
        environment: All its environment variables, see `environment`.
        python: The Python that it runs in; None for this process's own.
        waiting: A process with that environment and log which waits for its job; None to start one.
    """

    def __init__(
        self,
        work: Work,
        path: Path,
        environment: Mapping[str, str],
        python: str | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        self._listed = Listed(work.feed, work.attempts)
        self._file, self._log = (path.with_name(path.name + ending) for ending in (".json", ".log"))
        self._env, self._python = dict(environment), python
        self._idle_deaths = self._deaths = 0
        self._cancelled = False
        self._rest_until: float | None = None
        self._launched = self._look_at = 0.0
        self._silent = set[Path]()
        write_json(self._file, {
            "root": str(work.root), "resources": work.resources.model_dump(mode="json"),
            "attempts": [str(attempt) for attempt in work.attempts], "feed": str(work.feed) if work.feed else None,
        })  # fmt: skip
        self._launch(waiting)

    @property
    def pid(self) -> int:
        """Number of the process, or of the last one while it is to be replaced."""
        return self._process.pid

    def poll(self) -> bool:
        """Return whether the worker still works; one that died is replaced, unless it dies before it starts any run.

        The first is replaced at once, those that die soon after it are after a rest that doubles.

        Raises:
            LaunchError: Workers die before they start a run, or the disk refuses what they write; with the end of their log.
        """
        code = self._process.poll()
        if self._cancelled or code == 0:
            if code is not None:
                self._clean_up()
            return code is None
        if code is None:
            self._kill_if_silent()
        elif self._rest_until is None:
            self._rest_until = self._consider(code)
        elif time.monotonic() >= self._rest_until:
            self._launch()
        return True

    def cancel(self) -> None:
        """Ask the worker to stop at the next step, with a checkpoint. Returns at once."""
        self._cancelled = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker now. Returns when it is gone."""
        self._cancelled = True
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._clean_up()

    def _consider(self, code: int) -> float:
        """Return when the worker that ended with a code is to be replaced."""
        now = time.monotonic()
        if code == UNWRITABLE:
            raise LaunchError(
                f"a worker cannot write what must be kept; nothing is lost; the end of {self._log}:\n{self._tail()}"
            )
        if code == FRESH:
            return now
        if self._started_any():
            self._idle_deaths = 0
        elif self._might_start():
            self._idle_deaths += 1
        if self._idle_deaths >= MAX_IDLE_DEATHS:
            raise LaunchError(
                f"workers die (exit code {code}) before they start a run; the end of {self._log}:\n{self._tail()}"
            )
        self._deaths = 1 if now - self._launched > CALM_S else self._deaths + 1
        return now + (min(REST_S * 2 ** (self._deaths - 2), CALM_S) if self._deaths > 1 else 0.0)

    def _kill_if_silent(self) -> None:
        """Kill the worker if it holds a run and its heartbeat has stopped: it hangs so that it cannot end itself, or was stopped."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        me = socket.gethostname(), self._process.pid
        silent = {desk for attempt in self._attempts() if (desk := silent_desk(attempt.claim, *me))}
        if silent & self._silent:  # twice, since a file server may have stood still for a moment
            self._process.kill()
        self._silent = silent

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL:])

    def _launch(self, waiting: Waiting | None = None) -> None:
        self._rest_until, self._launched = None, time.monotonic()
        self._look_at = self._launched + LOOK_S
        if waiting and waiting.tell({"job": str(self._file)}):
            self._process: subprocess.Popen[bytes] = waiting.process
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._python or sys.executable, "-P", "-m", "slws_lab.worker", str(self._file)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, env=self._env, start_new_session=True,
            )  # fmt: skip

    def _started_any(self) -> bool:
        return any(starts(attempt, self._process.pid) for attempt in self._attempts())

    def _might_start(self) -> bool:
        """Say whether anything is there to start: a worker that waits for work shows nothing by its death."""
        wanted = map(Attempt, self._listed.wanted)
        return not self._listed.open or any(a.status is None and not is_held(a.claim) for a in wanted)

    def _attempts(self) -> list[Attempt]:
        """Return all attempts that the worker may have taken."""
        self._listed.look()
        return [Attempt(folder) for folder in self._listed.known]

    def _clean_up(self) -> None:
        stdin: IO[Any] | None = self._process.stdin
        if stdin is not None:
            stdin.close()
        self._file.unlink(missing_ok=True)
        ended_well = self._process.returncode == 0 and not self._deaths
        if self._log.exists() and (ended_well or not self._log.stat().st_size):
            self._log.unlink()


def environment(threads: int, devices: str | None) -> dict[str, str]:
    """Return a worker's environment: this process's own, thread pools as large as a run's threads, and only some GPUs visible.

    Args:
        threads: Intra-op threads of a rank.
        devices: GPUs as CUDA names them, separated by commas; None for none.
    """
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(pools, str(threads)), "CUDA_VISIBLE_DEVICES": devices or ""}
