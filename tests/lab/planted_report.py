"""A project with planted runs of the study `tiny`, and its report, whose figures are drawn by nobody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import make_project

from slws_lab.analysis import ResultTable
from slws_lab.lab.checking import Checked
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import report
from slws_lab.reports.figures.style import Drawn
from slws_lab.tracking import Attempt, Workspace, journal, write_text
from slws_lab.tracking.audit_digests import result_text

EPOCHS = 2


def plant(project: Project, leave_out: Sequence[str] = ()) -> None:
    """Give every run of a study an attempt that finished, but those that are left out."""
    for i, arm in enumerate(project.design.arms):
        for seed in project.design.seeds:
            run_id = project.design.run_ids[arm.id, seed]
            if run_id not in leave_out:
                folder = project.workspace.run(run_id)
                if not folder.path.exists():
                    folder.create(arm.run(seed))
                end(folder.new_attempt(), 70 + 3 * i + 0.1 * seed)


def end(attempt: Attempt, top1: float, **more: Any) -> None:
    """Finish an attempt with a value."""
    for epoch in range(1, EPOCHS + 1):
        journal.append(
            attempt.journal, epoch, 1e9 + epoch, {"val/top1": top1 - EPOCHS + epoch, "train/loss": 1 / epoch}
        )
    made = {"commit": "c" * 40, "dirty": False, "diff": False, "code": "abc", "modules": {"slws_lab.scan.port": "123"},
            "packages": {"torch": "2"}, "machine": {"cores": 2}}  # fmt: skip
    result = {"status": "finished", "cause": "", "epochs": EPOCHS, "params": 1234, "threads": 1, "device": "cpu",
              "data_fingerprint": "fed", "seconds": 1.5, "host": "box", "resumes": 0, "started": 1e9, "finished": 1e9 + 2}  # fmt: skip
    attempt.finish({**result, "provenance": made, **more})


def rewrite(attempt: Attempt, **changed: Any) -> None:
    """Give an attempt another result, well sealed."""
    result = json.loads((attempt.path / "result.json").read_text())
    result.pop("digests")
    write_text(attempt.path / "result.json", result_text(attempt.path, {**result, **changed}))


def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: a figure is its data, which takes no seconds."""

    def draw(table: ResultTable, curves: Any = None) -> list[Drawn]:
        data = str(table.values.to_csv()).encode()
        return [Drawn("accuracy", "Accuracy", "by arm", png=b"png", svg=b"<svg/>", pdf=b"pdf", csv=data, empty=False)]

    monkeypatch.setattr("slws_lab.reports.figures.draw.draw", draw)


def made(path: Path, leave_out: Sequence[int] = ()) -> Project:
    """Return a project with planted runs and its report.

    Args:
        path: Where.
        leave_out: Which of its runs have not begun, by their number.
    """
    folder = make_project(path)
    project = Project.open(str(folder.study))
    run_ids = list(project.design.run_ids.values())
    plant(project, [run_ids[i] for i in leave_out])
    report(project)
    return project


def opened(project: Project) -> Project:
    """Return a project as the next command sees it."""
    return Project.open(str(project.study.source.path))


def attempt_of(project: Project, number: int = 0) -> Attempt:
    """Return the first attempt of a run, by the run's number."""
    run_id = list(project.design.run_ids.values())[number]
    return Workspace(project.workspace.path).run(run_id).attempts()[0]


def kinds(found: Checked) -> set[str]:
    return {one.kind for one in found.findings}


def at(found: Checked, kind: str) -> list[tuple[str, str]]:
    return [(one.where, one.text) for one in found.findings if one.kind == kind]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
