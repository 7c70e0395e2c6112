"""A job: claims attempts from its list until none is free; where the list may grow it waits for more.

It keeps torch loaded between trainings, stops cleanly on SIGTERM or when its parent goes away, and outlives every exception of a run.
What kills the process itself is noticed by whoever takes the attempt next.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

from slws_lab.launch import inventory
from slws_lab.launch.feed import Line, pause_s
from slws_lab.launch.launcher import FRESH, UNWRITABLE
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, provenance, read_json
from slws_lab.tracking.causes import kind_of
from slws_lab.tracking.files import NotWritten
from slws_lab.worker.executing import execute
from slws_lab.worker.holding import Place

T = TypeVar("T")


def run_job(path: Path) -> None:
    """Execute the attempts of a job file until none of them is free, and none will come by its `feed`, if it names one.

    Its key `parent` says whether to stop when standard input closes; without it there is one.
    """
    job = read_json(path)
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the parent, which then asks by SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if job.get("parent", True):
        threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()
    else:
        _watch_scheduler(stop)
    line = Line(map(Path, job["attempts"]), Path(job["feed"]) if job.get("feed") else None)
    place = Place(Path(job["root"]), Resources.model_validate(job["resources"]), stop.is_set, ends_when_hung=True)
    if (first := awaited(line.first, line, stop)) is None:
        return
    _prepare(first, place)
    while (attempt := awaited(line.take, line, stop)) is not None:
        try:
            while (status := execute(attempt, place, line.wants)) == "lost":
                pass
        except NotWritten as error:
            sys.stderr.write(f"{error}\n")
            if not attempt.shut():
                sys.exit(UNWRITABLE)
            line.put_aside()  # this one alone: the others go on
            continue
        if status == "interrupted" and not line.wants():
            line.put_aside()
        if status == "failed" and _is_spoiled(attempt, place.resources):
            sys.exit(FRESH)


def awaited(look: Callable[[], T | None], line: Line, stop: threading.Event) -> T | None:
    """Return what a look at a line gives as soon as it gives something; None where it never will, or this process is to stop."""
    began = time.monotonic()
    while not stop.is_set():
        if (found := look()) is not None or not line.open or line.abandoned:
            return found
        time.sleep(
            pause_s(time.monotonic() - began)
        )  # `stop.wait` has a lock, which the handler of a signal would want too
    return None


def _prepare(first: Path, place: Place) -> None:
    """Load what executes the runs, and gather their provenance, so that it names the code that this process has imported.

    Args:
        first: One of the attempts, which are all of one kind.
        place: Where they are executed.
    """
    run = read_json(first.parent / "run.json")
    if run and run["spec"]["kind"] == "command":
        found = bool(inventory.gpus())
    else:
        from slws_lab.worker import training

        found = place.resources.gpus == 1 and training.finds_gpu()
    if place.resources.gpus == 1 and not found:
        sys.exit("the job asks for a GPU, and none is found: is a driver here, and was torch built for it?")
    provenance.gather(place.root)


def _is_spoiled(attempt: Attempt, resources: Resources) -> bool:
    """Say whether a failed training may have left this process unfit: an error on a GPU its context, one of memory the process."""
    if "torch" not in sys.modules:  # of commands nothing is left here
        return False
    from slws_lab.worker import training

    cause = str((attempt.result() or {}).get("cause", ""))
    return training.device_of(resources).type == "cuda" or kind_of(cause).again


def _watch_scheduler(stop: threading.Event) -> None:
    """Stop at a SIGTERM, which a scheduler sends to every process of a job: blocked here, it cannot end what is started from here."""

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        stop.set()

    resource_tracker.ensure_running()  # as it starts it would unblock the signal again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()


def _watch_parent(stop: threading.Event) -> None:
    """Stop when the parent's end of standard input closes: so no worker outlives a killed `slws run`."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()
