"""How long an attempt has had its device so far, over all its starts; a process that died is counted up to its last sign of life."""

from __future__ import annotations

import time

from slws_lab.tracking import journal, starts
from slws_lab.tracking.claim import is_held, last_beat
from slws_lab.tracking.folder import Attempt


def seconds(attempt: Attempt) -> float:
    """Return the seconds that processes have held an attempt, of one rank.

    A start ends where it was stopped or the attempt ended, now if it is at work, else at the last sign of life: a journal line,
    a checkpoint, a heartbeat, or the next start.
    """
    lines = starts.lines(attempt)
    result = attempt.result() or {}
    signs = _signs(attempt)
    total = 0.0
    for i, line in enumerate(lines):
        if "pid" not in line:
            continue
        following = lines[i + 1]["time"] if i + 1 < len(lines) else result.get("finished")
        if following is None:
            following = time.time() if is_held(attempt.claim) else max(signs, default=0.0)
        elif i + 1 < len(lines) and "pid" in lines[i + 1]:  # it died without a word
            following = max((sign for sign in signs if sign <= following), default=0.0)
        total += max(0.0, float(following) - line["time"])
    return total


def _signs(attempt: Attempt) -> list[float]:
    """Return the times at which something shows that the attempt was at work."""
    times = [entry.time for entry in journal.read(attempt.journal)]
    times += [path.stat().st_mtime for path in attempt.checkpoint.glob("*") if path.exists()]
    beat = last_beat(attempt.claim)
    return times if beat is None else [*times, beat]
