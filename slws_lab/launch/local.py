"""The local launcher: one warm worker process a slot, a slot being a GPU, or on a CPU as many cores as a run has threads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import psutil

from slws_lab.errors import UserError
from slws_lab.launch import inventory
from slws_lab.launch.launcher import FRESH, UNWRITABLE, Job, LaunchError, Work
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, is_held, write_json
from slws_lab.tracking.claim import owner_of
from slws_lab.tracking.starts import starts

MAX_IDLE_DEATHS = 3
REST_S = 0.5
CALM_S = 60.0
LOOK_S = 10.0
LOG_TAIL = 15


class Local:
    """Starts workers on this machine. They are commands, in sessions of their own, and end when this process ends."""

    name = "local"

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        return len(_devices(resources, ranks))

    def start(self, work: Work) -> list[Job]:
        devices = _devices(work.resources, work.ranks)[: work.most][: len(work.attempts)]
        names = [f"local-{os.getpid()}-{i}-{socket.gethostname()}" for i in range(len(devices))]
        return [LocalJob(work, work.jobs / name, device) for name, device in zip(names, devices, strict=True)]


class LocalJob:
    """A worker process, replaced when it dies of something else than the work's end."""

    def __init__(self, work: Work, path: Path, device: str | None) -> None:
        self._attempts = [Attempt(folder) for folder in work.attempts]
        self._file, self._log = (path.with_name(path.name + ending) for ending in (".json", ".log"))
        self._env = _environment(work.resources, device)
        self._idle_deaths = self._deaths = 0
        self._cancelled = False
        self._rest_until: float | None = None
        self._launched = self._look_at = 0.0
        self._silent = False
        resources = work.resources.model_dump(mode="json")
        write_json(
            self._file, {"root": str(work.root), "resources": resources, "attempts": [str(a) for a in work.attempts]}
        )
        self._launch()

    def poll(self) -> bool:
        """Return whether the worker still works; one that died is replaced, unless it dies before it starts any run.

        The first is replaced at once, those that die soon after it are after a rest that doubles.

        Raises:
            LaunchError: Workers die before they start a run, or the disk refuses what they write; with the end of their log.
        """
        code = self._process.poll()
        if self._cancelled or code == 0:
            if code is not None:
                self._clean_up()
            return code is None
        if code is None:
            self._kill_if_silent()
        elif self._rest_until is None:
            self._rest_until = self._consider(code)
        elif time.monotonic() >= self._rest_until:
            self._launch()
        return True

    def cancel(self) -> None:
        self._cancelled = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._cancelled = True
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._clean_up()

    def _consider(self, code: int) -> float:
        """Return when the worker that ended with a code is to be replaced."""
        now = time.monotonic()
        if code == UNWRITABLE:
            raise LaunchError(
                f"a worker cannot write what must be kept; nothing is lost; the end of {self._log}:\n{self._tail()}"
            )
        if code == FRESH:
            return now
        self._idle_deaths = 0 if self._started_any() else self._idle_deaths + 1
        if self._idle_deaths >= MAX_IDLE_DEATHS:
            raise LaunchError(
                f"workers die (exit code {code}) before they start a run; the end of {self._log}:\n{self._tail()}"
            )
        self._deaths = 1 if now - self._launched > CALM_S else self._deaths + 1
        return now + (min(REST_S * 2 ** (self._deaths - 2), CALM_S) if self._deaths > 1 else 0.0)

    def _kill_if_silent(self) -> None:
        """Kill the worker if it holds a run and its heartbeat has stopped: it hangs so that it cannot end itself, or was stopped."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        me = (socket.gethostname(), self._process.pid)
        held = [a.claim for a in self._attempts if (owner := owner_of(a.claim)) and (owner.host, owner.pid) == me]
        silent = any(not is_held(claim) for claim in held)
        if silent and self._silent:  # twice, since a file server may have stood still for a moment
            self._process.kill()
        self._silent = silent

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL:])

    def _launch(self) -> None:
        self._rest_until, self._launched = None, time.monotonic()
        self._look_at = self._launched + LOOK_S
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-P", "-m", "slws_lab.worker", str(self._file)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, env=self._env, start_new_session=True,
            )  # fmt: skip

    def _started_any(self) -> bool:
        return any(starts(attempt, self._process.pid) for attempt in self._attempts)

    def _clean_up(self) -> None:
        stdin: IO[Any] | None = self._process.stdin
        if stdin is not None:
            stdin.close()
        self._file.unlink(missing_ok=True)
        ended_well = self._process.returncode == 0 and not self._deaths
        if self._log.exists() and (ended_well or not self._log.stat().st_size):
            self._log.unlink()


def sweep(jobs: Path) -> None:
    """Remove what local launchers of this machine have left when they were killed: lists of work, and logs that say nothing."""
    for path in jobs.glob(f"local-*-{socket.gethostname()}.*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and (path.suffix == ".json" or not path.stat().st_size):
            path.unlink(missing_ok=True)


def _devices(resources: Resources, ranks: int) -> list[str | None]:
    """Return the CUDA indices of each slot, as the environment names them; None where a slot is on the CPU."""
    found = inventory.gpus()
    if resources.gpus == 1 and not found:
        raise UserError("the study asks for 1 GPU a rank, and this machine has none", where="resources.gpus",
                        todo="set `resources: {gpus: 0}`, or leave gpus out to take a GPU only where there is one")  # fmt: skip
    if found and resources.gpus != 0:
        if len(found) < ranks:
            raise UserError(f"a run of {ranks} ranks needs as many GPUs, and this machine has {len(found)}",
                            where="train.ranks", todo="use fewer ranks, or `resources: {gpus: 0}`")  # fmt: skip
        indices = [gpu.index for gpu in found]
        return [",".join(indices[i : i + ranks]) for i in range(0, len(found) - ranks + 1, ranks)]
    return [None] * max(1, inventory.cores() // (resources.threads * ranks))


def _environment(resources: Resources, device: str | None) -> dict[str, str]:
    """Return a worker's environment: thread pools as large as the run's threads, one GPU or none visible."""
    threads = str(resources.threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
        "CUDA_VISIBLE_DEVICES": "" if device is None else device,
    }  # fmt: skip
