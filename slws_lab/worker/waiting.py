"""A worker that waits for its job, and has loaded by then what trains: `python -m slws_lab.worker -`. It may answer a check meanwhile.

Lines of JSON on standard input: first the project's folder (`root`), then any number of `check`, a file with the question, and where its
`answer` goes, then the `job`. Where the input ends before, so does this process: nobody is there any more who would give it one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from slws_lab.tracking import provenance, read_json, write_json
from slws_lab.worker.job import run_job


def wait() -> None:
    """Answer and wait until there is a job, and execute it."""
    from slws_lab.training import check_asked
    from slws_lab.worker import training  # noqa: F401  # what every worker has imported when it gathers its provenance

    with open(
        sys.stdin.fileno(), "rb", buffering=0, closefd=False
    ) as lines:  # what reads ahead would take what the job watches
        for message in map(json.loads, lines):
            if "root" in message:
                provenance.gather(Path(message["root"]))
            elif "check" in message:
                write_json(Path(message["answer"]), check_asked(read_json(Path(message["check"]))))
            else:
                run_job(Path(message["job"]))
                return
