"""A real worker that waits for more: commands one after the other, one of them stopped alone, and an end with its parent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command.trainer import attempt_of, make_command_project, place
from conftest import Folder

from slws_lab import worker
from slws_lab.launch import Feed, Job, Local, Work, inventory
from slws_lab.spec import CommandRun, Resources, load_any_recipe
from slws_lab.tracking import Attempt, differences, is_held, journal, starts

RESUME = 'resume: [--resume, "{run.dir}/checkpoint.pth"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A project whose script takes a while and saves whole files, since a stop may come in between."""
    made, script = make_command_project(tmp_path / "project"), tmp_path / "project" / "main.py"
    slow = made.recipe.read_text().replace("pause: {type: float, value: 0", "pause: {type: float, value: 0.05")
    made.recipe.write_text(slow + RESUME)
    whole = 'Path("new").write_text(json.dumps(epoch + 1)); Path("new").replace(state)'
    script.write_text(script.read_text().replace("state.write_text(json.dumps(epoch + 1))", whole))
    return made


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    """Jobs that a test leaves at work when it fails."""
    jobs: list[Job] = []
    yield jobs
    for job in jobs:
        job.kill()


def attempt(folder: Folder, seed: int, number: int = 1, epochs: int = 2) -> Attempt:
    recipe = load_any_recipe(folder.recipe)
    fields = {**recipe.fields, "train.epochs": recipe.fields["train.epochs"].model_copy(update={"value": epochs})}  # type: ignore[union-attr]
    return attempt_of(folder, CommandRun.of(recipe.model_copy(update={"fields": fields}), seed), number)  # type: ignore[arg-type]


def until(jobs: list[Job], met: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not met():
        assert all(job.poll() for job in jobs)
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_worker_goes_on_with_others_when_one_is_stopped_which_ends_as_undisturbed_when_it_is_asked_for_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, jobs: list[Job]
) -> None:
    monkeypatch.setattr(inventory, "cores", lambda: 1)
    stopped, twin, short = attempt(folder, 0, epochs=40), attempt(folder, 0, 2, epochs=40), attempt(folder, 1)
    feed = Feed.create(Feed.name(folder.workspace / "jobs"))
    jobs += Local().start(Work(folder.path, (), Resources(gpus=0), folder.workspace / "jobs", feed=feed.path))
    feed.add([stopped.path, short.path])
    until(jobs, lambda: len(list(journal.read(stopped.journal))) >= 2)
    feed.drop(stopped.path)
    assert stopped.ask_to_stop()
    until(jobs, lambda: short.status)
    assert (stopped.status, starts.lines(stopped)[-1].get("stopped"), is_held(stopped.claim)) == (None, True, False)
    feed.add([stopped.path, twin.path])
    feed.close()
    while any(job.poll() for job in jobs):
        time.sleep(0.02)
    assert (stopped.status, (stopped.result() or {})["resumes"], differences(stopped, twin)) == ("finished", 1, [])
    pids = {line["pid"] for one in (stopped, twin, short) for line in starts.lines(one) if "pid" in line}
    assert len(pids) == 1


def test_a_worker_goes_on_with_a_run_that_it_is_to_execute_though_somebody_else_has_stopped_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, jobs: list[Job]
) -> None:
    monkeypatch.setattr(inventory, "cores", lambda: 1)
    shared = attempt(folder, 0, epochs=40)
    feed = Feed.create(Feed.name(folder.workspace / "jobs"))
    feed.add([shared.path])
    jobs += Local().start(Work(folder.path, (), Resources(gpus=0), folder.workspace / "jobs", feed=feed.path))
    until(jobs, lambda: len(list(journal.read(shared.journal))) >= 2)
    assert shared.ask_to_stop()  # as another search does that has pruned it
    until(jobs, lambda: shared.status)
    assert (shared.status, (shared.result() or {})["resumes"]) == ("finished", 1)
    feed.close()


@pytest.mark.parametrize("begun", [False, True])
def test_a_worker_that_waits_ends_with_its_parent(folder: Folder, begun: bool) -> None:
    feed, first = Feed.create(folder.path / "list.feed"), attempt(folder, 0)
    job = {
        "root": str(folder.path),
        "resources": Resources(gpus=0).model_dump(mode="json"),
        "attempts": [],
        "feed": str(feed.path),
    }
    (folder.path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-P", "-m", "slws_lab.worker", str(folder.path / "job.json")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    if begun:
        feed.add([first.path])
        until([], lambda: first.status)
    assert process.poll() is None
    process.communicate(timeout=30)  # closes its standard input
    assert process.returncode == 0


def test_what_is_no_longer_wanted_once_it_is_claimed_is_not_begun(folder: Folder) -> None:
    one, held = attempt(folder, 0), list[bool]()
    assert worker.execute(one, place(folder), lambda: bool(held.append(is_held(one.claim)))) == "taken"
    assert (held, starts.starts(one), is_held(one.claim)) == ([True], 0, False)


def test_a_request_that_is_older_than_a_claim_stops_nothing(folder: Folder) -> None:
    one = attempt(folder, 0)
    assert not one.ask_to_stop()
    assert worker.execute(one, place(folder)) == "finished"
    assert not one.ask_to_stop()
