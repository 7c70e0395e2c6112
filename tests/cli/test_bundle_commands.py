"""`slws compare`, `slws bundle make` and `slws bundle open`: exit codes, what they print, and what works in the opened project."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Folder, Slws, make_project

from slws_lab.lab import reporting
from slws_lab.lab.project import Project
from slws_lab.tracking import journal

Printed = tuple[str, str]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A project with results of both arms, whose report is its records alone: drawing takes seconds."""
    folder = make_project(tmp_path / "project")
    project = Project.open(str(folder.study))
    for i, run in enumerate(project.design.runs):
        place = project.workspace.run(run)
        place.create(run)
        attempt = place.new_attempt()
        for epoch in (1, 2):
            journal.append(attempt.journal, epoch, 1e9 + epoch, {"val/top1": 80.0 + i + epoch})
        attempt.finish({"status": "finished", "cause": "", "epochs": 2, "metrics": {}, "provenance": {}})
    other = folder.study.with_name("other.yaml")
    other.write_text(folder.study.read_text().replace("name: tiny", "name: other").replace("seeds: 3", "seeds: 2"))

    def files(project: Project, found: reporting.Results) -> dict[str, bytes]:
        return {"records.csv": found.table.to_csv().encode(), "manifest.json": b"{}\n"}

    monkeypatch.setattr(reporting, "files", files)
    return folder


@pytest.fixture
def told(slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Printed]:
    """Run the command in a folder, which must end with a code; returns what it printed."""
    monkeypatch.setenv("COLUMNS", "160")

    def call(cwd: Path, *arguments: object, code: int = 0) -> Printed:
        capsys.readouterr()
        ended = slws(*arguments, cwd=cwd)
        printed = capsys.readouterr()
        assert ended == code, printed.out + printed.err
        return printed.out, printed.err

    return call


def test_two_studies_are_shown_side_by_side(planted: Folder, told: Callable[..., Printed]) -> None:
    out, _ = told(planted.path, "compare", "tiny", "other")
    assert "tiny and other share 2 arms: 2 the same training, from the same runs" in out
    assert "the same runs" in out
    assert "In what the studies differ" in out


def test_a_comparison_for_machines(planted: Folder, told: Callable[..., Printed]) -> None:
    found = json.loads(told(planted.path, "compare", "tiny", "other", "--json")[0])
    assert [study["name"] for study in found["studies"]] == ["tiny", "other"]
    assert found["same_metric"] is True
    assert [(arm["same_training"], arm["same_runs"], arm["seeds"]) for arm in found["arms"]] == [
        (True, True, [0, 1])
    ] * 2
    assert found["verdicts"][0]["first"]["verdict"] == "inconclusive"  # three equal differences
    assert found["verdicts"][0]["second"]["verdict"] == "withheld"  # of two seeds


def test_a_comparison_is_written_where_it_is_asked_for(planted: Folder, told: Callable[..., Printed]) -> None:
    out, _ = told(planted.path, "compare", "tiny", "other", "--out", "both")
    assert "both/comparison.html" in out
    assert (planted.path / "both" / "comparison.tex").read_text().count("\\begin{table") >= 2
    _, err = told(planted.path, "compare", "tiny", "other", "--out", "pyproject.toml", code=2)
    assert "--out is not a folder" in err
    _, err = told(planted.path, "compare", "tiny", "nonesuch", code=2)
    assert "no study 'nonesuch'" in err


def test_a_bundle_goes_out_and_comes_in(planted: Folder, told: Callable[..., Printed], tmp_path: Path) -> None:
    out, err = told(planted.path, "bundle", "make", "tiny", "--out", tmp_path / "tiny.zip")
    assert "6 of 6 runs, without weights" in out
    assert err == ""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(planted.path, tmp_path / "gone")
    out, _ = told(elsewhere, "bundle", "open", tmp_path / "tiny.zip")
    assert "the report made here has the same bytes: 2 files" in out
    assert "cd tiny && slws status studies/tiny.yaml" in out
    run = next(iter(Project.open(str(elsewhere / "tiny/studies/tiny.yaml")).design.run_ids.values()))
    assert run in told(elsewhere / "tiny", "why", run)[0]
    _, err = told(elsewhere, "bundle", "open", tmp_path / "tiny.zip", code=2)
    assert "there is something already" in err


def test_bundles_for_machines(planted: Folder, told: Callable[..., Printed]) -> None:
    made = json.loads(told(planted.path, "bundle", "make", "tiny", "--json")[0])
    assert (Path(made["path"]).name, made["runs"]) == ("tiny.zip", [6, 6])
    opened = json.loads(told(planted.path, "bundle", "open", "tiny.zip", "there", "--json")[0])
    assert (opened["same"], opened["differing"], opened["study"]) == (True, [], "studies/tiny.yaml")


def test_a_mistake_is_one_message_and_leaves_nothing(planted: Folder, told: Callable[..., Printed]) -> None:
    before = planted.listing()
    (planted.path / "a.zip").write_bytes(os.urandom(100))
    for arguments in (("bundle", "open", "a.zip"), ("bundle", "open", "b.zip"), ("bundle", "make", "nonesuch")):
        out, err = told(planted.path, *arguments, code=2)
        assert out == ""
        assert err.startswith("slws: ")
        assert "Traceback" not in err
    (planted.path / "a.zip").unlink()
    assert planted.listing() == before
