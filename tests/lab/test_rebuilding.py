"""A report without its run folders, or with some of them: checked and made from its own files, and nothing of it is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lab.planted_report import at, attempt_of, contents, made, opened, rewrite, undrawn

from slws_lab.errors import UserError
from slws_lab.lab import reporting
from slws_lab.lab.checking import check, stale
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import report


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return made(tmp_path / "project")


def clone(project: Project, path: Path) -> Project:
    """Return a colleague's copy: all but the workspace."""
    shutil.copytree(project.study.root, path, ignore=shutil.ignore_patterns(".slws"))
    return Project.open(str(path / "studies/tiny.yaml"))


def test_without_run_folders_the_report_is_checked_and_made_anew_from_itself(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    before = contents(copy.report_folder)
    found = check(copy, [copy.report_folder / "tables"])
    assert (found.findings, found.source) == ((), "records.csv")
    report(copy)
    assert contents(copy.report_folder) == before
    assert stale(copy) == []


def test_without_run_folders_a_changed_records_csv_is_found_and_never_made_a_report_of(
    project: Project, tmp_path: Path
) -> None:
    copy = clone(project, tmp_path / "clone")
    path = copy.report_folder / "records.csv"
    path.write_text(path.read_text().replace("73.1", "83.1"))
    found = check(copy)
    changed = [run_id for (_, seed), run_id in copy.design.run_ids.items() if seed == 1][1]
    assert at(found, "changed") == [(changed, "its line in records.csv is not as it was written")]
    assert ("reports/tiny/records.csv", "it was changed after it was written") in at(found, "file")
    assert not found.up_to_date and "not compared" in found.notes[0]
    with pytest.raises(UserError, match="not as it was written"):
        report(copy)


def test_a_report_without_runs_does_not_take_the_place_of_records(project: Project) -> None:
    shutil.rmtree(project.workspace.path)
    before = (project.report_folder / "records.csv").read_bytes()
    report(opened(project))
    assert (project.report_folder / "records.csv").read_bytes() == before
    assert b"finished" in before


def test_a_clone_with_one_run_does_not_lose_the_others(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    again = attempt_of(project)
    shutil.copytree(again.path.parent, copy.workspace.run(again.run_id).path)
    before = contents(copy.report_folder)
    with pytest.raises(UserError, match="5 runs of the report have no result here"):
        report(copy, forget=False)
    assert contents(copy.report_folder) == before
    report(copy)  # as `slws run` does
    kept = copy.report_folder.with_name("tiny-before")
    assert {path.relative_to(kept): text for path, text in contents(kept).items()} == {
        path.relative_to(copy.report_folder): text for path, text in before.items()
    }
    assert contents(copy.report_folder) != before
    report(copy, forget=False)  # whose report has no more than what is here
    assert sorted(path.name for path in copy.report_folder.parent.iterdir()) == ["tiny", "tiny-before"]


def test_a_failed_run_that_is_tried_again_is_no_lost_result(project: Project) -> None:
    attempt = attempt_of(project)
    rewrite(attempt, status="failed")
    report(project)
    project.workspace.run(attempt.run_id).new_attempt()
    report(project, forget=False)
    assert not project.report_folder.with_name("tiny-before").exists()


def test_without_a_manifest_the_records_say_what_would_be_lost(project: Project) -> None:
    (project.report_folder / "manifest.json").unlink()
    shutil.rmtree(attempt_of(project).path.parent)
    with pytest.raises(UserError, match="1 run of the report has no result here"):
        report(project, forget=False)


def test_broken_training_curves_are_one_message_that_names_their_file(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    figures = copy.report_folder / "figures/training.csv"
    for text in ("", "name,arm_id\n1,2\n", "name,arm_id,step,mean,low,high\na,b,x,1,1,1\n", '"'):
        figures.write_text(text)
        with pytest.raises(UserError, match=r"training\.csv cannot be read") as told:
            report(copy)
        assert told.value.where == str(figures)
    found = check(copy)
    assert any(where == "reports/tiny/figures/training.csv" for where, _ in at(found, "file"))
    assert not any(where == "reports/tiny/records.csv" for where, _ in at(found, "file"))


def test_curves_that_cannot_be_made_again_are_told(project: Project, tmp_path: Path) -> None:
    copy = clone(project, tmp_path / "clone")
    assert reporting.results(copy).lost == "", "the report never had any"
    (copy.report_folder / "manifest.json").unlink()
    assert "training curves are left out" in reporting.results(copy).lost
    assert any("training curves are left out" in note for note in check(copy, [copy.report_folder / "table.md"]).notes)
