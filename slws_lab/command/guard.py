"""Starts a command, and ends it with all that it has started when the worker ends. A process of its own, started by this file's path.

The worker holds the other end of standard input: where that closes, by whatever death, everything here is killed. A SIGTERM is passed
on to the command's process group. The exit code is the command's, 128 + n if signal n killed it, as a shell gives it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import psutil

LINGER_S = 2.0  # what a command leaves running when it ends may finish what it sends, then it is killed
NOT_STARTED = 127
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(arguments: list[str]) -> int:
    """Run a command to its end and return its exit code."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # a scheduler's worker blocks it
    signal.signal(signal.SIGTERM, _pass_on)
    _prctl(
        PR_SET_CHILD_SUBREAPER, 1
    )  # what its parent leaves behind, in whatever session, becomes a child of this process
    try:
        # Safe, since there is no other thread yet.
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)  # noqa: PLW1509
    except OSError as error:
        sys.stderr.write(f"{arguments[0]}: {error.strerror}\n")
        return NOT_STARTED
    threading.Thread(target=_watch_worker, daemon=True).start()
    code = process.wait()
    _end_children(LINGER_S)
    return 128 - code if code < 0 else code


def _pass_on(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process is of the group too
    os.killpg(os.getpgrp(), signal.SIGTERM)


def _die_with_parent() -> None:
    """Have the kernel kill the command when this process is killed alone, which it could not answer."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        LIBC.prctl(option, value)


def _watch_worker() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _end_children(0.0)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _end_children(patience_s: float) -> None:
    """Wait for the processes that are left, then kill them, and those that these leave, until there is none."""
    until = time.monotonic() + patience_s
    while children := _children():
        for child in children if time.monotonic() >= until else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(0.02)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


LIBC = ctypes.CDLL(None)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
