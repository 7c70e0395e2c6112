"""What a command says that was stopped: one message, with what is there and what goes on."""

from __future__ import annotations

import json

import pytest
from conftest import Folder, Slws

from slws_lab.lab import planning, running, science
from slws_lab.lab.executing import Outcome

INTERRUPTED = 130
STOPPED = Outcome(1, (), interrupted=True, seconds=1.0, mirror="")


@pytest.fixture
def stopped(project: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A project whose study is stopped as soon as it runs."""
    known = {"params": 1000, "data_fingerprint": "aa"}
    monkeypatch.setattr(science, "check", lambda project, asked=None: {arm.id: known for arm in project.design.arms})
    monkeypatch.setattr(running, "run", lambda *_: STOPPED)
    return project


def test_a_study_that_was_stopped_says_in_one_message_how_far_it_is_and_what_goes_on(
    stopped: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("run", "studies/tiny.yaml", cwd=stopped.path) == INTERRUPTED
    said = "stopped; 0 of 6 runs have a result. What was running goes on from its checkpoint with the same command: slws run tiny"
    assert capsys.readouterr() == ("", f"slws: {said}\n")


def test_a_machine_reads_of_a_stop_what_it_reads_of_an_end(
    stopped: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("run", "tiny", "--json", cwd=stopped.path) == INTERRUPTED
    printed = capsys.readouterr()
    assert json.loads(printed.out)["interrupted"] is True and printed.err.count("\n") == 1


def test_a_single_training_that_was_stopped_says_so_once(
    stopped: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("train", stopped.recipe, cwd=stopped.path) == INTERRUPTED
    goes_on = "slws: stopped; the training goes on from its checkpoint with the same command\n"
    assert capsys.readouterr().err == goes_on


def test_ctrl_c_before_anything_runs_is_one_message_too(
    stopped: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "plan", interrupted)
    assert slws("status", "tiny", cwd=stopped.path) == INTERRUPTED
    assert capsys.readouterr() == ("", "slws: interrupted\n")
