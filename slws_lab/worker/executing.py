"""The execution of one attempt: claim, start, log and result, whatever its run is. A failure is recorded with its cause.

All that an attempt's owner writes is made at its claim's desk and renamed into place, so that a process that was stopped, lost its
attempt and wakes up can change nothing of it any more.
"""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from slws_lab.spec import CommandRun
from slws_lab.tracking import Attempt, Claim, RunFolder, provenance, starts, write_text
from slws_lab.tracking.causes import cause_of
from slws_lab.tracking.claim import Pulse
from slws_lab.tracking.files import NotWritten, writing
from slws_lab.worker.holding import ClaimLost, Executor, Failed, GoesBack, Hold, Place, Request, Stopped
from slws_lab.worker.logs import end_hung, logging_to

KILLED = (
    f"the process died {starts.MAX_WITHOUT_PROGRESS} times before the next epoch was done "
    "(killed, out of memory, hung, or a crash in native code)"
)
log = logging.getLogger(__name__)


def execute(attempt: Attempt, place: Place, wanted: Callable[[], bool] = lambda: True) -> str:
    """Execute an attempt if it is free, and write its result.

    Args:
        attempt: The attempt.
        place: Where, and with what.
        wanted: Asked once the attempt is this process's own, so that who drops it and then finds no owner knows that it is not begun.

    Returns:
        `finished`, `diverged` or `failed`; `taken` if another process has or had it, or it is not wanted; `interrupted` if it, or this
        process, was asked to stop; `lost` if one of its processes was killed, and it may go on.

    Raises:
        NotWritten: The disk refuses what must be kept; the attempt is unfinished, and goes on from its last checkpoint.
    """
    pulse = Pulse(partial(end_hung, attempt) if place.ends_when_hung else None)
    with writing(attempt.claim):
        claim = Claim.take(attempt.claim, pulse)
    if claim is None:
        return "taken"
    with claim:
        if attempt.status is not None or not wanted():
            return "taken"
        hold = Hold(attempt, claim, pulse)
        try:
            return _execute(hold, replace(place, should_stop=Request(claim, place.should_stop)))
        except (ClaimLost, NotWritten):
            if not claim.held():
                log.warning("another process has taken %s over; stopping", attempt.path)
                return "taken"
            with suppress(NotWritten):  # no death of the run, if that can be noted
                starts.note_stop(attempt, hold.desk)
            raise


def _execute(hold: Hold, place: Place) -> str:
    attempt = hold.attempt
    attempt.sweep()
    executor = _executor(hold, place)
    made = executor.provenance()
    started, device = time.time(), executor.device
    threads = starts.threads_of(attempt, place.resources.threads)
    result: dict[str, Any] = {
        "started": started, "host": socket.gethostname(), "device": device,
        "threads": threads, "resumes": starts.starts(attempt),
    }  # fmt: skip
    with logging_to(attempt.log):
        if starts.is_damaged(attempt):
            _start_over(hold, "its list of starts is damaged, so nobody knows what began it")
        # Before its deaths are counted: nothing of what it did is progress.
        elif result["resumes"] and not executor.goes_on:
            _start_over(hold, "it cannot go on from where it stands")
        if starts.keeps_dying(attempt):
            result |= {"status": "failed", "cause": KILLED}
        else:
            _begin(hold, threads, provenance.made_by(made, device))
            try:
                result |= executor.execute(threads)
            except Stopped:
                starts.note_stop(attempt, hold.desk)
                log.info("stopped as asked; the same command goes on from here")
                return "interrupted"
            except KeyboardInterrupt:  # in the in-process launcher only: a worker process leaves SIGINT to its parent
                starts.note_stop(attempt, hold.desk)
                raise
            except (ClaimLost, NotWritten):
                raise
            except GoesBack as error:
                if not starts.keeps_dying(attempt):
                    log.warning("%s; going on from the last checkpoint", error)
                    return "lost"
                result |= _failure(error, hold.claim, place)
            except Exception as error:  # a failed run never stops its study: it is recorded with its cause
                result |= _failure(error, hold.claim, place)
        log.info("%s %s", result["status"], result["cause"])
    if made["diff"]:
        write_text(attempt.path / "diff.patch", made["diff"], hold.desk)
    whole = {**result, "finished": time.time(), "provenance": {**made, "diff": bool(made["diff"])}}
    attempt.finish(whole, hold.desk)
    if result["status"] != "failed":
        executor.tidy()
    return str(result["status"])


def _executor(hold: Hold, place: Place) -> Executor:
    """Return what executes a run of this kind; a training's loads torch."""
    run = RunFolder(hold.attempt.path.parent).spec()
    if isinstance(run, CommandRun):
        from slws_lab.worker.command import Command

        return Command(hold, run, place)
    from slws_lab.worker.training import Training

    return Training(hold, run, place)


def _begin(hold: Hold, threads: int, made_by: str) -> None:
    """Note the start. What other code or another kind of device has begun is begun again: an attempt has one maker."""
    before = starts.made_by(hold.attempt)
    if before not in (None, made_by):
        _start_over(hold, f"begun by {before}, now {made_by}")
    starts.note_start(hold.attempt, threads=threads, made_by=made_by, desk=hold.desk)


def _start_over(hold: Hold, why: str) -> None:
    log.warning("%s: starting over", why)
    hold.attempt.start_over(hold.desk)


def _failure(error: Exception, claim: Claim, place: Place) -> dict[str, str]:
    """Return what the record says of a failure; that of a run which lost its claim is none."""
    if not claim.held():
        raise ClaimLost from error
    said = traceback.format_exc()
    traceback.clear_frames(error.__traceback__)  # their tensors may be what the memory is full of
    log.error("failed:\n%s", said)
    return {"status": "failed", "cause": provenance.redacted(_cause(error, place))}


def _cause(error: Exception, place: Place) -> str:
    if isinstance(error, Failed | GoesBack):
        return str(error).strip().splitlines()[0]
    return cause_of(error, place.root)
