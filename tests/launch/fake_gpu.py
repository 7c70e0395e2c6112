"""GPUs that are folders, and a worker that holds memory there: what stands for CUDA where packing is tested. Also the worker's command.

A process's memory is a file with its number as the name and its GB as content. One that finds more taken than there is runs out of
memory as torch does. All that are on a GPU share its speed. No training ends while the file `hold` is in the project's folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from slws_lab.errors import UserError
from slws_lab.launch import need
from slws_lab.launch.feed import Line
from slws_lab.launch.inventory import Gpu, Usage
from slws_lab.launch.launcher import FRESH
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, Claim, journal, read_json, starts, write_json
from slws_lab.worker.job import awaited

KIND = "Fake 10"
TOTAL_GB = 10.0
EPOCH_S = 0.03


@dataclass(frozen=True)
class FakeInventory:
    """A machine with so many GPUs below a folder.

    Attributes:
        root: The folder.
        count: Number of GPUs.
        tells: Whether the driver tells what each process holds.
    """

    root: Path
    count: int = 1
    tells: bool = True

    def gpus(self) -> list[Gpu]:
        return [Gpu(str(i), KIND, TOTAL_GB, f"GPU-{i}") for i in range(self.count)]

    def cores(self) -> int:
        return 2

    def usage(self, gpu: Gpu) -> Usage:
        if (self.folder(gpu.uuid) / "lost").exists():
            raise UserError(f"GPU {gpu.index} fails: it is lost")
        held = holders(self.folder(gpu.uuid))
        return Usage(sum(held.values()), {pid: gb for pid, gb in held.items() if pid} if self.tells else {})

    def folder(self, uuid: str) -> Path:
        return self.root / "gpus" / uuid

    def occupy(self, gb: float, uuid: str = "GPU-0") -> None:
        """Let another program, which is number 0 here, hold memory."""
        self.folder(uuid).mkdir(parents=True, exist_ok=True)
        (self.folder(uuid) / "0").write_text(str(gb))


def holders(folder: Path) -> dict[int, float]:
    """Return pid -> GB of the processes on a GPU that live."""
    found = {}
    for path in folder.glob("[0-9]*"):
        if path.name == "0" or psutil.pid_exists(int(path.name)):
            found[int(path.name)] = float(path.read_text() or 0)
    return found


@dataclass(frozen=True)
class Training:
    """What an attempt does, as its folder says.

    Attributes:
        shape: Its shape.
        gb: Its memory.
        busy: So many processes share a GPU without loss; with more all become slower.
        epochs: Its length, where it is not held.
        tells: Whether it says how fast it is; a command does not.
    """

    shape: str = "a"
    gb: float = 2.0
    busy: int = 100
    epochs: int = 1
    tells: bool = True

    def write(self, attempt: Path) -> None:
        write_json(attempt / "training.json", vars(self))


def execute(attempt: Attempt, job: dict[str, Any], stop: threading.Event) -> str:
    """Execute an attempt if it is free; return its status."""
    uuid = os.environ["CUDA_VISIBLE_DEVICES"]
    gpu, training = Path(job["root"]) / "gpus" / uuid, Training(**(read_json(attempt.path / "training.json") or {}))
    gpu.mkdir(parents=True, exist_ok=True)
    claim = Claim.take(attempt.claim)
    if claim is None:
        return "taken"
    with claim:
        if attempt.status is not None:
            return "taken"
        starts.note_start(attempt, threads=1, made_by="fake")
        (gpu / str(os.getpid())).write_text(str(training.gb))
        _note(attempt, uuid, gpu)
        if sum(holders(gpu).values()) > TOTAL_GB:
            (gpu / str(os.getpid())).unlink()
            attempt.finish({"status": "failed", "cause": "OutOfMemoryError: CUDA out of memory."})
            return "failed"
        for epoch in count(max((entry.step for entry in journal.read(attempt.journal)), default=0) + 1):
            taken = EPOCH_S * max(1.0, len(holders(gpu)) / training.busy)
            if stop.wait(taken) or claim.asked_to_stop():
                starts.note_stop(attempt)
                return "interrupted"
            metrics = {"train/images_per_s": 100 / taken} if training.tells else {"loss": 1.0}
            journal.append(attempt.journal, epoch, time.time(), metrics)
            need.note(attempt.path, need.Need(KIND, training.gb, need.relevant(Resources(**job["resources"]))))
            if epoch >= training.epochs and not Path(job["root"], "hold").exists():
                break
        attempt.finish({"status": "finished"})
    return "finished"


def _note(attempt: Attempt, uuid: str, gpu: Path) -> None:
    """Say in a diary which processes held the GPU as this attempt began."""
    line = {"attempt": attempt.run_id, "gpu": uuid, "gb": sum(holders(gpu).values()), "beside": len(holders(gpu)) - 1}
    with (gpu.parent / "diary.jsonl").open("a") as diary:
        diary.write(json.dumps(line) + "\n")


def main(job: dict[str, Any]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    line = Line(map(Path, job["attempts"]), Path(job["feed"]) if job["feed"] else None)
    while (attempt := awaited(line.take, line, stop)) is not None:
        status = execute(attempt, job, stop)
        if status == "failed":
            sys.exit(0 if stop.is_set() else FRESH)
        if status == "interrupted":
            line.put_aside()


if __name__ == "__main__":
    main(read_json(Path(sys.argv[1])))
