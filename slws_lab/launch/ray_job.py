"""A job on Ray: an actor, replaced when its node is lost, whose worker executes attempts in the workspace or in copies of them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayError

from slws_lab.launch.feed import Line, Listed
from slws_lab.launch.launcher import LaunchError, Work
from slws_lab.launch.ray_call import Steps, ask, is_ready
from slws_lab.launch.ray_cluster import Cluster
from slws_lab.launch.ray_courier import Courier, carries
from slws_lab.launch.ray_node import Node, Said
from slws_lab.tracking import Attempt, is_held, write_text
from slws_lab.tracking.claim import owner_of

MAX_IDLE_LOSSES = 3
REST_S = 1.0
NODES_S = 60.0  # a node may be restarted; after that, what no node can meet is told
END_S = 10.0


class RayJob:
    """A job, which goes one step further each time it is polled, and waits for Ray only at its end.

    Args:
        work: What there is to do.
        name: The job's name, of its own among the jobs of all commands.
        cluster: Where.
        python: What starts Python on a node; None for the one that Ray uses there.
    """

    def __init__(self, work: Work, name: str, cluster: Cluster, python: str | None) -> None:
        self._cluster, self._demand = cluster, cluster.demand(work.ranks)
        resources = work.resources.model_copy(update={"gpus": self._demand.gpus})
        self._work = replace(work, resources=resources, needs=None, look_in=None)
        self._name, self._python = name, python
        self._files = work.jobs / name
        self._token = self._files.with_name(f"{name}.token")
        self._node: Any = None
        self._begun = self._cancelled = False
        self._worker: tuple[str, int] | None = None
        self._idle_losses = 0
        self._lock = threading.RLock()
        self._life = self._live()
        self.poll()

    def poll(self) -> bool:
        """Return whether the job waits or works; it is started elsewhere when its node is lost.

        Raises:
            LaunchError: No node can meet its demands any more, actors die before they answer, or workers are given up.
        """
        with self._lock:
            try:
                next(self._life)
            except StopIteration:
                return False
            except RayError as error:
                raise LaunchError(f"a job on Ray failed: {error}") from error
        return True

    def cancel(self) -> None:
        """Ask the worker to stop, with a checkpoint; a job that waits for a node is taken back."""
        with self._lock:
            self._cancelled = True
            if self._begun:
                self._node.cancel.remote()

    def kill(self) -> None:
        """End the job now. Returns when its worker is gone, or its node does not answer."""
        with self._lock:
            self._cancelled = True
            self._life.close()

    def _live(self) -> Steps[None]:
        """Work on one node after another until nothing is left."""
        while not self._cancelled:
            self._worker = None
            try:
                if (yield from self._on_a_node()):
                    return
            except RayActorError as error:
                self._consider(error)
            yield from self._until_free()

    def _on_a_node(self) -> Steps[bool]:
        """Work on a node; return whether nothing is left to do there, or elsewhere."""
        write_text(self._token, "")
        options = self._cluster.options(self._demand)
        self._node = ray.remote(Node).options(**options).remote(self._work, self._name, self._python)
        try:
            sees = yield from self._placed()
            if self._cancelled:
                return True
            self._begun = True
            if sees if self._work.resources.ray.shared is None else self._work.resources.ray.shared:
                yield from self._watch()
            elif (yield from self._carries()):
                yield from Courier(self._node, self._work, self._heard, lambda: self._cancelled).carry_all()
            else:
                yield from self._shun()
                return False
            return True
        finally:
            if self._begun:
                ray.wait([self._node.end.remote()], timeout=END_S)
            self._begun = False
            ray.kill(self._node)
            self._tidy()

    def _tidy(self) -> None:
        """Remove the job's files, also those that a lost node has left; a log that says something stays."""
        log = self._files.with_name(f"{self._files.name}.log")
        for path in (self._token, self._files.with_name(f"{self._files.name}.json")):
            path.unlink(missing_ok=True)
        if log.exists() and not log.stat().st_size:
            log.unlink()

    def _placed(self) -> Steps[bool]:
        """Wait until the actor is on a node, or the job is cancelled, and return whether that node sees the workspace."""
        answer, look_at = self._node.sees.remote(self._token), time.monotonic() + NODES_S
        while not is_ready(answer):
            if self._cancelled:
                return False
            if time.monotonic() > look_at:
                look_at += NODES_S
                if self._cluster.never(self._demand):
                    raise LaunchError(self._cluster.lacking(self._demand))
            yield
        return bool(ray.get(answer))

    def _carries(self) -> Steps[bool]:
        """Say whether the runs can be carried, as soon as the first is known; also if there will be none."""
        line = Line(self._work.attempts, self._work.feed)
        while (first := line.first()) is None and line.open and not self._cancelled:
            yield
        return first is None or carries(first)

    def _shun(self) -> Steps[None]:
        """Leave the runs to nodes that see the workspace."""
        self._cluster.shun((yield from ask(self._node.place.remote)))
        if self._cluster.never(self._demand):
            raise LaunchError(self._cluster.lacking(self._demand))

    def _watch(self) -> Steps[None]:
        """Look after a worker in the workspace until it ends."""
        yield from ask(self._node.begin.remote)
        while True:
            said = yield from ask(self._node.look.remote)
            self._heard(said)
            if not said.working:
                return
            yield

    def _heard(self, said: Said) -> None:
        if said.error:
            raise LaunchError(said.error)
        self._worker, self._idle_losses = (said.host, said.pid), 0

    def _consider(self, error: RayActorError) -> None:
        if self._worker is None:
            self._idle_losses += 1
        if self._idle_losses >= MAX_IDLE_LOSSES or isinstance(error, ActorUnschedulableError):
            raise LaunchError(f"Ray cannot start a job; slws_lab must be installed on its nodes\n{error}") from error

    def _until_free(self) -> Steps[None]:
        """Wait until nothing is held any more by the worker that was lost: its heartbeat stands still, if nothing else is known of it."""
        rest = time.monotonic() + REST_S
        listed = Listed(self._work.feed, self._work.attempts)
        listed.look()
        claims = [Attempt(folder).claim for folder in listed.known] if self._worker else []
        claims = [c for c in claims if (owner := owner_of(c)) and (owner.host, owner.pid) == self._worker]
        while not self._cancelled and (time.monotonic() < rest or any(is_held(claim) for claim in claims)):
            yield
