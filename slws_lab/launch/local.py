"""The local launcher: on GPUs workers that share each by measured memory, on a CPU one for as many cores as a run has threads."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psutil

from slws_lab.errors import UserError
from slws_lab.launch.inventory import Gpu, Inventory, Machine
from slws_lab.launch.launcher import Job, Needs, Work
from slws_lab.launch.process import WorkerProcess, environment
from slws_lab.launch.shared_gpu import SharedGpu
from slws_lab.launch.warm import Waiting, Warm
from slws_lab.spec import Resources


class Local:
    """Starts workers on this machine. They are commands, in sessions of their own, and end when this process ends.

    Args:
        inventory: What the machine has; None looks.
    """

    name = "local"

    def __init__(self, inventory: Inventory | None = None) -> None:
        self._inventory = inventory or Machine()
        self._warm = Warm()

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        """Return how many runs fit at a time while nothing is known of them: on a GPU one."""
        gpus = self._gpus(resources, ranks)
        return len(gpus) // ranks if gpus else max(1, self._inventory.cores() // (resources.threads * ranks))

    def warm(self, work: Work) -> Warm:
        """Return workers that are started before their attempts are known; `start` takes those that were.

        There are none on GPUs, where loading what trains is the least of it.

        Args:
            work: What there will be to do, its attempts aside; `most` jobs.
        """

        def start() -> list[Waiting]:
            own = environment(work.resources.threads, None)
            jobs = range(self.slots(work.resources, work.ranks))[: work.most]
            logs = [_log(work.jobs / _name(i, 0)) for i in jobs]
            return (
                [] if self._gpus(work.resources, work.ranks) else [Waiting.start(work.root, log, own) for log in logs]
            )

        self._warm = Warm(start)
        return self._warm

    def start(self, work: Work) -> list[Job]:
        gpus = self._gpus(work.resources, work.ranks)
        jobs = work.jobs_of(self.slots(work.resources, work.ranks))
        if gpus and work.needs is not None and work.ranks == 1 and work.most is None:
            return self._share(work, work.needs, gpus[:jobs])
        if gpus and work.most is not None:  # alone also means beside as few other programs as there can be
            gpus = sorted(gpus, key=lambda gpu: self._inventory.usage(gpu).used_gb - gpu.memory_gb)
        groups = [",".join(gpu.visible for gpu in gpus[i * work.ranks : (i + 1) * work.ranks]) for i in range(jobs)]
        started = [self._start(work, work.jobs / _name(i, 0), group or None) for i, group in enumerate(groups)]
        self._warm.release()
        return list(started)

    def _start(self, work: Work, path: Path, devices: str | None) -> WorkerProcess:
        own = environment(work.resources.threads, devices)
        return WorkerProcess(work, path, own, waiting=self._warm.take(_log(path), own))

    def _share(self, work: Work, needs: Needs, gpus: Sequence[Gpu]) -> list[Job]:
        shared = [
            SharedGpu(work, needs, gpu, self._inventory, partial(_name, number)) for number, gpu in enumerate(gpus)
        ]
        for gpu in shared:
            gpu.beside = shared
        return list(shared)

    def _gpus(self, resources: Resources, ranks: int) -> list[Gpu]:
        """Return the GPUs that runs may take; none where they are for the CPU.

        Raises:
            UserError: There are fewer than a run asks for.
        """
        found = list(self._inventory.gpus()) if resources.gpus != 0 else []
        if resources.gpus == 1 and not found:
            raise UserError("the study asks for 1 GPU a rank, and this machine has none", where="resources.gpus",
                            todo="set `resources: {gpus: 0}`, or leave gpus out to take a GPU only where there is one")  # fmt: skip
        if found and len(found) < ranks:
            raise UserError(f"a run of {ranks} ranks needs as many GPUs, and this machine has {len(found)}",
                            where="train.ranks", todo="use fewer ranks, or `resources: {gpus: 0}`")  # fmt: skip
        return found


def sweep(jobs: Path) -> None:
    """Remove what local launchers of this machine have left when they were killed: lists of work, and logs that say nothing."""
    for path in jobs.glob(f"local-*-{socket.gethostname()}.*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and (path.suffix != ".log" or not path.stat().st_size):
            path.unlink(missing_ok=True)


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}.log")


def _name(slot: int, worker: int) -> str:
    return f"local-{os.getpid()}-{slot}.{worker}-{socket.gethostname()}"
