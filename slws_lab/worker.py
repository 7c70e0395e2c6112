"""The bridge: executes runs and writes what they leave behind. A job is this module as a command: `python -m slws_lab.worker JOB.json`.

A job claims attempts from its list until none is free. It keeps torch loaded between runs, stops cleanly on SIGTERM or when its parent
goes away, and outlives every exception of a run. What kills the process itself is noticed by whoever takes the attempt next.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from slws_lab.errors import SlwsError
from slws_lab.spec import Resources, RunSpec
from slws_lab.tracking import Attempt, Claim, RunFolder, journal, provenance, read_json, starts, write_text
from slws_lab.training import Interrupted, Outdated, RankError, Surroundings, train

KILLED = (
    f"the process died {starts.MAX_WITHOUT_PROGRESS} times before the next epoch was done "
    "(killed, out of memory, or a crash in native code)"
)
ROOT_LOG = logging.getLogger()
log = logging.getLogger(__name__)


class ClaimLost(Exception):
    """Another process took the attempt over while this one was suspended; nothing more may be written."""


@dataclass(frozen=True)
class Place:
    """Where and with what this process executes runs.

    Attributes:
        root: The project's folder, whose git state is recorded.
        resources: What a run may use.
        should_stop: Asked before each step; True ends the run in hand with a checkpoint.
    """

    root: Path
    resources: Resources
    should_stop: Callable[[], bool]


def execute(attempt: Attempt, place: Place) -> str:
    """Execute an attempt if it is free, and write its result.

    Returns:
        `finished`, `diverged` or `failed`; `taken` if another process has or had it; `interrupted` if it was asked to stop.
    """
    claim = Claim.take(attempt.claim)
    if claim is None:
        return "taken"
    with claim:
        if attempt.status is not None:
            return "taken"
        return _execute(attempt, place, claim)


def _execute(attempt: Attempt, place: Place, claim: Claim) -> str:
    run = RunFolder(attempt.path.parent).spec()
    made = provenance.with_files(provenance.gather(place.root), place.root, run.models)
    started, device = time.time(), _device(place.resources)
    threads = starts.threads_of(attempt, place.resources.threads)
    result: dict[str, Any] = {
        "started": started, "host": socket.gethostname(), "device": _device_name(device),
        "threads": threads, "resumes": starts.starts(attempt),
    }  # fmt: skip
    with _logging_to(attempt.log):
        if starts.keeps_dying(attempt):
            result |= {"status": "failed", "cause": KILLED}
        else:
            _begin(attempt, threads, provenance.made_by(made, _device_name(device)))
            torch.set_num_threads(threads)
            try:
                try:
                    result |= _train(attempt, run, place, claim, device)
                except Outdated as error:
                    log.warning("%s: starting over", error)
                    attempt.start_over()
                    result |= _train(attempt, run, place, claim, device)
            except Interrupted:
                starts.note_stop(attempt)
                log.info("stopped as asked; the same command goes on from here")
                return "interrupted"
            except KeyboardInterrupt:  # in the in-process launcher only: a worker process leaves SIGINT to its parent
                starts.note_stop(attempt)
                raise
            except ClaimLost:
                log.warning("another process has taken this attempt over; stopping")
                return "taken"
            except Exception as error:  # a failed run never stops its study: it is recorded with its cause
                log.error("failed:\n%s", traceback.format_exc())
                result |= {"status": "failed", "cause": _cause(error)}
        log.info("%s %s", result["status"], result["cause"])
    if not claim.held():
        return "taken"
    if made["diff"]:
        write_text(attempt.path / "diff.patch", made["diff"])
    attempt.finish({**result, "finished": time.time(), "provenance": {**made, "diff": bool(made["diff"])}})
    return str(result["status"])


def _begin(attempt: Attempt, threads: int, made_by: str) -> None:
    """Note the start. What other code or another kind of device has begun is begun again: an attempt has one maker."""
    before = starts.made_by(attempt)
    if before not in (None, made_by):
        log.warning("begun by %s, now %s: starting over", before, made_by)
        attempt.start_over()
    starts.note_start(attempt, threads=threads, made_by=made_by)


def _train(attempt: Attempt, run: RunSpec, place: Place, claim: Claim, device: torch.device) -> dict[str, Any]:
    log.info("%s, attempt %d, on %s", attempt.run_id, attempt.number, _device_name(device))

    def report(epoch: int, metrics: dict[str, float]) -> None:
        if not claim.held():
            raise ClaimLost
        journal.append(attempt.journal, epoch, time.time(), metrics)
        log.info("epoch %d: %s", epoch, ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))

    resources = place.resources
    around = Surroundings(
        attempt.checkpoint, device, report, place.should_stop, resources.scan, place.root,
        workers=resources.workers, resident=resources.resident, grad_checkpointing=resources.grad_checkpointing,
        cuda_graph=resources.cuda_graph,
    )  # fmt: skip
    result = asdict(train(run, around))
    if not claim.held():
        raise ClaimLost
    return result


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, RankError):
        return lines[0]
    if isinstance(error, SlwsError):  # its lines say what to do
        return "; ".join(" ".join(line.split()) for line in lines)
    return f"{type(error).__name__}: {lines[0] if lines else ''}".removesuffix(": ")


def _device(resources: Resources) -> torch.device:
    wanted = resources.gpus != 0 and torch.cuda.is_available()
    return torch.device("cuda" if wanted else "cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send all log records, warnings of libraries included, to the attempt's log file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(True)
    ROOT_LOG.addHandler(handler)
    ROOT_LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        ROOT_LOG.removeHandler(handler)
        handler.close()


def run_job(path: Path) -> None:
    """Execute the attempts of a job file until none of them is free."""
    job = read_json(path)
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the parent, which then asks by SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()
    provenance.gather(Path(job["root"]))  # before any run, so that it names the code that this process has imported
    place = Place(Path(job["root"]), Resources.model_validate(job["resources"]), stop.is_set)
    for attempt in job["attempts"]:
        if stop.is_set():
            return
        status = execute(Attempt(Path(attempt)), place)
        if status == "failed" and _device(place.resources).type == "cuda":
            sys.exit(1)  # an error on a GPU may have broken its context for good: a fresh process takes the next run


def _watch_parent(stop: threading.Event) -> None:
    """Stop when the parent's end of standard input closes: so no worker outlives a killed `slws run`."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()


if __name__ == "__main__":
    run_job(Path(sys.argv[1]))
