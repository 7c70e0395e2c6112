"""A training in as many processes as its recipe's `ranks`: starts them, passes on what rank 0 reports, and names the first that failed."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessException, start_processes

from slws_lab.errors import UserError
from slws_lab.spec import RunSpec
from slws_lab.tracking.causes import cause_of
from slws_lab.training.surroundings import Interrupted, Outdated, Surroundings, TrainResult, Unsaved
from slws_lab.training.train import train_rank
from slws_lab.training.world import World

POLL_S = 0.1
GRACE_S = 2.0  # a scheduler's jobs block SIGTERM, by which torch ends the other ranks first
KILLS = (
    signal.SIGKILL,
    signal.SIGSEGV,
    signal.SIGBUS,
)  # end a rank before it can say a word; others follow what it says
log = logging.getLogger(__name__)


class RankError(Exception):
    """A rank failed, and with it the training; the message names the first that did, and why."""


class RankLost(RankError):
    """A rank was killed: nothing is known to be wrong with the run, and it may go on from its checkpoint."""


def train(run: RunSpec, around: Surroundings) -> TrainResult:
    """Train a run to its end, from its checkpoint if there is one; in this process, or in one process a rank.

    Raises:
        Interrupted: `around.should_stop()` said so; the checkpoint is up to date.
        Outdated: The checkpoint was made with other data.
        UserError: Something that the recipe names is not there, or does not fit.
        BrokenImage: An image cannot be read, and the recipe says stop.
        Unsaved: The final weights cannot be written.
        RankError: One of several ranks failed, for one of these reasons or because it was killed.
    """
    if run.train.ranks == 1:
        return train_rank(run, around)
    devices = torch.cuda.device_count() if around.device.type == "cuda" else run.train.ranks
    if devices < run.train.ranks:
        raise UserError(
            f"{run.train.ranks} ranks on {devices} GPUs", where="train.ranks", allowed="a GPU for each rank"
        )
    return _Ranks(run, around).wait()


@dataclass(frozen=True)
class _Job:
    """What a rank is told; all of it can be sent to another process."""

    run: RunSpec
    around: Surroundings
    threads: int
    rendezvous: Path


class _Ranks:
    """The processes of one training, seen from the one that started them."""

    def __init__(self, run: RunSpec, around: Surroundings) -> None:
        self._around = around
        self._result: TrainResult | None = None
        self._interrupted, self._outdated, self._unsaved = False, "", ""
        self._failures: dict[int, tuple[float, str]] = {}
        context = mp.get_context("spawn")
        self._stop = context.Event()
        around.folder.mkdir(parents=True, exist_ok=True)
        for left in around.folder.glob("rendezvous-*"):  # by a process that was killed
            left.unlink()
        self._rendezvous = around.folder / f"rendezvous-{os.getpid()}-{time.monotonic_ns()}"
        # A rank asks its own process whether to stop, and reports through its pipe: functions cannot be sent.
        plain = replace(around, report=_nowhere, should_stop=_never)
        job = _Job(run, plain, torch.get_num_threads(), self._rendezvous.absolute())
        pipes = [context.Pipe(duplex=False) for _ in range(run.train.ranks)]
        self._pipes = {rank: ours for rank, (ours, _) in enumerate(pipes)}
        self._processes = start_processes(
            _rank_main,
            (job, [theirs for _, theirs in pipes], self._stop),
            run.train.ranks,
            join=False,
            start_method="spawn",
        )
        for _, theirs in pipes:
            theirs.close()  # so that a pipe ends when its rank does

    def wait(self) -> TrainResult:
        """Wait for the end, passing on reports as they come."""
        try:
            while not self._joined():
                self._listen()
                if self._around.should_stop():
                    self._stop.set()
            self._listen()
        finally:
            for process in self._processes.processes:
                process.kill()  # nothing is left of a training that has failed or was given up
                process.join()
            self._rendezvous.unlink(missing_ok=True)
        if self._interrupted:
            raise Interrupted
        if self._outdated:
            raise Outdated(self._outdated)
        if self._unsaved:
            raise Unsaved(self._unsaved)
        if self._result is None:
            raise RankError("all ranks ended without a result")
        return self._result

    def _joined(self) -> bool:
        try:
            return bool(self._processes.join(timeout=POLL_S, grace_period=GRACE_S))
        except ProcessException as error:
            self._listen()
            codes = [process.exitcode for process in self._processes.processes]
            killed = any(code is not None and -code in KILLS for code in codes)
            raise (RankLost if killed else RankError)(self._first_cause(str(error))) from None

    def _first_cause(self, otherwise: str) -> str:
        """Name the rank that failed first: when one is killed, the others fail a moment later for want of it."""
        for rank, process in enumerate(self._processes.processes):
            code = process.exitcode
            if code is not None and -code in KILLS:
                return f"rank {rank} was killed by {signal.Signals(-code).name}"
        if not self._failures:
            return otherwise.strip().splitlines()[-1]
        rank, (_, cause) = min(self._failures.items(), key=lambda item: item[1][0])
        return f"rank {rank}: {cause}"

    def _listen(self) -> None:
        for rank, pipe in list(self._pipes.items()):
            try:
                while pipe.poll():
                    self._hear(rank, *pipe.recv())
            except (EOFError, OSError):  # the rank has ended, perhaps in the middle of a word
                del self._pipes[rank]

    def _hear(self, rank: int, kind: str, *said: Any) -> None:
        if kind == "epoch":
            self._around.report(*said)
        elif kind == "log":
            level, message = said
            log.log(level, "rank %d: %s", rank, message)
        elif kind == "result":
            self._result = TrainResult(*said)
        elif kind == "interrupted":
            self._interrupted = True
        elif kind == "outdated":
            (self._outdated,) = said
        elif kind == "unsaved":
            (self._unsaved,) = said
        else:
            when, cause, trace = said
            self._failures[rank] = (when, cause)
            log.error("rank %d failed:\n%s", rank, trace)


def _rank_main(rank: int, job: _Job, pipes: list[Connection], stop: Any) -> None:
    """Train as one of the ranks; the entry point of a process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe = pipes[rank]
    device = torch.device("cuda", rank) if job.around.device.type == "cuda" else job.around.device
    torch.set_num_threads(job.threads)
    with _saying(pipe, job.around.root), _group(rank, job, device):
        around = replace(
            job.around, device=device, world=World(rank, job.run.train.ranks), should_stop=stop.is_set,
            report=lambda epoch, metrics: pipe.send(("epoch", epoch, metrics)),
        )  # fmt: skip
        try:
            result = train_rank(job.run, around)
        except Interrupted:
            pipe.send(("interrupted",))
            return
        except Outdated as error:  # all ranks find it alike
            pipe.send(("outdated", str(error)))
            return
        except Unsaved as error:
            pipe.send(("unsaved", str(error)))
            return
        if rank == 0:
            pipe.send(("result", *(getattr(result, name) for name in asdict(result))))


def _end_with_parent() -> None:
    """End this process at once when the one that started it is gone: nobody hears it, and another may take the run over."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _group(rank: int, job: _Job, device: torch.device) -> Iterator[None]:
    """Join the ranks, over a file in the run's folder: no port, and nothing that two trainings on a machine could share."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # The store itself and not its address, in which torch would not understand a space.
    store = dist.FileStore(str(job.rendezvous), job.run.train.ranks)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=job.run.train.ranks)
    yield
    dist.destroy_process_group()  # after a failure the others may never answer, and the process ends anyway


@contextmanager
def _saying(pipe: Connection, root: Path) -> Iterator[None]:
    """Send log records and a failure to the process that started this one."""
    handler = _ToPipe(pipe)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    except Exception as error:
        pipe.send(("failed", time.time(), cause_of(error, root), traceback.format_exc()))
        raise


class _ToPipe(logging.Handler):
    """A log that is written elsewhere."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(logging.INFO)
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self._pipe.send(("log", record.levelno, record.getMessage()))


def _nowhere(epoch: int, metrics: dict[str, float]) -> None:
    raise RuntimeError("a rank reports through its pipe")


def _never() -> bool:
    return False
