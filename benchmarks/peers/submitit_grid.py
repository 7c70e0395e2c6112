"""The grid by submitit's local executor: a process a training, so many in hand at a time."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from submitit import LocalExecutor
from train_once import train_once


def main(lrs: list[float], seeds: list[int], at_a_time: int, folder: str) -> None:
    executor = LocalExecutor(folder)
    executor.update_parameters(timeout_min=30)
    left, jobs = list(itertools.product(lrs, seeds)), []
    while left or jobs:
        for job in [job for job in jobs if job.done()]:
            job.result()
            jobs.remove(job)
        while left and len(jobs) < at_a_time:
            jobs.append(executor.submit(train_once, *left.pop(0)))
        time.sleep(0.1)


if __name__ == "__main__":
    main(
        [float(x) for x in sys.argv[1].split(",")],
        [int(x) for x in sys.argv[2].split(",")],
        int(sys.argv[3]),
        sys.argv[4],
    )
