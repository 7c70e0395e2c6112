"""A trial in hand: a run whose folder cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from search.line_search import make, ordinary

from slws_lab.lab.hand import Hand
from slws_lab.lab.project import Project
from slws_lab.search.trial import Trial
from slws_lab.tracking import Attempt, Claim


def test_a_run_whose_folder_alone_cannot_be_written_is_lost_unless_somebody_works_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path)
    project = Project.open(str(ordinary(folder, [{"lr": 0.1}])), folder.workspace)
    arm = project.design.arms[1]
    hand = Hand.of(project, Trial(0, {"lr": 0.1}, "running"), arm)
    (task,) = hand.begin(project, hand.runs)
    assert hand.shut(project) is None
    monkeypatch.setattr(Attempt, "shut", lambda _: "Permission denied")
    claim = Claim.take(task.attempt.claim)
    assert claim is not None
    with claim:
        assert hand.shut(project) is None
    lost = hand.shut(project)
    assert lost is not None
    assert (lost.status, lost.cause) == ("failed", "its folder cannot be written: Permission denied")
