"""Studies on a real Slurm of one node: the records equal those of the local launcher bit by bit, whatever happens to the jobs."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from conftest import RECIPE, STUDY, Folder, make_project, numbers, run_slws, start_slws
from slurm_cluster import Cluster, wait_for

from slws_lab.launch import LaunchError, Slurm, Work
from slws_lab.spec import Resources
from slws_lab.tracking import Attempt, Workspace, is_held

pytestmark = pytest.mark.slurm

TWO_JOBS = STUDY.replace("{gpus: 0}", "{gpus: 0, slurm: {partition: low, array_parallelism: 2}}")
TWELVE = TWO_JOBS.replace("seeds: 3", "seeds: 6")
LONG = TWO_JOBS.replace("seeds: 3", "seeds: 1")
LONG_RECIPE = RECIPE.replace("epochs: 2", "epochs: 16")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, finished: Folder) -> Folder:
    """Two longer runs, by the local launcher."""
    folder = make_project(tmp_path_factory.mktemp("undisturbed"), LONG, LONG_RECIPE)
    keep_answers(finished, folder)
    run_slws(folder, "run", "tiny")
    return folder


@pytest.fixture
def long(tmp_path: Path, finished: Folder) -> Folder:
    folder = make_project(tmp_path / "long", LONG, LONG_RECIPE)
    keep_answers(finished, folder)
    return folder


def keep_answers(known: Folder, folder: Folder) -> None:
    shutil.copytree(known.workspace / "cache", folder.workspace / "cache")


def attempts(folder: Folder) -> list[Attempt]:
    return [attempt for run in Workspace(folder.workspace).folders() for attempt in run.attempts()]


def in_the_middle(folder: Folder, starts: int) -> bool:
    """Say whether every run was started so often, has done an epoch, and is executed."""
    found = attempts(folder)
    return bool(found) and all(
        attempt.starts.exists() and attempt.starts.read_text().count('"pid"') == starts and is_held(attempt.claim)
        and attempt.journal.exists() and attempt.journal.stat().st_size for attempt in found
    )  # fmt: skip


def records(folder: Folder) -> list[dict[str, str]]:
    """Return the records, but for the code, which its authors may change meanwhile."""
    rows = numbers(folder.path / "reports/tiny/records.csv")
    return [{name: value for name, value in row.items() if name not in ("code", "commit")} for row in rows]


def test_a_study_of_twelve_runs_has_the_records_of_the_local_launcher_though_slurms_daemons_are_killed_and_restarted(
    slurm: Cluster, tmp_path: Path, finished_copy: Folder
) -> None:
    here, there = finished_copy, make_project(tmp_path / "there", TWELVE)
    keep_answers(here, there)
    here.study.write_text(TWELVE)
    run_slws(here, "run", "tiny")
    process = start_slws(there, "run", "tiny", "--launcher", "slurm")
    wait_for(lambda: any(is_held(attempt.claim) for attempt in attempts(there)), "run")
    slurm.end("slurmd", signal.SIGKILL)
    slurm.end("slurmctld", signal.SIGTERM)  # killed as well it would forget the jobs, which it has not written down yet
    slurm.start_controller()
    slurm.start_node()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert len(records(there)) == 12
    assert records(there) == records(here)
    assert {(attempt.result() or {})["resumes"] for attempt in attempts(there)} == {0}
    pids = {json.loads(attempt.starts.read_text())["pid"] for attempt in attempts(there)}
    assert len(pids) == 2  # one array of two jobs, each of which executed several runs
    assert list((there.workspace / "jobs").iterdir()) == []
    assert slurm.ask("squeue", "--noheader") == ""


def test_jobs_that_are_preempted_then_at_their_time_limit_or_cancelled_resume_exactly(
    slurm: Cluster, long: Folder, undisturbed: Folder
) -> None:
    process = start_slws(long, "run", "tiny", "--launcher", "slurm")
    wait_for(lambda: in_the_middle(long, 1), "run in the middle")
    slurm.ask("sbatch", "--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: in_the_middle(long, 2), "run in the middle after the preemption")
    one, other = slurm.ask("squeue", "--noheader", "--array", "--format=%i").split()
    slurm.ask("scancel", "--batch", "--signal=USR1", one)  # as Slurm does when the limit is near
    slurm.ask("scancel", other)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert records(long) == records(undisturbed)
    assert [(attempt.result() or {})["resumes"] for attempt in attempts(long)] == [2, 2]
    assert [attempt.starts.read_text().count('"stopped": true') for attempt in attempts(long)] == [2, 2]


def test_a_limit_that_the_partition_does_not_allow_is_one_message(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slws_lab.launch.slurm.LOOK_S", 0.3)
    resources = Resources.model_validate({"gpus": 0, "slurm": {"partition": "short", "time": 60}})
    (job,) = Slurm().start(Work(tmp_path, (tmp_path / "attempt-1",), resources, tmp_path / "jobs"))
    with pytest.raises(LaunchError, match=r"PartitionTimeLimit.*`resources\.slurm`"):
        wait_for(lambda: not job.poll(), "message")
    job.cancel()
    job.kill()
    assert slurm.ask("squeue", "--noheader") == ""
