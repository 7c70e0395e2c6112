"""The Ray launcher: jobs are actors that demand what a run needs, each with a worker as a command on its node.

On a node that sees the workspace a worker claims attempts as everywhere. To any other this process, which then holds the claims,
carries what a run needs, and brings back what it leaves.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
from importlib.util import find_spec

from slws_lab.errors import UserError
from slws_lab.launch.launcher import Job, Work
from slws_lab.spec import Resources

NUMBERS = itertools.count()


class Ray:
    """Starts actors on a cluster, or on one that is started here and ends with this process.

    Args:
        python: What starts Python on a node; None for the one that Ray uses there.
    """

    name = "ray"

    def __init__(self, python: str | None = None) -> None:
        self._python = python

    def slots(self, resources: Resources, ranks: int = 1) -> int:
        if find_spec("ray") is None:
            raise UserError("the Ray launcher needs the package ray", where="--launcher ray",
                            todo="pip install 'slws-lab[ray]'")  # fmt: skip
        guard(resources)
        from slws_lab.launch.ray_cluster import Cluster

        return Cluster(resources).slots(ranks)

    def start(self, work: Work) -> list[Job]:
        slots = self.slots(work.resources, work.ranks)
        from slws_lab.launch.ray_cluster import Cluster
        from slws_lab.launch.ray_job import RayJob

        cluster = Cluster(work.resources)
        cluster.connect()
        # By these names `local.sweep` knows what a command that was killed has left.
        names = [f"local-{os.getpid()}-ray{next(NUMBERS)}-{socket.gethostname()}" for _ in range(work.jobs_of(slots))]
        return [RayJob(work, name, cluster, self._python) for name in names]


def guard(resources: Resources) -> None:
    """Make a cluster that is started here answer to this process only: Ray listens on all interfaces, and executes what it is sent.

    Ray reads these variables when it is imported.

    Args:
        resources: Nothing is done where they, or the environment, name a cluster, or the environment says who may talk to Ray.
    """
    given = resources.ray.address or os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_AUTH_MODE")
    if not given:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
