"""The Ray cluster of a study: reaching or starting it, and what of a job's demands its nodes can meet."""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil
import ray
from ray.exceptions import RayError

from slws_lab.errors import UserError
from slws_lab.launch import inventory
from slws_lab.launch.launcher import LaunchError
from slws_lab.spec import Resources

GB = 2**30
RETURN_S = 1.0  # until the cluster knows what a job that has just ended has given back
END_S = 15.0
ANSWER_S = 5.0


@dataclass(frozen=True)
class Demand:
    """What a job asks of its node, by Ray's names.

    Attributes:
        gpus: GPUs a rank.
        amounts: Name of a resource -> how much, memory in bytes; nothing that is zero.
    """

    gpus: int
    amounts: Mapping[str, float]

    def fits(self, has: Mapping[str, float]) -> int:
        """Return how many such jobs something of these resources can take."""
        return min(math.floor(has.get(name, 0.0) / amount) for name, amount in self.amounts.items())

    def options(self) -> dict[str, Any]:
        """Return it as options of an actor."""
        own = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
        named = {own[name]: amount for name, amount in self.amounts.items() if name in own}
        return {"num_gpus": 0, **named, "resources": {n: a for n, a in self.amounts.items() if n not in own}}


class Cluster:
    """The cluster that a study's resources name; it is reached or started when that is needed."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._shunned: set[str] = set()
        self._address = resources.ray.address or os.environ.get("RAY_ADDRESS") or None

    @property
    def own(self) -> bool:
        """Whether it is one that is started on this machine for the study."""
        return self._address is None

    def connect(self) -> None:
        """Make this process a driver of the cluster, unless it is one.

        Raises:
            UserError: There is none at the address, or of other versions.
            LaunchError: None can be started here.
        """
        if ray.is_initialized():
            return
        address = self._address or _start_head()
        todo = "start one (`ray start --head`), or leave the address and RAY_ADDRESS out"
        if not _answers(address):  # Ray itself would wait for long, and write a line a second
            raise UserError(f"no Ray cluster answers at '{address}'", where="resources.ray.address", todo=todo)
        with _signals_kept():
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError, RayError) as error:
                raise UserError(f"no Ray cluster can be used at '{address}': {_last_line(error)}",
                                where="resources.ray.address", todo=todo) from error  # fmt: skip

    def demand(self, ranks: int) -> Demand:
        """Return what a job of runs of so many processes asks for; GPUs, where that is left open, if a node has some."""
        asked, nodes = self._resources, self.nodes()
        gpus = asked.gpus if asked.gpus is not None else int(any(node.get("GPU", 0) > 0 for node in nodes))
        cpus = (asked.threads + asked.workers) * ranks
        if self.own:  # as on the local launcher, one run fits whatever its threads
            cpus = min(cpus, int(nodes[0]["CPU"]))
        memory = int((asked.ray.memory or 0) * GB)
        amounts = {"CPU": cpus, "GPU": gpus * ranks, "memory": memory, **asked.ray.custom}
        return Demand(gpus, {name: amount for name, amount in amounts.items() if amount})

    def slots(self, ranks: int) -> int:
        """Return how many jobs fit at a time, or how many the study asks for; at least one, which waits until there is room.

        Raises:
            UserError: No node has what a job asks for, and none will be added.
        """
        asked, demand, nodes = self._resources.ray, self.demand(ranks), self.nodes()
        fit = sum(demand.fits(node) for node in nodes)
        if not fit and not asked.autoscaling:
            raise UserError(self.lacking(demand), where="resources", todo="ask for less, or set `resources: {ray: {autoscaling: true}}` "
                            "where the cluster adds nodes")  # fmt: skip
        if asked.jobs is not None or self.own or not fit:
            return asked.jobs or max(1, fit)
        until = time.monotonic() + RETURN_S
        while (free := demand.fits(_free())) < fit and time.monotonic() < until:
            time.sleep(RETURN_S / 10)
        return max(1, min(fit, free))

    def shun(self, node: str) -> None:
        """Give a node no further job, by its id: it does not see the workspace, which the runs need."""
        self._shunned.add(node)

    def options(self, demand: Demand) -> dict[str, Any]:
        """Return the options of an actor: what it demands, and where it must not be."""
        where = {"ray.io/node-id": f"!in({', '.join(sorted(self._shunned))})"}
        return {**demand.options(), **({"label_selector": where} if self._shunned else {})}

    def never(self, demand: Demand) -> bool:
        """Say whether no node can ever meet a demand, as far as is known now."""
        return not self._resources.ray.autoscaling and not any(demand.fits(node) for node in self.nodes())

    def lacking(self, demand: Demand) -> str:
        """Return in words what is asked for and what there is."""
        nodes = "; ".join(_words(node, demand.amounts) for node in self.nodes()) or "none"
        if self._shunned:
            return (
                "no node of the Ray cluster that has what a job asks for sees the workspace, which runs of a command (`kind: command`) "
                f"need; nodes that may see it have: {nodes}"
            )
        return f"no node of the Ray cluster has what a job asks for: {_words(demand.amounts, demand.amounts)}; its nodes have: {nodes}"

    def nodes(self) -> list[Mapping[str, float]]:
        """Return what each node has, taken or not; nothing of those that are shunned."""
        if self.own:
            return [] if self._shunned else [_here()]
        self.connect()
        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in alive if node["NodeID"] not in self._shunned]


def _here() -> dict[str, float]:
    return {"CPU": inventory.cores(), "GPU": len(inventory.gpus()), "memory": psutil.virtual_memory().total}


def _devices() -> dict[str, str]:
    """Return the variable that names our GPUs, for Ray to hand out: by itself it would count a GPU that is cut in parts (MIG) as one."""
    names = ",".join(gpu.visible for gpu in inventory.gpus())
    return {"CUDA_VISIBLE_DEVICES": names} if names else {}


def _answers(address: str) -> bool:
    """Say whether something listens at an address; one that names no port is Ray's to find."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError:
        return False
    return True


def _free() -> dict[str, float]:
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return free


@cache
def _start_head() -> str:
    """Start a cluster on this machine that ends with this process, and return its address."""
    # In a file, since nobody would read a pipe; and open as long as this process, as is its standard input.
    said = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "slws_lab.launch.ray_head", json.dumps(_here())], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=said, start_new_session=True, env={**os.environ, **_devices(), "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert process.stdin and process.stdout
    address = process.stdout.readline().decode().strip()
    if not address:
        process.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()[-15:]
        raise LaunchError("Ray cannot be started on this machine:\n" + "\n".join(lines))
    atexit.register(_end_head, process)
    return address


def _end_head(process: subprocess.Popen[bytes]) -> None:
    ray.shutdown()
    assert process.stdin
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):  # it ends by itself, only later
        process.wait(END_S)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this process's handlers of signals, in place of which Ray sets its own."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items() if main else ():
            signal.signal(number, handler)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _words(amounts: Mapping[str, float], names: Mapping[str, float]) -> str:
    shown = {name: amounts.get(name, 0) / (GB if name == "memory" else 1) for name in names}
    return ", ".join(f"{amount:.4g} {name}{' (GB)' if name == 'memory' else ''}" for name, amount in shown.items())
