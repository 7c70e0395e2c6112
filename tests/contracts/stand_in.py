"""Stands in for the worker where launchers are tested: the same job file, claims, stops and records, but without torch and training.

A run lasts as long as the file `hold`, or one of its own, is in the folder that the variable HOLDS names.
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

from slws_lab.launch.feed import Line
from slws_lab.tracking import Attempt, Claim, read_json, starts
from slws_lab.worker.holding import Request
from slws_lab.worker.job import awaited


def execute(attempt: Attempt, threads: int, should_stop: Callable[[], bool]) -> str:
    """Execute an attempt if it is free, and return what the worker does."""
    claim = Claim.take(attempt.claim)
    if claim is None:
        return "taken"
    with claim:
        if attempt.status is not None:
            return "taken"
        asked = Request(claim, should_stop)
        starts.note_start(attempt, threads=threads, made_by="stand-in")
        holds = Path(os.environ["HOLDS"])
        while (holds / "hold").exists() or (holds / f"hold-{attempt.run_id}").exists():
            if asked():
                attempt.checkpoint.mkdir(exist_ok=True)
                (attempt.checkpoint / "resume.pt").write_text(attempt.run_id)
                starts.note_stop(attempt)
                return "interrupted"
            time.sleep(0.02)
        pool = os.environ.get("OMP_NUM_THREADS")
        task = os.environ.get("SLURM_JOB_ID")
        attempt.finish({"status": "finished", "threads": threads, "pool": pool, "task": task, "provenance": {}})
    return "finished"


def main(job: dict[str, Any]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if job.get("parent", True):
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    line = Line(map(Path, job["attempts"]), Path(job["feed"]) if job["feed"] else None)
    while (attempt := awaited(line.take, line, stop)) is not None:
        if execute(attempt, job["resources"]["threads"], stop.is_set) == "interrupted":
            line.put_aside()


if __name__ == "__main__":
    main(read_json(Path(sys.argv[1])))
