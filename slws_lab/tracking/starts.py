"""How often an attempt was begun, and by what: a process that dies without a word leaves only this trace."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

from slws_lab.tracking import journal
from slws_lab.tracking.folder import Attempt

MAX_WITHOUT_PROGRESS = 3


def note_start(attempt: Attempt, *, threads: int, made_by: str) -> None:
    """Add a line for a start, with the number of epochs in the journal by then.

    Args:
        attempt: The attempt that begins or goes on.
        threads: Its intra-op threads.
        made_by: What decides its bits beside the run: code, packages, kind of device.
    """
    where = {"host": socket.gethostname(), "pid": os.getpid(), "threads": threads, "made_by": made_by}
    _add(attempt, {"time": time.time(), "epochs": _epochs(attempt), **where})


def note_stop(attempt: Attempt) -> None:
    """Add a line for a stop that was asked for, so that it does not count as a death."""
    _add(attempt, {"time": time.time(), "stopped": True})


def starts(attempt: Attempt, pid: int | None = None) -> int:
    """Return how often the attempt was started, by one process if it is given."""
    return len([line for line in _starts(attempt) if pid in (None, line["pid"])])


def threads_of(attempt: Attempt, default: int) -> int:
    """Return the threads with which the attempt began: a resume keeps them, since other threads give other sums."""
    lines = _starts(attempt)
    return int(lines[0]["threads"]) if lines else default


def made_by(attempt: Attempt) -> str | None:
    """Return what the attempt's epochs so far were made by; None if it was never started."""
    lines = _starts(attempt)
    return str(lines[-1]["made_by"]) if lines else None


def keeps_dying(attempt: Attempt) -> bool:
    """Say whether the attempt's last starts all died before the journal grew: it kills its process, and that is a failure."""
    deaths, epochs = 0, _epochs(attempt)
    for line in reversed(_lines(attempt)):
        if line.get("stopped") or line["epochs"] != epochs:
            break
        deaths += 1
    return deaths >= MAX_WITHOUT_PROGRESS


def _starts(attempt: Attempt) -> list[dict[str, Any]]:
    return [line for line in _lines(attempt) if "pid" in line]


def _add(attempt: Attempt, line: dict[str, Any]) -> None:
    with attempt.starts.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _epochs(attempt: Attempt) -> int:
    return sum(1 for _ in journal.read(attempt.journal))


def _lines(attempt: Attempt) -> list[dict[str, Any]]:
    """Return the whole lines; one that a crash has torn is left out."""
    found = []
    for text in attempt.starts.read_text().splitlines() if attempt.starts.exists() else []:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found
