"""A real Ray of several nodes on this machine. A node may be hidden from a folder, so that it does not see a workspace there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from slurm_cluster import wait_for

from slws_lab.launch.ray import guard
from slws_lab.launch.scratch import own_folder
from slws_lab.spec import Resources

# A killed node is told from a slow one: the connection to it is refused, again and again.
NOTICE = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
STORE = {"object_store_memory": 80 * 2**20}


@dataclass
class Nodes:
    """A cluster, of its head for a start. It is stopped when used as a context manager."""

    cpus: int
    folder: Path = field(default_factory=lambda: own_folder("slws-ray"))
    hidden: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        guard(Resources())  # before Ray is imported, which reads then who may talk to it
        from ray.cluster_utils import Cluster

        os.environ["RAY_TMPDIR"] = str(self.folder)
        (self.folder / "ray").mkdir()
        head = {"num_cpus": self.cpus, "include_dashboard": False, "_system_config": NOTICE, **STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_hidden(self, cpus: int, folder: Path) -> int:
        """Add a node that sees an empty folder in the place of a folder, and return the number of its first process."""
        options = (
            f"--address={self.address} --num-cpus={cpus} --object-store-memory={STORE['object_store_memory']} --block"
        )
        start = f"mount -t tmpfs none {folder} && exec {sys.executable} -m ray.scripts.scripts start {options}"
        command, own = ["unshare", "--mount", "sh", "-c", start], {**os.environ, "TMPDIR": str(self.folder)}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=own, start_new_session=True)
        self.hidden.append(process)
        return process.pid

    def wait(self, count: int) -> None:
        """Wait until so many nodes are there, the head included."""
        wait_for(lambda: sum(node["Alive"] for node in self._cluster.global_state.node_table()) == count, "nodes")

    def actors(self, state: str) -> int:
        """Return how many actors are in a state, by Ray's name of it."""
        return len(self._cluster.global_state.actor_table(None, None, state))

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self.hidden:
            kill_tree(process.pid)
            process.wait()
        self._cluster.shutdown()
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Mixed:
    """A cluster of which one node does not see a folder.

    Attributes:
        nodes: The cluster.
        folder: The folder.
        blind: The number of the node's first process.
    """

    nodes: Nodes
    folder: Path
    blind: int

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a command that is to use the cluster."""
        return {**os.environ, "RAY_ADDRESS": self.nodes.address}


def kill_tree(pid: int) -> list[psutil.Process]:
    """Kill a process and all that come from it at once, as when a machine is lost; return them when they are gone."""
    if not psutil.pid_exists(pid):
        return []
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in tree:
        process.suspend()
    tree += [child for child in psutil.Process(pid).children(recursive=True) if child not in tree]
    for process in tree:
        process.kill()
    wait_for(lambda: not any(is_alive(process) for process in tree), "end of a node")
    return tree


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def can_hide() -> bool:
    return (
        os.getuid() == 0
        and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    )
