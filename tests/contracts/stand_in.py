"""Stands in for the worker where launchers are tested: the same job file, claims, stops and records, but without torch and training.

A run lasts as long as the file `hold` is in the project's folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slws_lab.tracking import Attempt, Claim, read_json, starts


def execute(attempt: Attempt, root: Path, threads: int, should_stop: Callable[[], bool]) -> None:
    """Execute an attempt if it is free."""
    claim = Claim.take(attempt.claim)
    if claim is None:
        return
    with claim:
        if attempt.status is not None:
            return
        starts.note_start(attempt, threads=threads, made_by="stand-in")
        while (root / "hold").exists():
            if should_stop():
                attempt.checkpoint.mkdir(exist_ok=True)
                starts.note_stop(attempt)
                return
            time.sleep(0.02)
        pool = os.environ.get("OMP_NUM_THREADS")
        attempt.finish({"status": "finished", "threads": threads, "pool": pool, "task": os.environ.get("SLURM_JOB_ID")})


def main(job: dict[str, Any]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if job.get("parent", True):
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    for attempt in job["attempts"]:
        if not stop.is_set():
            execute(Attempt(Path(attempt)), Path(job["root"]), job["resources"]["threads"], stop.is_set)


if __name__ == "__main__":
    main(read_json(Path(sys.argv[1])))
