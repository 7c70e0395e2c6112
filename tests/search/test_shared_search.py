"""Two drivers share one search on a real PostgreSQL: nothing twice, nothing lost, and one ends what the other leaves when it is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from command.trainer import make_command_project
from compose_file import services
from conftest import Folder
from faults.faults import kill_tree, left, processes, wait_for
from native_stack import Stack, free_port, program

from slws_lab.lab.project import Project
from slws_lab.search.trial import Trial, counts
from slws_lab.tracking import journal

pytestmark = pytest.mark.postgres
RECIPE = """\
kind: command
name: line
command: "{python} main.py --lr {lr} --epochs {train.epochs} --seed {seed} --pause {pause} --output_dir {run.dir}"
resume: "--resume {run.dir}/checkpoint.pth"
fields:
  lr: {type: float, value: 0.5, min: 0, max: 10}
  train.epochs: {type: int, value: 3, min: 1}
  pause: {type: float, value: 0.1, shape: false}
metrics: {file: log.txt, step: epoch, counts_from: 0, names: {val/top1: test_acc1, train/loss: train_loss}}
epochs: train.epochs
"""
STUDY = """\
name: tiny
question: Which rate is best?
recipe: ../experiments/tiny.yaml
metric: {name: val/top1}
resources: {gpus: 0}
seeds: 1
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: {name: tpe, n_startup_trials: 4}
  pruner: {name: median, n_startup_trials: 6}
  storage: $SHARED_SEARCH
  trials: TRIALS
"""
DRIVER = """\
import sys
sys.path[:0] = {paths!r}
from slws_lab.lab import searching
from slws_lab.lab.project import Project
from slws_lab.lab.running import Options
from slws_lab.launch import inventory
from slws_lab.search import book
book.STALE_S = 5.0  # for a trial whose process died before it named itself
class Quiet:
    def __init__(self, project): self.project = project
    def start(self): pass
    def finish(self): return ""
searching.Shipping, searching.POLL_S, inventory.cores = Quiet, 0.05, lambda: 1
searching.search(Project.open("studies/tiny.yaml"), Options("local"), lambda _: None)
"""


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a PostgreSQL, put the address of an empty database of it into the environment, and stop it at the end."""
    missing = [name for name in ("initdb", "pg_ctl", "createdb") if program(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (SLWS_TEST_SERVERS=1 installs PostgreSQL)")
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack._ports["postgres"] = free_port()
        stack._start_postgres()
        set_up = services()["postgres"]["environment"]
        owner = f"{set_up['POSTGRES_USER']}:{quote(set_up['POSTGRES_PASSWORD'], safe='')}"
        address = f"postgresql://{owner}@127.0.0.1:{stack._ports['postgres']}/{set_up['POSTGRES_DB']}"
        monkeypatch.setenv("SHARED_SEARCH", address)
        yield address
    finally:
        stack.stop()


def make(path: Path, trials: int) -> Folder:
    return make_command_project(path, STUDY.replace("TRIALS", str(trials)), RECIPE)


def start(folder: Folder) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", DRIVER.format(paths=[tests])]
    return subprocess.Popen(command, cwd=folder.path, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]


def finish(process: subprocess.Popen[str]) -> None:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err


def trials(folder: Folder) -> tuple[Trial, ...]:
    return Project.open(str(folder.study)).trials


def steps(folder: Folder, trial: Trial) -> list[int]:
    """Return the epochs that a workspace holds of a trial's run."""
    project = Project.open(str(folder.study))
    arm = next(arm for arm in project.design.arms if arm.settings == trial.settings)
    attempts = project.workspace.run(project.design.run_ids[arm.id, 0]).attempts()
    return [entry.step for attempt in attempts for entry in journal.read(attempt.journal)]


def test_two_drivers_share_a_search_and_one_that_is_killed_leaves_its_trials_to_the_other(
    tmp_path: Path, database: str
) -> None:
    first, second = make(tmp_path / "first", 14), make(tmp_path / "second", 14)
    killed, other = start(first), start(second)  # at once, so that both find an empty database
    begun = [folder.workspace / "runs" for folder in (first, second)]
    wait_for(
        lambda: all(len(list(runs.glob("*"))) >= 2 for runs in begun) or None not in (killed.poll(), other.poll()),
        "trials of both",
    )
    assert killed.poll() is None and other.poll() is None, (
        killed.communicate() if killed.poll() is not None else other.communicate()
    )
    kill_tree(killed)
    assert processes(first) == []
    before = {
        trial.number: (trial.state, trial.values, trial.ended) for trial in trials(second) if trial.state != "running"
    }
    finish(other)
    found = trials(second)
    assert found == trials(first)
    assert [trial.number for trial in found] == list(range(len(found)))
    assert 14 <= sum(counts(trial) for trial in found) <= 15  # both may draw the last one at the same moment
    assert {trial.state for trial in found} <= {"complete", "pruned"}
    assert len({trial.settings["lr"] for trial in found}) == len(found), "a setting was drawn twice"
    assert {n: (found[n].state, found[n].values, found[n].ended) for n in before} == before, "something was told twice"
    here, there = [[steps(folder, trial) for trial in found] for folder in (first, second)]
    assert any(here) and any(there), "both drivers must have worked"
    for mine, theirs, trial in zip(here, there, found, strict=True):
        assert trial.state == "pruned" or [1, 2, 3] in (mine, theirs)
    assert left(second) == []
    password = quote(services()["postgres"]["environment"]["POSTGRES_PASSWORD"], safe="")
    texts = [path for folder in (first, second) for path in folder.workspace.rglob("*") if path.is_file()]
    assert [path for path in texts if password.encode() in path.read_bytes()] == []


def test_two_drivers_that_both_live_share_the_trials_and_end_together(tmp_path: Path, database: str) -> None:
    folders = [make(tmp_path / name, 10) for name in ("first", "second")]
    drivers = [start(folder) for folder in folders]
    for driver in drivers:
        finish(driver)
    found = trials(folders[0])
    assert 10 <= len(found) <= 11 and {trial.state for trial in found} <= {"complete", "pruned"}
    assert [trial.number for trial in found] == list(range(len(found)))
    assert len({trial.settings["lr"] for trial in found}) == len(found)
    shared = [[bool(steps(folder, trial)) for folder in folders] for trial in found]
    assert all(sum(one) == 1 for one in shared), "each trial is one driver's"
    assert [left(folder) for folder in folders] == [[], []]
