"""A worker without a parent: a scheduler's signal to every process of its job stops it, and ends nothing that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from slurm_cluster import wait_for

from slws_lab.spec import Resources
from slws_lab.tracking import write_json

RUN = """\
import multiprocessing, sys, time
from pathlib import Path

def execute(attempt, place, wanted):
    children = [multiprocessing.get_context(way).Process(target=time.sleep, args=(60,)) for way in ("spawn", "fork")]
    for child in children:
        child.start()
    (attempt.path / "up").touch()
    while not place.should_stop():
        time.sleep(0.02)
    time.sleep(0.5)
    (attempt.path / "alive").write_text(str([child.is_alive() for child in children]))
    for child in children:
        child.kill()
    return "interrupted"

if __name__ == "__main__":
    from slws_lab.worker import job
    job.execute = execute
    job.run_job(Path(sys.argv[1]))
"""


def test_a_stop_that_reaches_every_process_of_the_job_ends_neither_ranks_nor_readers(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    job = {"root": str(tmp_path), "attempts": [str(tmp_path)], "parent": False}
    write_json(tmp_path / "job.json", {**job, "resources": Resources(gpus=0).model_dump(mode="json")})
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "job.json")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    wait_for((tmp_path / "up").exists, "children")
    wait_for(lambda: len(psutil.Process(process.pid).children()) >= 2, "children")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 0
    assert (tmp_path / "alive").read_text() == "[True, True]"
