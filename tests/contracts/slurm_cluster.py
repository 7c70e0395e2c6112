"""A real Slurm of one node: a partition, one that preempts it, and one with a short time limit; started in a folder, and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=bf_interval=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 State=UP
PartitionName=high Nodes={host} PriorityTier=10 State=UP
PartitionName=short Nodes={host} MaxTime=5 State=UP
"""


def wait_for(found: Callable[[], object], what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.02)


@dataclass
class Cluster:
    """A Slurm in a folder. The commands find it by the environment variable SLURM_CONF."""

    folder: Path
    _pids: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            ports = one.getsockname()[1], two.getsockname()[1]
        self.configuration.write_text(CONFIGURATION.format(host=host, ports=ports, folder=self.folder))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        options = [f"--{'socket' if name == 'socket' else name + '-file'}={path}" for name, path in files.items()]
        subprocess.run(["munged", "--force", f"--key-file={key}", *options], check=True, capture_output=True)
        self.start_controller()
        self.start_node()
        wait_for(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"), "idle node")

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False).stdout

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.configuration)}

    def start_node(self) -> None:
        self._daemon("slurmd")

    def end(self, name: str, sent: signal.Signals) -> None:
        """End a daemon by a signal."""
        pid = self._pids.pop(name)
        os.kill(pid, sent)
        wait_for(lambda: not lives(pid), f"end of {name}")

    def start_controller(self) -> None:
        self._daemon("slurmctld")

    def empty(self) -> None:
        """End all jobs."""
        self.ask("scancel", "--full", "--signal=KILL", f"--user={os.getuid()}")
        self.ask("scancel", f"--user={os.getuid()}")
        wait_for(lambda: not self.ask("squeue", "--noheader"), "empty queue")

    def stop(self) -> None:
        self.empty()
        for name in ("slurmd", "slurmctld", "munge"):
            pid = int((self.folder / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda pid=pid: not lives(pid), f"end of {name}")

    def _daemon(self, name: str) -> None:
        (self.folder / f"{name}.pid").unlink(missing_ok=True)
        subprocess.run([name], env=self.env, check=True, capture_output=True)
        file = self.folder / f"{name}.pid"
        wait_for(lambda: file.exists() and file.read_text().strip(), name)
        self._pids[name] = int(file.read_text())


def lives(pid: int) -> bool:
    """Say whether a process is there and has not ended; one that waits for its parent to take notice has."""
    try:
        return bool(psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return False
