"""A real Slurm for the tests that ask for one; they are skipped where it cannot be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from places import place
from slurm_cluster import Cluster

__all__ = ["cluster", "place", "slurm"]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        pytest.skip("needs " + (", ".join(missing) if missing else "root") + " (SLWS_TEST_SERVERS=1 installs Slurm)")
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def slurm(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, with nothing in its queue before and after, and what a test imports pointed at it."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    yield cluster
    cluster.empty()
