"""Studies on a real Ray: the records equal those of the local launcher bit by bit, whatever happens to nodes, jobs and the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from conftest import RECIPE, STUDY, Folder, make_project, numbers, on_one_core, start_slws
from ray_nodes import Mixed, Nodes, can_hide, is_alive, kill_tree
from slurm_cluster import lives, wait_for

from slws_lab.tracking import Attempt, Workspace, differences, is_held
from slws_lab.tracking.claim import owner_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the package ray"),
    pytest.mark.skipif(
        os.environ.get("SLWS_TEST_SERVERS") != "1", reason="starts clusters for minutes: SLWS_TEST_SERVERS=1"
    ),
]

TWO = STUDY.replace("seeds: 3", "seeds: 1")
LONG_RECIPE = RECIPE.replace("epochs: 2", "epochs: 24")
COMMAND = """\
kind: command
name: waits
command: "{python} experiments/waits.py {x.level}"
fields: {x.level: {type: int, value: 1}}
metrics: {stdout: "epoch (?P<epoch>\\\\d+): (?P<top1>\\\\d+)", step: epoch, names: {val/top1: top1}}
epochs: 1
"""
WAITS = """\
import sys, time
from pathlib import Path
until = time.monotonic() + 60
while not Path("go").exists() and time.monotonic() < until:
    time.sleep(0.02)
print("epoch 1: 5" + sys.argv[1], flush=True)
"""
hides = pytest.mark.skipif(not can_hide(), reason="needs root, to hide the workspace from a node")
Undisturbed = Callable[[], Folder]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, finished: Folder) -> Undisturbed:
    """The study of two long runs by the local launcher; it is at work from now on, and waited for when it is asked for."""
    folder = project(tmp_path_factory.mktemp("undisturbed") / "here", finished, TWO, LONG_RECIPE)
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = start_slws(folder, "run", "tiny", **silent, **on_one_core())

    def ended() -> Folder:
        assert process.wait(240) == 0
        return folder

    return ended


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    """A cluster of two nodes of a core each, of which one does not see a folder, nor the projects in it."""
    with Nodes(cpus=1) as nodes:
        folder = tmp_path_factory.mktemp("hidden")
        blind = nodes.add_hidden(1, folder)
        nodes.wait(2)
        yield Mixed(nodes, folder, blind)


def project(path: Path, known: Folder, study: str = STUDY, recipe: str = RECIPE) -> Folder:
    folder = make_project(path, study, recipe)
    shutil.copytree(known.workspace / "cache", folder.workspace / "cache")
    return folder


def attempts(folder: Folder) -> list[Attempt]:
    return [attempt for run in Workspace(folder.workspace).folders() for attempt in run.attempts()]


def starts(attempt: Attempt) -> list[int]:
    """Return the processes that have started an attempt."""
    lines = attempt.starts.read_text().splitlines() if attempt.starts.exists() else []
    return [line["pid"] for line in map(json.loads, lines) if "pid" in line]


def records(folder: Folder) -> list[dict[str, str]]:
    """Return the records, but for the code, which its authors may change meanwhile."""
    rows = numbers(folder.path / "reports/tiny/records.csv")
    return [{name: value for name, value in row.items() if name not in ("code", "commit")} for row in rows]


def table(folder: Folder) -> str:
    return (folder.path / "reports/tiny/table.md").read_text()


def without_ray() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def test_a_run_in_the_workspace_then_over_ray_equals_the_local_one_though_its_command_is_killed_and_nothing_outlives_it(
    tmp_path: Path, finished: Folder, undisturbed: Undisturbed
) -> None:
    folder = project(tmp_path / "there", finished, TWO, LONG_RECIPE)
    short = Path(tempfile.mkdtemp(prefix="t"))  # names of sockets stand in it
    own = {**without_ray(), "RAY_TMPDIR": str(short)}
    command = ("run", "tiny", "--only", "shuffle.schedule=linear", "--launcher", "ray")
    process = start_slws(folder, *command, env=own)
    wait_for(lambda: process.poll() is not None or all_saved(folder, 1), "checkpoint")
    assert process.poll() is None, process.communicate()
    mine = psutil.Process(process.pid).children(recursive=True)
    assert any("raylet" in one.name() for one in mine)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(is_alive(one) for one in mine), "end of Ray", 60)
    wait_for(lambda: not list(short.iterdir()), "removal of Ray's files")
    assert not any(is_held(attempt.claim) for attempt in attempts(folder))
    assert not any(attempt.status for attempt in attempts(folder))  # else nothing is left to go on with
    folder.study.write_text(TWO.replace("{gpus: 0}", "{gpus: 0, ray: {shared: false}}"))
    process = start_slws(folder, *command, env=own)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, out + err  # since the other arm is missing
    assert of_others(err) == []
    (attempt,) = attempts(folder)
    (same,) = [one for one in attempts(undisturbed()) if one.run_id == attempt.run_id]
    assert (len(starts(attempt)), len(starts(same)), attempt.status) == (2, 1, "finished")
    assert differences(attempt, same) == []
    assert list((folder.workspace / "jobs").iterdir()) == []
    short.rmdir()  # nothing is in it


@hides
def test_runs_of_a_command_are_left_to_nodes_that_see_the_workspace(mixed: Mixed, finished: Folder) -> None:
    study = TWO.replace("shuffle.schedule", "x.level").replace("none, linear", "1, 2").replace(", weights: raw", "")
    folder = project(mixed.folder / "command", finished, study, COMMAND)
    (folder.recipe.parent / "waits.py").write_text(WAITS)
    process = start_slws(folder, "run", "tiny", "--launcher", "ray", env=mixed.environment)
    for what in (
        "DEAD",
        "PENDING_CREATION",
    ):  # the job on the node that does not see the workspace looks for another one
        wait_for(lambda state=what: process.poll() is not None or mixed.nodes.actors(state), f"actor that is {what}")
    assert process.poll() is None, process.communicate()
    (folder.path / "go").touch()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert of_others(err) == []
    assert [attempt.status for attempt in attempts(folder)] == ["finished"] * 2
    assert list((folder.workspace / "jobs").iterdir()) == []


@hides
def test_runs_of_a_lost_node_that_did_not_see_the_workspace_and_of_a_killed_actor_go_on_elsewhere_with_the_same_bits(
    mixed: Mixed, finished: Folder, undisturbed: Undisturbed
) -> None:
    there = project(mixed.folder / "there", finished, TWO, LONG_RECIPE)
    process = start_slws(there, "run", "tiny", "--launcher", "ray", env=mixed.environment)
    wait_for(lambda: process.poll() is not None or all_saved(there, 2), "checkpoints")
    assert process.poll() is None, process.communicate()
    holders = [owner.pid for attempt in attempts(there) if (owner := owner_of(attempt.claim))]
    assert process.pid in holders  # the command itself holds the claim of what is away
    (seeing,) = set(holders) - {process.pid}
    killed = [*kill_tree(mixed.blind), *kill_tree(psutil.Process(seeing).ppid())]
    pids = {pid for attempt in attempts(there) for pid in starts(attempt)}
    assert pids <= {one.pid for one in killed}
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert of_others(err) == []
    assert records(there) == records(undisturbed())
    assert table(there) == table(undisturbed())
    assert [(len(starts(attempt)), (attempt.result() or {})["resumes"]) for attempt in attempts(there)] == [(2, 1)] * 2
    assert list((there.workspace / "jobs").iterdir()) == []
    assert not any(lives(pid) for attempt in attempts(there) for pid in starts(attempt))


def of_others(err: str) -> list[str]:
    """Return the lines on the terminal that are none of ours."""
    return [line for line in err.splitlines() if line.strip() and "runs ended" not in line]


def all_saved(folder: Folder, count: int) -> bool:
    """Say whether so many runs are executed and have a checkpoint."""
    found = attempts(folder)
    saved = [(attempt.checkpoint / "resume.pt").exists() and is_held(attempt.claim) for attempt in found]
    return len(found) == count and all(saved)


def test_an_address_of_nothing_is_one_message(tmp_path: Path, finished: Folder) -> None:
    folder = project(
        tmp_path / "project", finished, TWO.replace("{gpus: 0}", "{gpus: 0, ray: {address: '127.0.0.1:9'}}")
    )
    process = start_slws(folder, "run", "tiny", "--launcher", "ray", env=without_ray())
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "no Ray cluster answers at '127.0.0.1:9'" in err
    assert "resources.ray.address" in err
    assert "Traceback" not in err
