"""The bridge: executes runs and writes what they leave behind. A job is this module as a command: `python -m slws_lab.worker JOB.json`.

A job claims attempts from its list until none is free. It keeps torch loaded between runs, stops cleanly on SIGTERM or when its parent
goes away, and outlives every exception of a run. What kills the process itself is noticed by whoever takes the attempt next.

All that an attempt's owner writes is made at its claim's desk and renamed into place, so that a process that was stopped, lost its
attempt and wakes up can change nothing of it any more.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import torch

from slws_lab.errors import SlwsError
from slws_lab.launch.launcher import FRESH, HUNG, UNWRITABLE
from slws_lab.spec import Resources, RunSpec
from slws_lab.tracking import Attempt, Claim, RunFolder, journal, provenance, read_json, starts, write_text
from slws_lab.tracking.causes import kind_of
from slws_lab.tracking.claim import IDLE_S, STEPLESS_S, Pulse
from slws_lab.tracking.files import NotWritten, writing
from slws_lab.training import Interrupted, Outdated, RankError, RankLost, Surroundings, train
from slws_lab.training.checkpoint import Shelf
from slws_lab.training.surroundings import Unsaved

KILLED = (
    f"the process died {starts.MAX_WITHOUT_PROGRESS} times before the next epoch was done "
    "(killed, out of memory, hung, or a crash in native code)"
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
        ends_when_hung: Whether a run that hangs ends this process; otherwise only its heartbeat stops.
    """

    root: Path
    resources: Resources
    should_stop: Callable[[], bool]
    ends_when_hung: bool = False


@dataclass(frozen=True)
class Hold:
    """An attempt that this process executes: its claim, and the pulse of the work, from which the claim's heartbeat comes."""

    attempt: Attempt
    claim: Claim
    pulse: Pulse

    @property
    def desk(self) -> Path:
        return self.claim.desk


def execute(attempt: Attempt, place: Place) -> str:
    """Execute an attempt if it is free, and write its result.

    Returns:
        `finished`, `diverged` or `failed`; `taken` if another process has or had it; `interrupted` if it was asked to stop; `lost` if
        one of its ranks was killed, and it may go on.

    Raises:
        NotWritten: The disk refuses what must be kept; the attempt is unfinished, and goes on from its last checkpoint.
    """
    pulse = Pulse(partial(_end, attempt) if place.ends_when_hung else None)
    with writing(attempt.claim):
        claim = Claim.take(attempt.claim, pulse)
    if claim is None:
        return "taken"
    with claim:
        if attempt.status is not None:
            return "taken"
        hold = Hold(attempt, claim, pulse)
        try:
            return _execute(hold, place)
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
            _begin(hold, threads, provenance.made_by(made, _device_name(device)))
            torch.set_num_threads(threads)
            try:
                result |= _train_or_start_over(hold, run, place, device)
            except Interrupted:
                starts.note_stop(attempt, hold.desk)
                log.info("stopped as asked; the same command goes on from here")
                return "interrupted"
            except KeyboardInterrupt:  # in the in-process launcher only: a worker process leaves SIGINT to its parent
                starts.note_stop(attempt, hold.desk)
                raise
            except (ClaimLost, NotWritten):
                raise
            except RankLost as error:  # as if this process had died: the run goes back, until that helps no more
                if not starts.keeps_dying(attempt):
                    log.warning("%s; going on from the last checkpoint", error)
                    return "lost"
                result |= _failure(error, hold.claim)
            except Exception as error:  # a failed run never stops its study: it is recorded with its cause
                result |= _failure(error, hold.claim)
        log.info("%s %s", result["status"], result["cause"])
    if made["diff"]:
        write_text(attempt.path / "diff.patch", made["diff"], hold.desk)
    whole = {**result, "finished": time.time(), "provenance": {**made, "diff": bool(made["diff"])}}
    attempt.finish(whole, hold.desk)
    if result["status"] != "failed":
        with writing(attempt.checkpoint):
            Shelf(attempt.checkpoint, hold.desk).forget()
    return str(result["status"])


def _begin(hold: Hold, threads: int, made_by: str) -> None:
    """Note the start. What other code or another kind of device has begun is begun again: an attempt has one maker."""
    before = starts.made_by(hold.attempt)
    if before not in (None, made_by):
        log.warning("begun by %s, now %s: starting over", before, made_by)
        hold.attempt.start_over(hold.desk)
    starts.note_start(hold.attempt, threads=threads, made_by=made_by, desk=hold.desk)


def _train_or_start_over(hold: Hold, run: RunSpec, place: Place, device: torch.device) -> dict[str, Any]:
    try:
        return _train(hold, run, place, device)
    except Outdated as error:
        log.warning("%s: starting over", error)
        hold.attempt.start_over(hold.desk)
        return _train(hold, run, place, device)


def _train(hold: Hold, run: RunSpec, place: Place, device: torch.device) -> dict[str, Any]:
    """Train an attempt from where it stands to its end.

    Raises:
        ClaimLost: Another process has the attempt.
        NotWritten: The journal or the final weights cannot be written.
    """
    attempt, claim, resources = hold.attempt, hold.claim, place.resources
    log.info("%s, attempt %d, on %s", attempt.run_id, attempt.number, _device_name(device))

    def report(epoch: int, metrics: dict[str, float]) -> None:
        hold.pulse.tick()
        if not claim.held():
            raise ClaimLost
        writer.append(epoch, time.time(), metrics)
        log.info("epoch %d: %s", epoch, ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))

    def should_stop() -> bool:
        if run.train.ranks == 1:  # of several it is asked all the time, whether they work or hang
            hold.pulse.tick()
        if claim.lost:
            raise ClaimLost
        return place.should_stop()

    with journal.Writer(attempt.journal, hold.desk) as writer:
        around = Surroundings(
            attempt.checkpoint, device, report, should_stop, resources.scan, place.root,
            workers=resources.workers, resident=resources.resident, grad_checkpointing=resources.grad_checkpointing,
            cuda_graph=resources.cuda_graph, desk=hold.desk, reported=journal.epochs(attempt.journal), tidy=False,
        )  # fmt: skip
        try:
            return asdict(train(run, around))
        except Unsaved as error:
            with writing(attempt.checkpoint):
                raise OSError(str(error)) from error


def _failure(error: Exception, claim: Claim) -> dict[str, str]:
    """Return what the record says of a failure; that of a run which lost its claim is none."""
    if not claim.held():
        raise ClaimLost from error
    said = traceback.format_exc()
    traceback.clear_frames(error.__traceback__)  # their tensors may be what the memory is full of
    log.error("failed:\n%s", said)
    return {"status": "failed", "cause": provenance.redacted(_cause(error))}


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


class _Redacting(logging.Formatter):
    """Keeps secrets of the environment out of a log, whoever writes them."""

    def format(self, record: logging.LogRecord) -> str:
        return provenance.redacted(super().format(record))


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send all log records, warnings of libraries included, to the attempt's log file."""
    with writing(path):
        handler = logging.FileHandler(path)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(True)
    ROOT_LOG.addHandler(handler)
    ROOT_LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        ROOT_LOG.removeHandler(handler)
        with suppress(OSError):  # a full disk takes no log either; what must be kept is written elsewhere
            handler.close()


def _end(attempt: Attempt) -> None:
    """End this process at once: its main thread hangs. The log gets what each thread was doing."""
    with suppress(OSError), attempt.log.open("a") as file:  # not by `logging`, whose lock may be what it waits for
        limits = f"nothing was computed for {IDLE_S / 60:g} minutes, or no step ended for {STEPLESS_S / 3600:g} hours"
        file.write(f"this run hangs ({limits}): ending its process, whose threads stand here\n")
        file.flush()
        faulthandler.dump_traceback(file)
    os._exit(HUNG)


def run_job(path: Path) -> None:
    """Execute the attempts of a job file until none of them is free.

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
    if job["resources"]["gpus"] == 1 and not torch.cuda.is_available():
        sys.exit("the job asks for a GPU, and torch finds none: is a driver here, and was torch built for it?")
    provenance.gather(Path(job["root"]))  # before any run, so that it names the code that this process has imported
    place = Place(Path(job["root"]), Resources.model_validate(job["resources"]), stop.is_set, ends_when_hung=True)
    for attempt in job["attempts"]:
        if stop.is_set():
            return
        try:
            while (status := execute(Attempt(Path(attempt)), place)) == "lost":
                pass
        except NotWritten as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(UNWRITABLE)
        cause = str((Attempt(Path(attempt)).result() or {}).get("cause", "")) if status == "failed" else ""
        if status == "failed" and (_device(place.resources).type == "cuda" or kind_of(cause).again):
            sys.exit(FRESH)  # an error on a GPU may have broken its context for good, one of memory this process


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


if __name__ == "__main__":
    run_job(Path(sys.argv[1]))
