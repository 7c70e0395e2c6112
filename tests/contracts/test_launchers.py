"""What every launcher promises: jobs that execute each attempt once, stop with a checkpoint, end when killed, and say why they cannot start."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from places import (
    COMMANDS,
    RESOURCES,
    Place,
    attempts,
    end_in_the_middle,
    executable,
    left,
    poll_to_the_end,
    processes,
)
from slurm_cluster import wait_for

from slws_lab.launch import LaunchError
from slws_lab.tracking import is_held, starts

every_launcher = pytest.mark.parametrize("place", ["in_process", *COMMANDS], indirect=True)
every_command = pytest.mark.parametrize("place", COMMANDS, indirect=True)


@every_launcher
def test_a_job_executes_all_attempts_once_with_its_resources_and_leaves_no_file(place: Place) -> None:
    work = place.work(3, RESOURCES.model_copy(update={"threads": 2}), most=1)
    jobs = place.make().start(work)
    assert len(jobs) == 1
    poll_to_the_end(jobs)
    found = attempts(work)
    assert [(attempt.status, starts.starts(attempt)) for attempt in found] == [("finished", 1)] * 3
    assert {(attempt.result() or {})["threads"] for attempt in found} == {2}
    assert left(work) == []


@every_command
def test_the_thread_pools_of_a_job_are_as_large_as_a_runs_threads(place: Place) -> None:
    work = place.work(1, RESOURCES.model_copy(update={"threads": 3}))
    poll_to_the_end(place.make().start(work))
    assert (attempts(work)[0].result() or {})["pool"] == "3"


@every_launcher
def test_there_are_no_more_jobs_than_slots_attempts_or_asked_for(place: Place) -> None:
    launcher = place.make()
    slots = launcher.slots(RESOURCES)
    assert slots >= 1
    for count, most, expected in ((slots + 1, None, slots), (1, None, 1), (slots + 1, 1, 1)):
        jobs = launcher.start(place.work(count, most=most))
        assert len(jobs) == expected
        poll_to_the_end(jobs)
    assert {attempt.status for attempt in attempts(place.work(slots + 1))} == {"finished"}


@every_launcher
def test_a_cancelled_job_leaves_a_checkpoint_a_free_claim_and_no_process(place: Place) -> None:
    work = place.work(2, most=1)
    place.hold.touch()
    end_in_the_middle(place.make().start(work), work, lambda job: job.cancel())
    first, second = attempts(work)
    assert (first.status, first.checkpoint.exists(), starts.lines(first)[-1].get("stopped")) == (None, True, True)
    assert starts.starts(second) == 0
    assert not is_held(first.claim)
    assert processes(work) == []
    assert left(work) == []


@every_launcher
def test_a_killed_job_leaves_no_process_and_its_attempt_is_free(place: Place) -> None:
    work = place.work(2, most=1)
    place.hold.touch()
    end_in_the_middle(place.make().start(work), work, lambda job: job.kill())
    assert [attempt.status for attempt in attempts(work)] == [None, None]
    assert not any(is_held(attempt.claim) for attempt in attempts(work))
    assert processes(work) == []


@every_launcher
def test_what_was_stopped_goes_on_with_the_next_start(place: Place) -> None:
    work = place.work(2)
    place.hold.touch()
    end_in_the_middle(place.make().start(work), work, lambda job: job.cancel())
    place.hold.unlink()
    poll_to_the_end(place.make().start(work))
    assert [attempt.status for attempt in attempts(work)] == ["finished"] * 2


@every_command
def test_jobs_that_die_before_they_start_a_run_are_given_up_with_the_end_of_their_log(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(place.root / "broken", "echo the library is broken >&2; exit 3", monkeypatch)
    with pytest.raises(LaunchError, match=r"(?s)before they start a run.*the library is broken"):
        poll_to_the_end(place.make().start(place.work()))


@every_launcher
def test_the_jobs_of_two_launchers_execute_each_attempt_once(place: Place) -> None:
    work = place.work(6, most=1)
    other = replace(work, resources=RESOURCES.model_copy(update={"minutes": 1.0}), jobs=place.root / "jobs-2")
    poll_to_the_end([*place.make().start(work), *place.make().start(other)])
    assert [(attempt.status, starts.starts(attempt)) for attempt in attempts(work)] == [("finished", 1)] * 6


@pytest.mark.slurm
@pytest.mark.parametrize("place", ["slurm"], indirect=True)
def test_jobs_on_slurm_outlive_a_killed_command_and_the_next_takes_them_over_and_can_stop_them(place: Place) -> None:
    work = place.work(2, most=1)
    place.hold.touch()
    names = f"{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}"
    start = f"import os, sys; sys.path += {names}; from places import *; sys.executable = {sys.executable!r}\n"
    start += f"Slurm().start(Place(Slurm, Path({str(place.root)!r})).work(2, most=1)); os._exit(0)"
    real = str(Path(sys.prefix) / "bin" / "python")
    subprocess.run([real, "-c", start], check=True)
    wait_for(lambda: starts.starts(attempts(work)[0]), "run")
    (job,) = place.make().start(work)
    end_in_the_middle([job], work, lambda job: job.cancel())
    assert [starts.starts(attempt) for attempt in attempts(work)] == [1, 0]
    assert starts.lines(attempts(work)[0])[-1].get("stopped")
    assert left(work) == []
