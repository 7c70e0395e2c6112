"""The bridge: executes runs and writes what they leave behind. Its job is a command: `python -m slws_lab.worker JOB.json`.

`executing` is what every run has in common: claim, log, result. `training` trains with this package, `command` runs a command of the
user's; only the first of them loads torch, and only when there is something to train.
"""

from slws_lab.worker.executing import execute
from slws_lab.worker.holding import Place
from slws_lab.worker.job import run_job

__all__ = ["Place", "execute", "run_job"]
