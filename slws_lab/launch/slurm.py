"""The Slurm launcher: one array of jobs, each of which executes runs until none is free, and is started again where Slurm stopped it.

What waits or works is asked of squeue, what is done is seen in the run folders: accounting (sacct) is often absent. Jobs outlive the
command that submitted them; the same command finds them again in the queue, by their names, which are those of their folders.
"""

from __future__ import annotations

import io
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from slws_lab.errors import UserError
from slws_lab.launch.feed import Listed
from slws_lab.launch.launcher import FRESH, UNWRITABLE, Job, LaunchError, Work
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, Claim, read_json, write_json

LOOK_S = 10.0
PATIENCE_S = 1800.0  # a controller may be restarted or moved; what it has started works on meanwhile
ENDING_S = 60.0
COMMAND_S = 120.0
WARNING_S = 120  # Slurm may warn up to 60 s earlier
START_MINUTES = 5
LOG_TAIL = 15
STUCK = (
    "AssocMaxWallDurationPerJobLimit", "BadConstraints", "InvalidAccount", "InvalidQOS", "JobHeldAdmin", "PartitionNodeLimit",
    "PartitionTimeLimit", "QOSMaxWallDurationPerJobLimit", "launch failed",
)  # fmt: skip  # reasons of waiting that no waiting ends

# A stop comes as SIGTERM (preemption, cancelled: Slurm itself says what follows) or as the warning SIGUSR1 (the time limit is near:
# the job goes back in the queue). A worker that died is replaced, three times at most; its own wish for a fresh one does not count.
TASK = """\
cd {folder}
task=$SLURM_ARRAY_TASK_ID stopped= again= deaths=0 code=1
rm -f "$task.code"
trap 'stopped=1; kill -TERM "$worker"' TERM
trap 'stopped=1; again=1; kill -TERM "$worker"' USR1
while [ -z "$stopped" ] && [ "$code" -ne 0 ] && [ "$deaths" -lt 3 ]; do
  {worker} &
  worker=$!
  wait "$worker"
  code=$?
  while [ "$code" -gt 128 ] && kill -0 "$worker" 2>/dev/null; do wait "$worker"; code=$?; done
  [ "$code" -eq {fresh} ] || deaths=$((deaths + 1))
done
[ -z "$stopped" ] || code=0
[ -n "$again" ] && scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$task" && exit 0
echo "$code" > "$task.code"
exit "$code"
"""
T = TypeVar("T")


class Slurm:
    """Submits jobs through submitit, on the machine that this process runs on. The workspace must be seen by the nodes."""

    name = "slurm"

    def __init__(self) -> None:
        self._patience_s = ENDING_S  # who has just given the command is told soon that nobody answers

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        if shutil.which("sbatch") is None:
            raise UserError("there is no Slurm here: the command `sbatch` is not found", where="--launcher slurm",
                            todo="run this where jobs are submitted, e.g. on the cluster's login node")  # fmt: skip
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise UserError("the Slurm launcher needs the package submitit", where="--launcher slurm",
                            todo="pip install 'slws-lab[slurm]'") from None  # fmt: skip
        return resources.slurm.array_parallelism

    def start(self, work: Work) -> list[Job]:
        """Return the jobs of a command that is no more, if they will come to some of these attempts; else submit new ones.

        Jobs that were asked for with other resources are taken back, and what works of them stops with a checkpoint.
        """
        queue = _insist(_queue, self._patience_s)
        for folder in sorted(work.jobs.glob("slws-*")):
            array = _Array(folder, queue.get(folder.name, {}))
            if array.jobs() and array.shares(work):
                if array.asked(work):
                    return array.jobs()
                array.cancel()
            array.leave(tidy=not array.jobs())
        array = _submit(work, self.slots(work.resources, work.ranks), self._patience_s)
        self._patience_s = PATIENCE_S
        return array.jobs()


class _Array:
    """The jobs of one submission, and the folder with their list and logs.

    Its claim is held by the command that looks after them. One that finds it held by another waits for the jobs, and ends none.
    """

    def __init__(self, folder: Path, waiting: dict[str, str]) -> None:
        self.folder, self._left = folder, waiting
        self._looked = self._heard = time.monotonic()
        self._cancelled = self._kept = False
        self._claim = Claim.take(folder / "claim")

    @property
    def file(self) -> Path:
        return self.folder / "job.json"

    def jobs(self) -> list[Job]:
        return [_Task(self, task) for task in sorted(self._left, key=int)]

    def shares(self, work: Work) -> bool:
        """Say whether these jobs will come to some attempts of a work."""
        ours = Listed(work.feed, work.attempts)
        ours.look()
        return (work.feed is not None and self._feed() == work.feed) or not ours.known.keys().isdisjoint(self._known())

    def asked(self, work: Work) -> bool:
        """Say whether they were asked for with what a work may use, and for its list."""
        job = read_json(self.file) or {}
        return bool(job.get("asked") == work.resources.model_dump(mode="json")) and self._feed() == work.feed

    def works(self, task: str) -> bool:
        every = 1.0 if self._cancelled else LOOK_S
        if self._left and time.monotonic() >= self._looked + every:
            self._look()
        return task in self._left

    def cancel(self) -> None:
        """Take back what waits, and ask what works to stop."""
        if self._cancelled or not self._left:
            return
        self._cancelled = True
        if not self._ours():
            self._left = {}
            return
        _insist(partial(self._scancel, "--state=PENDING"), ENDING_S)
        _insist(partial(self._scancel, "--batch", "--signal=TERM"), ENDING_S)

    def kill(self) -> None:
        self._cancelled = True
        if not self._ours():
            self._left = {}
        until = time.monotonic() + ENDING_S
        if self._left:
            self._look()
        if self._left:
            _insist(partial(self._scancel, "--full", "--signal=KILL"), ENDING_S)
            _insist(self._scancel, ENDING_S)
        while self._left:
            if time.monotonic() > until:
                raise LaunchError(f"Slurm has not ended the jobs of the name {self.folder.name}; "
                                  f"to end them: scancel --name={self.folder.name}")  # fmt: skip
            time.sleep(0.2)
            self._look()

    def leave(self, *, tidy: bool) -> None:
        """Look after these jobs no more; remove their files if asked, and if no other command looks after them."""
        ours = self._ours() if tidy else self._claim is not None
        if self._claim is not None:
            self._claim.__exit__()
            self._claim = None
        if tidy and ours and not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _ours(self) -> bool:
        if self._claim is None and self.folder.exists():
            self._claim = Claim.take(self.folder / "claim")
        return self._claim is not None

    def _scancel(self, *options: str) -> None:
        _ask("scancel", f"--user={os.getuid()}", f"--name={self.folder.name}", *options)

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            self._left = _queue().get(self.folder.name, {})
        except LaunchError as error:
            if time.monotonic() < self._heard + PATIENCE_S:
                return
            raise LaunchError(
                f"Slurm does not answer any more; its jobs may go on, and the same command finds them\n{error}"
            ) from None
        self._heard = time.monotonic()
        stuck = sorted({reason for reason in self._left.values() if reason.startswith(STUCK)})
        if stuck and not self._cancelled and all(reason.startswith(STUCK) for reason in self._left.values()):
            raise LaunchError(
                f"Slurm will not start the jobs as they are: {', '.join(stuck)}; see `resources.slurm` of the study"
            )
        if not self._left:
            self._end()

    def _end(self) -> None:
        """See how the jobs have ended.

        Raises:
            LaunchError: They died, and none had started a run; with the end of a log.
        """
        job = read_json(self.file) if self._ours() else None
        died = [self._died(task) for task in range(job["tasks"])] if job else []
        if any(self._code(task) == str(UNWRITABLE) for task in range(len(died))):
            self._kept = True
            raise LaunchError(f"a job cannot write what must be kept; nothing is lost; {self._said()}")
        if died and all(died) and not self._cancelled and not self._started_any():
            self._kept = True  # the message names its log; the next start removes it
            raise LaunchError(f"jobs end before they start a run; {self._said()}")
        self.leave(tidy=True)

    def _died(self, task: int) -> bool:
        return self._code(task) != "0"

    def _code(self, task: int) -> str:
        path = self.folder / f"{task}.code"
        return path.read_text().strip() if path.exists() else ""

    def _started_any(self) -> bool:
        """Say whether a run was started since these jobs were submitted, both by the file server's clock."""
        submitted = self.file.stat().st_mtime
        logs = [Attempt(attempt).starts for attempt in self._known()]
        return any(log.exists() and log.stat().st_mtime >= submitted for log in logs)

    def _feed(self) -> Path | None:
        """Return the list by which these jobs may get more; None without one."""
        feed = (read_json(self.file) or {}).get("feed")
        return Path(feed) if feed else None

    def _known(self) -> list[Path]:
        """Return all attempts that these jobs were asked for."""
        listed = Listed(self._feed(), map(Path, (read_json(self.file) or {}).get("attempts", ())))
        listed.look()
        return list(listed.known)

    def _said(self) -> str:
        for log in sorted(self.folder.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            if lines:
                return "\n".join([f"the end of {log}:", *lines[-LOG_TAIL:]])
        return f"there is no log in {self.folder}: can the nodes write there, or did somebody end the jobs?"


class _Task:
    """One job of an array."""

    def __init__(self, array: _Array, task: str) -> None:
        self._array, self._task = array, task

    def poll(self) -> bool:
        """Return whether the job waits or works.

        Raises:
            LaunchError: Slurm will never start it, or all jobs died before they started a run, or Slurm answers no more.
        """
        return self._array.works(self._task)

    def cancel(self) -> None:
        self._array.cancel()

    def kill(self) -> None:
        self._array.kill()
        self._array.leave(tidy=True)


def _submit(work: Work, slots: int, patience_s: float) -> _Array:
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    tasks = work.jobs_of(slots)
    gpus = _gpus(work.resources)
    folder = work.jobs / f"slws-{uuid.uuid4().hex[:12]}"
    folder.mkdir(parents=True)
    array = _Array(folder, {str(task): "" for task in range(tasks)})
    asked = work.resources.model_dump(mode="json")
    write_json(array.file, {"root": str(work.root), "resources": {**asked, "gpus": gpus}, "asked": asked, "parent": False,
                            "attempts": [str(attempt) for attempt in work.attempts],
                            "feed": str(work.feed) if work.feed else None, "tasks": tasks})  # fmt: skip
    executor = SlurmExecutor(folder)
    executor.update_parameters(**_parameters(work, folder, tasks, gpus))
    worker = shlex.join([sys.executable, "-P", "-m", "slws_lab.worker", str(array.file)])
    script = TASK.format(folder=shlex.quote(str(folder)), worker=worker, fresh=FRESH)

    def submit() -> None:
        if folder.name not in _queue():  # it may be there although the answer was lost
            try:
                with redirect_stderr(io.StringIO()):  # it prints what it raises
                    executor._submit_command(script)  # its documented way for a command that is no pickled function
            except FailedJobError as error:
                raise LaunchError(f"Slurm refuses the jobs: {error}") from error

    try:
        _insist(submit, patience_s)
    except LaunchError:
        array.leave(tidy=True)
        raise
    return array


def _parameters(work: Work, folder: Path, tasks: int, gpus: int) -> dict[str, Any]:
    """Return what submitit calls the options of sbatch; None is left out."""
    resources, asked = work.resources, work.resources.slurm
    each = max(1, math.ceil(len(work.attempts) / tasks))  # one that waits for more is started again where its time ends
    minutes = resources.minutes and math.ceil(resources.minutes * each) + START_MINUTES
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    kind = f"{asked.gpu_type}:" if asked.gpu_type else ""
    return {
        "job_name": folder.name, "partition": asked.partition, "account": asked.account, "qos": asked.qos,
        "constraint": asked.constraint, "mem": asked.mem, "time": asked.time or minutes or None, "nodes": 1, "ntasks_per_node": 1,
        "cpus_per_task": asked.cpus_per_task or (resources.threads + resources.workers) * work.ranks,
        "gpus_per_node": f"{kind}{work.ranks}" if gpus else None,
        "wckey": None, "use_srun": False, "stderr_to_stdout": True,
        "setup": [f"export {name}={resources.threads}" for name in names] + ([] if gpus else ["export CUDA_VISIBLE_DEVICES="]),
        "additional_parameters": {
            **asked.extra, "array": f"0-{tasks - 1}", "output": str(folder / "%a.log"), "open-mode": "append",
            "requeue": True, "signal": f"B:USR1@{WARNING_S}",
        },
    }  # fmt: skip


def _gpus(resources: Resources) -> int:
    """Return the GPUs of a rank; where the study leaves it open, one if a node of the partition has some."""
    if resources.gpus is not None:
        return resources.gpus
    wanted = resources.slurm.partition
    lines = _ask("sinfo", "--noheader", "--format=%P %G", *([f"--partition={wanted}"] if wanted else [])).splitlines()
    parts = [line.split(maxsplit=1) for line in lines]
    return int(any(len(part) == 2 and "gpu" in part[1] and (wanted or part[0].endswith("*")) for part in parts))


def _queue() -> dict[str, dict[str, str]]:
    """Return name -> number in the array -> reason of waiting, of all this user's jobs that wait, work or are ending.

    Raises:
        LaunchError: Slurm does not answer.
    """
    found: dict[str, dict[str, str]] = {}
    for line in _ask("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%K|%r|%j").splitlines():
        task, reason, name = line.split("|", 2)
        found.setdefault(name, {})[task] = reason
    return found


def _insist(act: Callable[[], T], patience_s: float) -> T:
    """Return what an act returns; tried again while the controller is away, and no longer than so many seconds."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return act()
        except LaunchError:
            if (
                time.monotonic() > until
                or subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode == 0
            ):
                raise
            time.sleep(1)


def _ask(*command: str) -> str:
    """Return what a command of Slurm prints.

    Raises:
        LaunchError: It fails, or does not end; with what it said.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"`{shlex.join(command)}`: {error}") from error
    if done.returncode:
        raise LaunchError(f"`{shlex.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout
