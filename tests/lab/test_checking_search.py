"""The report of a search: up to date, or not, with its trials."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Folder
from search.line_search import look_often, make, search

from slws_lab.errors import UserError
from slws_lab.lab.checking import Checked, check
from slws_lab.lab.project import Project
from slws_lab.lab.reporting import report


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


def prepare(patch: pytest.MonkeyPatch) -> None:
    look_often(patch)
    patch.setattr("slws_lab.reports.search.figures.draw_search", lambda *_: [])  # which takes seconds


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A search of four trials, ended and reported. Do not change it: copy it."""
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch)
        folder = make(tmp_path_factory.mktemp("search"))
        search(folder)
        report(opened(folder))
    return folder


@pytest.fixture
def searched(ended: Folder, tmp_path: Path) -> Folder:
    return Folder(Path(shutil.copytree(ended.path, tmp_path / "project")))


def opened(folder: Folder) -> Project:
    return Project.open(str(folder.study))


def told(found: Checked) -> dict[str, set[str]]:
    return {
        kind: {one.where for one in found.findings if one.kind == kind} for kind in {one.kind for one in found.findings}
    }


def test_a_search_that_was_reported_is_up_to_date_until_it_has_more_trials(searched: Folder) -> None:
    found = check(opened(searched))
    assert (found.findings, found.source, found.runs) == ((), "run folders", 4)
    assert "reports/tiny/trials.csv" in found.files
    searched.study.write_text(searched.study.read_text().replace("trials: 4", "trials: 5"))
    search(searched)
    more = told(check(opened(searched)))
    assert len(more["added"]) == 1 and "studies/tiny.yaml" in more["study"]
    assert any("trials.csv" in where for where in more["file"])


def test_a_changed_digit_of_the_trials_is_found_with_its_cell(searched: Folder) -> None:
    path = searched.path / "reports/tiny/trials.csv"
    header, first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, first.replace("0.5", "0.6", 1), *others]))
    found = told(check(opened(searched)))
    assert found == {"file": {"reports/tiny/trials.csv"}, "cell": {"reports/tiny/trials.csv: row 1 (0), column lr"}}


def test_without_storage_the_files_are_checked_and_the_report_is_left_alone(searched: Folder) -> None:
    shutil.rmtree(searched.workspace)
    found = check(opened(searched))
    assert (found.findings, found.source, found.runs) == ((), "records.csv", 4)
    assert "of a search not all is in records.csv" in found.notes[0]
    before = (searched.path / "reports/tiny/records.csv").read_bytes()
    with pytest.raises(UserError, match="of a search not all"):
        report(opened(searched))
    assert (searched.path / "reports/tiny/records.csv").read_bytes() == before
    copy = Path(shutil.copy(searched.path / "reports/tiny/trials.csv", searched.path))
    assert check(opened(searched), [copy]).up_to_date
    copy.write_text(copy.read_text().replace("0.5", "0.6", 1))
    assert told(check(opened(searched), [copy])) == {"cell": {"trials.csv: row 1 (0), column lr"}}
    path = searched.path / "reports/tiny/trials.csv"
    path.write_text(path.read_text().replace("0.5", "0.6", 1))
    assert told(check(opened(searched))) == {"file": {"reports/tiny/trials.csv"}}
