"""A command at work: its lines as they come, a way to end it, and never an orphan."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from slws_lab.command import guard
from slws_lab.command.prepare import Execution

MAX_LINE = 1 << 16  # bytes


class Process:
    """A command and all that it starts. Use as a context manager: when it is left, everything is gone.

    Args:
        execution: What is executed.
    """

    def __init__(self, execution: Execution) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._guard: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-P", "-E", str(Path(guard.__file__)), *execution.arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=execution.cwd, env=execution.env, start_new_session=True,
        )  # fmt: skip
        assert self._guard.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._guard.stdout,), name="output", daemon=True)
        self._reader.start()
        self._ended = threading.Event()
        threading.Thread(target=self._await, name="end", daemon=True).start()

    def wait(self, timeout_s: float) -> int | None:
        """Wait so long for the end, and return the exit code, 128 + n if signal n killed it; None while it works."""
        if not self._ended.wait(
            timeout_s
        ):  # `Popen.wait` with a limit looks again and again, as if this process had work
            return None
        code = self._guard.wait()
        return 128 - code if code < 0 else code  # below 0 if the guard itself was killed

    def lines(self) -> Iterator[str]:
        """Yield the lines that were printed since the last call; once it has ended, all that are left."""
        if self._guard.poll() is not None:
            self._reader.join(guard.LINGER_S)  # the pipe closes with the last of its processes
        for _ in range(self._lines.qsize()):  # not until there is none: it may print faster than anybody reads
            yield self._lines.get()

    def stop(self, grace_s: float) -> None:
        """Ask everything to end by SIGTERM, and kill after so many seconds what has not. Returns when it is gone."""
        if self._guard.poll() is None:
            self._guard.send_signal(signal.SIGTERM)
            self.wait(grace_s)
        self._kill()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._reader.join(guard.LINGER_S)

    def _kill(self) -> None:
        """Close the guard's standard input, on which it kills everything, and wait."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        if self._guard.wait() < 0:  # it was killed itself: what is of its group may be left
            with suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)

    def _await(self) -> None:
        self._guard.wait()
        self._ended.set()

    def _read(self, output: IO[bytes]) -> None:
        with output:
            while line := output.readline(MAX_LINE):
                # A progress bar draws over itself: what a terminal would show in the end is kept.
                self._lines.put(line.decode(errors="replace").rstrip("\r\n").rsplit("\r", 1)[-1])
