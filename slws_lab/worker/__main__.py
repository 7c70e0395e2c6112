"""A job as a command: `python -m slws_lab.worker JOB.json`; with `-` for the job it waits to be told, see `waiting`."""

import sys
from pathlib import Path

from slws_lab.worker.job import run_job

if __name__ == "__main__":
    if sys.argv[1] == "-":
        from slws_lab.worker.waiting import wait

        wait()
    else:
        run_job(Path(sys.argv[1]))
