"""What a job asks of a Ray cluster, and how many fit; the cluster is a list of nodes here, and none is started."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from slws_lab.errors import UserError
from slws_lab.launch import LAUNCHERS, Ray, inventory
from slws_lab.launch.scratch import own_folder
from slws_lab.spec import Resources

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the package ray")

GB = 2**30
CPUS = {"CPU": 16.0, "memory": 64.0 * GB}
GPUS = {"CPU": 32.0, "GPU": 4.0, "memory": 256.0 * GB, "fast_disk": 1.0}


def cluster(
    monkeypatch: pytest.MonkeyPatch, nodes: list[Mapping[str, float]], free: Mapping[str, float], **asked: Any
) -> Any:
    from slws_lab.launch import ray_cluster

    monkeypatch.setattr(ray_cluster.Cluster, "nodes", lambda self: nodes)
    monkeypatch.setattr(ray_cluster, "_free", lambda: free)
    monkeypatch.setattr(ray_cluster, "RETURN_S", 0.05)
    resources = {**asked, "ray": {"address": "10.0.0.1:6379", **asked.get("ray", {})}}
    return ray_cluster.Cluster(Resources.model_validate(resources))


def test_a_job_asks_for_threads_and_readers_of_each_rank_a_gpu_each_memory_and_what_else_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"threads": 2, "workers": 3, "ray": {"memory": 1.5, "custom": {"fast_disk": 0.5}}}
    demand = cluster(monkeypatch, [CPUS, GPUS], {}, **asked).demand(2)
    assert demand.gpus == 1  # as there are some
    assert demand.options() == {"num_cpus": 10, "num_gpus": 2, "memory": 1.5 * GB, "resources": {"fast_disk": 0.5}}
    demand = cluster(monkeypatch, [CPUS], {}, threads=2).demand(1)
    assert (demand.gpus, demand.options()) == (0, {"num_cpus": 2, "num_gpus": 0, "resources": {}})


def test_as_many_jobs_fit_as_the_nodes_and_what_is_free_of_them_allow_and_one_may_always_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slots(free: Mapping[str, float], **asked: Any) -> int:
        return int(cluster(monkeypatch, [CPUS, GPUS], free, **asked).slots(1))

    everything = {"CPU": 48.0, "GPU": 4.0, "memory": 320.0 * GB}
    assert slots(everything) == 4
    assert slots(everything, gpus=0, threads=12) == 1 + 2  # 48 free cores would take four, but no node two and a half
    assert slots({**everything, "GPU": 1.0}) == 1
    assert slots({}) == 1
    assert slots(everything, gpus=0, ray={"memory": 100}) == 2
    assert slots(everything, ray={"jobs": 9}) == 9


def test_what_no_node_has_is_one_message_that_says_what_there_is_unless_the_cluster_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match=r"8 GPU.*its nodes have: 16 CPU, 0 GPU; 32 CPU, 4 GPU(?s:.*)autoscaling"):
        cluster(monkeypatch, [CPUS, GPUS], {}, gpus=1).slots(8)
    assert cluster(monkeypatch, [CPUS], {}, gpus=1, ray={"autoscaling": True}).slots(8) == 1
    assert not cluster(monkeypatch, [CPUS], {}, ray={"autoscaling": True}).never(cluster(monkeypatch, [], {}).demand(1))
    alone = cluster(monkeypatch, [], {})
    assert alone.never(alone.demand(1))


def test_a_cluster_of_its_own_has_what_this_machine_has_and_takes_a_run_of_more_threads_than_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # or this process would be given one for good
    monkeypatch.setattr(inventory, "gpus", tuple)
    monkeypatch.setattr(inventory, "cores", lambda: 4)
    assert [Ray().slots(Resources(threads=threads)) for threads in (1, 2, 3, 8)] == [4, 2, 1, 1]
    with pytest.raises(UserError, match="1 GPU; its nodes have: 4 CPU, 0 GPU"):
        Ray().slots(Resources(gpus=1))


def test_a_cluster_of_its_own_is_started_on_the_very_gpus_that_are_there_so_on_each_instance_of_one_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from slws_lab.launch import ray_cluster

    def devices(*gpus: inventory.Gpu) -> str | None:
        monkeypatch.setattr(inventory, "gpus", lambda: gpus)
        assert ray_cluster._start_head.__wrapped__() == "127.0.0.1:1"
        return started[-1].get("CUDA_VISIBLE_DEVICES")

    def start(command: list[str], **options: Any) -> Any:
        started.append(options["env"])
        return SimpleNamespace(stdin=io.BytesIO(), stdout=io.BytesIO(b"127.0.0.1:1\n"))

    started: list[dict[str, str]] = []
    monkeypatch.setattr(ray_cluster.subprocess, "Popen", start)
    monkeypatch.setattr(ray_cluster.atexit, "register", lambda *_: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    parts = [inventory.Gpu(f"0:{i}", "A part", 10.0, f"MIG-{i}") for i in range(2)]
    assert devices(*parts) == "MIG-0,MIG-1"
    assert devices(inventory.Gpu("3", "One without a UUID", 80.0)) == "3"
    assert devices() is None


def test_a_node_that_is_shunned_gets_no_job_and_when_none_is_left_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from slws_lab.launch import ray_cluster

    nodes = [{"Alive": True, "NodeID": name, "Resources": {"CPU": 4.0}} for name in ("aa", "bb")]
    monkeypatch.setattr(ray_cluster.Cluster, "connect", lambda self: None)
    monkeypatch.setattr(ray_cluster.ray, "nodes", lambda: nodes)
    found = ray_cluster.Cluster(Resources.model_validate({"ray": {"address": "10.0.0.1:6379"}}))
    demand = found.demand(1)
    assert "label_selector" not in found.options(demand)
    found.shun("bb")
    assert not found.never(demand)
    assert found.options(demand)["label_selector"] == {"ray.io/node-id": "!in(bb)"}
    found.shun("aa")
    assert found.options(demand)["label_selector"] == {"ray.io/node-id": "!in(aa, bb)"}
    assert found.never(demand)
    assert "sees the workspace, which runs of a command (`kind: command`) need" in found.lacking(demand)


def test_without_the_package_the_launcher_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ray" in LAUNCHERS
    monkeypatch.setattr("slws_lab.launch.ray.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"slws-lab\[ray\]"):
        Ray().slots(Resources())


def test_launchers_are_there_without_loading_ray() -> None:
    code = "import sys, slws_lab.launch; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"address": "node 7"}, "address"), ({"address": "http://a:1"}, "address"), ({"jobs": 0}, "jobs"),
        ({"custom": {"GPU": 1.0}}, r"set `resources\.gpus`"), ({"memory": 0.0}, "memory"), ({"custom": {"a": 0.0}}, "custom"),
    ],
)  # fmt: skip
def test_what_ray_cannot_be_asked_for_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Resources.model_validate({"ray": given})


def test_temporary_folders_of_processes_that_are_gone_are_removed_by_the_next(tmp_path: Path) -> None:
    first = own_folder("kind", str(tmp_path))
    system = first.name.split("-")[1]
    dead, alive, elsewhere = (
        tmp_path / name for name in (f"kind-{system}-{2**22 + 1}-x", f"kind-{system}-1-x", f"kind-other-{2**22 + 1}-x")
    )
    for folder in (dead, alive, elsewhere):
        folder.mkdir()
    second = own_folder("kind", str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([first, second, alive, elsewhere])
