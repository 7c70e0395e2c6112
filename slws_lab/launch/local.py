"""The local launcher: one warm worker process a slot, a slot being a GPU, or on a CPU as many cores as a run has threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from slws_lab.errors import UserError
from slws_lab.launch import inventory
from slws_lab.launch.launcher import Job, LaunchError, Work
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, write_json
from slws_lab.tracking.starts import starts

MAX_IDLE_DEATHS = 3
LOG_TAIL = 15


class Local:
    """Starts workers on this machine. They are commands, in sessions of their own, and end when this process ends."""

    name = "local"

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        return len(_devices(resources, ranks))

    def start(self, work: Work) -> list[Job]:
        devices = _devices(work.resources, work.ranks)[: len(work.attempts)]
        return [LocalJob(work, work.jobs / f"local-{os.getpid()}-{i}", device) for i, device in enumerate(devices)]


class LocalJob:
    """A worker process, replaced when it dies of something else than the work's end."""

    def __init__(self, work: Work, path: Path, device: str | None) -> None:
        self._attempts = [Attempt(folder) for folder in work.attempts]
        self._file, self._log = path.with_suffix(".json"), path.with_suffix(".log")
        self._env = _environment(work.resources, device)
        self._idle_deaths = self._cancelled = 0
        resources = work.resources.model_dump(mode="json")
        write_json(
            self._file, {"root": str(work.root), "resources": resources, "attempts": [str(a) for a in work.attempts]}
        )
        self._launch()

    def poll(self) -> bool:
        """Return whether the worker still works; one that died is replaced, unless it dies before it starts any run.

        Raises:
            LaunchError: Workers die before they start a run; with the end of their log.
        """
        code = self._process.poll()
        if code is None:
            return True
        if code == 0 or self._cancelled:
            self._clean_up()
            return False
        self._idle_deaths = 0 if self._started_any() else self._idle_deaths + 1
        if self._idle_deaths >= MAX_IDLE_DEATHS:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL:])
            raise LaunchError(
                f"workers die (exit code {code}) before they start a run; the end of {self._log}:\n{tail}"
            )
        self._launch()
        return True

    def cancel(self) -> None:
        self._cancelled = 1
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._cancelled = 1
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._clean_up()

    def _launch(self) -> None:
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
        if self._log.exists() and not self._log.stat().st_size:
            self._log.unlink()


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
