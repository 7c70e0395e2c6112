"""How often an attempt was begun, and by what: a process that dies without a word leaves only this trace."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from slws_lab.tracking import journal
from slws_lab.tracking.files import UNREADABLE, checked_line, first_damaged, is_sound, line_value, write_bytes
from slws_lab.tracking.folder import Attempt

MAX_WITHOUT_PROGRESS = 3


def note_start(attempt: Attempt, *, threads: int, made_by: str, desk: Path | None = None) -> None:
    """Add a line for a start, with where the attempt stands by then.

    Args:
        attempt: The attempt that begins or goes on.
        threads: Its intra-op threads.
        made_by: What decides its bits beside the run: code, packages, kind of device.
        desk: See `Claim.desk`; None where nobody else can hold the attempt.

    Raises:
        NotWritten: The system refused, or the desk is gone.
    """
    where = {"host": socket.gethostname(), "pid": os.getpid(), "threads": threads, "made_by": made_by}
    _add(attempt, {"time": time.time(), **_stand(attempt), **where}, desk)


def note_stop(attempt: Attempt, desk: Path | None = None) -> None:
    """Add a line for a stop that was asked for, so that it does not count as a death. See `note_start`."""
    _add(attempt, {"time": time.time(), "stopped": True}, desk)


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


def is_damaged(attempt: Attempt) -> bool:
    """Say whether a line was changed or lost: by what the attempt was begun is not known then."""
    return first_damaged(attempt.starts, is_sound) is not None


def keeps_dying(attempt: Attempt) -> bool:
    """Say whether the attempt's last starts all died before they got any further: it kills its process, and that is a failure."""
    deaths, stand = 0, _stand(attempt)
    for line in reversed(lines(attempt)):
        if line.get("stopped") or any(line.get(name) != value for name, value in stand.items()):
            break
        deaths += 1
    return deaths >= MAX_WITHOUT_PROGRESS


def _starts(attempt: Attempt) -> list[dict[str, Any]]:
    return [line for line in lines(attempt) if {"time", "pid", "threads", "made_by"} <= line.keys()]


def _add(attempt: Attempt, line: dict[str, Any], desk: Path | None) -> None:
    """Write the file anew: there are few lines, and a torn one, or one of a former owner, cannot get in between."""
    write_bytes(attempt.starts, b"".join(checked_line(one) for one in [*lines(attempt), line]), desk)


def _stand(attempt: Attempt) -> dict[str, int]:
    """Return how many epochs are in the journal, and when the last checkpoint was written: an epoch may take hours."""
    saved = [path.stat().st_mtime_ns for path in attempt.checkpoint.glob("resume*.pt")]
    return {"epochs": sum(1 for _ in journal.read(attempt.journal)), "saved": max(saved, default=0)}


def lines(attempt: Attempt) -> list[dict[str, Any]]:
    """Return a line for each start and each stop that was asked for; one that is damaged is left out, and `slws verify` names it."""
    try:
        content = attempt.starts.read_bytes()
    except UNREADABLE:
        return []
    found = []
    for line in content.splitlines(keepends=True):
        with suppress(ValueError, RecursionError):
            found.append(line_value(line))
    return found
