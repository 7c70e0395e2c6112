"""Two drivers share one search on a real PostgreSQL: nothing twice, nothing lost, and one ends what the other leaves when it is killed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from compose_file import services
from conftest import Folder
from faults.faults import kill_tree, left, processes, wait_for
from native_stack import Stack, free_port, program
from search.line_search import finish, make, start, trials

from slws_lab.lab.project import Project
from slws_lab.search.trial import Trial, counts
from slws_lab.tracking import journal

pytestmark = pytest.mark.postgres
SHARED = """\
seeds: 1
set: {pause: 0.1}
search:
  space: {lr: {float: [0.1, 0.9]}}
  sampler: {name: tpe, n_startup_trials: 4}
  pruner: {name: median, n_startup_trials: 4}
  storage: $SHARED_SEARCH
  trials: TRIALS
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


def of(path: Path, trials: int) -> Folder:
    return make(path, SHARED.replace("TRIALS", str(trials)))


def begin(folder: Folder) -> subprocess.Popen[str]:
    """Start a driver that takes its machine for one core."""
    return start(folder, parallel=1, poll_s=0.2)


def steps(folder: Folder, trial: Trial) -> list[int]:
    """Return the epochs that a workspace holds of a trial's run."""
    project = Project.open(str(folder.study))
    arm = next(arm for arm in project.design.arms if arm.settings == trial.settings)
    attempts = project.workspace.run(project.design.run_ids[arm.id, 0]).attempts()
    return [entry.step for attempt in attempts for entry in journal.read(attempt.journal)]


def test_two_drivers_share_a_search_and_one_that_is_killed_leaves_its_trials_to_the_other(
    tmp_path: Path, database: str
) -> None:
    first, second = of(tmp_path / "first", 10), of(tmp_path / "second", 10)
    killed, other = begin(first), begin(second)  # at once, so that both find an empty database
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
    assert 10 <= sum(counts(trial) for trial in found) <= 11  # both may draw the last one at the same moment
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
    folders = [of(tmp_path / name, 6) for name in ("first", "second")]
    drivers = [begin(folder) for folder in folders]
    for driver in drivers:
        finish(driver)
    found = trials(folders[0])
    assert 6 <= len(found) <= 7 and {trial.state for trial in found} <= {"complete", "pruned"}
    assert [trial.number for trial in found] == list(range(len(found)))
    assert len({trial.settings["lr"] for trial in found}) == len(found)
    shared = [[bool(steps(folder, trial)) for folder in folders] for trial in found]
    assert all(sum(one) == 1 for one in shared), "each trial is one driver's"
    assert [left(folder) for folder in folders] == [[], []]
