"""How often an attempt was begun: a process that dies without a word leaves only this trace."""

from __future__ import annotations

import json
import os
import socket
import time

from slws_lab.tracking import journal
from slws_lab.tracking.folder import Attempt


def note_start(attempt: Attempt, threads: int) -> None:
    """Add a line for a start, with the number of epochs in the journal by then."""
    where = {"host": socket.gethostname(), "pid": os.getpid(), "threads": threads}
    with attempt.starts.open("a") as file:
        file.write(json.dumps({"time": time.time(), "epochs": _epochs(attempt), **where}) + "\n")


def threads_of(attempt: Attempt, default: int) -> int:
    """Return the threads with which the attempt began: a resume keeps them, since other threads give other sums."""
    lines = _lines(attempt)
    return int(lines[0]["threads"]) if lines else default


def starts(attempt: Attempt) -> int:
    """Return how often the attempt was started."""
    return len(_lines(attempt))


def starts_without_progress(attempt: Attempt) -> int:
    """Return how many of the last starts ended before the journal grew: what kills its process again and again is a failure."""
    epochs, count = _epochs(attempt), 0
    for line in reversed(_lines(attempt)):
        if line["epochs"] != epochs:
            break
        count += 1
    return count


def _epochs(attempt: Attempt) -> int:
    return sum(1 for _ in journal.read(attempt.journal))


def _lines(attempt: Attempt) -> list[dict[str, float]]:
    if not attempt.starts.exists():
        return []
    return [json.loads(line) for line in attempt.starts.read_text().splitlines() if line.endswith("}")]
