"""`slws report --check`: its exit codes, what it prints, and that without run folders a report is made of itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Slws
from lab.planted_report import attempt_of, made, undrawn

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a report that is up to date."""
    undrawn(monkeypatch)
    return made(tmp_path / "project").study.root


def test_up_to_date_is_exit_code_0(folder: Path, slws: Slws, capsys: Printed) -> None:
    assert slws("report", "tiny", "--check", cwd=folder) == 0
    assert capsys.readouterr().out.startswith("up to date: tiny, 6 runs, ")
    assert slws("report", "tiny", "--check", "--json", cwd=folder) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["up_to_date"], told["source"], told["findings"]) == (True, "run folders", [])


def test_what_is_stale_is_listed_with_exit_code_1(folder: Path, slws: Slws, capsys: Printed) -> None:
    paper = folder / "paper"
    shutil.copytree(folder / "reports/tiny/tables", paper)
    (paper / "notes.txt").write_text("7")
    path = paper / "results.md"
    path.write_text(path.read_text().replace("73.1", "74.1"))
    assert slws("report", "tiny", "--check", "paper", cwd=folder) == 1
    printed = capsys.readouterr().out
    assert "paper/results.md: row 2 (linear), column val/top1" in printed
    assert (
        "it says “" in printed
        and "Not checked, since nothing shows that they are this report's: paper/notes.txt" in printed
    )
    again = "To do: copy reports/tiny/tables/results.md to paper/results.md again\n"
    assert printed.endswith(f"not what the report of tiny says: paper/results.md\n{again}")
    assert slws("report", "tiny", "--check", "--json", "paper", cwd=folder) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in told["findings"]] == ["cell"] and told["unchecked"] == ["paper/notes.txt"]


def test_a_table_within_an_article_is_to_be_copied_into_it_again_but_not_from_a_report_that_is_old(
    folder: Path, slws: Slws, capsys: Printed
) -> None:
    table = (folder / "reports/tiny/tables/results.tex").read_text()
    (folder / "article.tex").write_text("Results\n" + table.replace("73.1", "74.1"))
    study = folder / "studies/tiny.yaml"
    study.write_text(study.read_text() + "# a remark\n")
    assert slws("report", "tiny", "--check", "article.tex", cwd=folder) == 1
    again = "To do: copy table slws:tiny of reports/tiny/table.tex into article.tex again\n"
    assert capsys.readouterr().out.endswith(again)
    study.write_text(study.read_text().replace("margin: 1.0", "margin: 2.0"))
    assert slws("report", "tiny", "--check", "article.tex", cwd=folder) == 1
    assert capsys.readouterr().out.endswith("To do: `slws report tiny` makes it anew; then copy its tables again\n")


def test_a_report_says_where_the_tables_of_ones_own_are_and_what_latex_calls_them(
    folder: Path, slws: Slws, capsys: Printed
) -> None:
    study = folder / "studies/tiny.yaml"
    told = []
    for names in (["a"], ["a", "b", "c", "d"]):
        study.write_text(
            study.read_text().partition("report:")[0]
            + f"report: {{tables: [{', '.join(f'{{name: {n}}}' for n in names)}]}}\n"
        )
        assert slws("report", "tiny", cwd=folder) == 0
        told.append(capsys.readouterr().out.splitlines()[-1])
    first = r"Tables:  reports/tiny/tables/a.tex \label{slws:tiny-a}"
    assert r"\label{slws:tiny-a}" in (folder / "reports/tiny/tables/a.tex").read_text()
    assert told[0] == first and told[1].startswith(f"{first}, ") and told[1].endswith(r"\label{slws:tiny-c}, ...")


def test_many_findings_are_cut_short_and_json_has_all(folder: Path, slws: Slws, capsys: Printed) -> None:
    for path in [*(folder / "reports/tiny/tables").iterdir(), folder / "reports/tiny/table.md"]:
        path.unlink()
    assert slws("report", "tiny", "--check", cwd=folder) == 1
    printed = capsys.readouterr().out
    assert printed.count("it is gone") == 8 and "(--json lists all)" in printed


def test_mistakes_are_exit_code_2(folder: Path, slws: Slws, capsys: Printed) -> None:
    assert slws("report", "tiny", "paper", cwd=folder) == 2
    assert "only with --check" in capsys.readouterr().err
    assert slws("report", "tiny", "--check", "nowhere", cwd=folder) == 2
    assert "there is no such file or folder" in capsys.readouterr().err
    assert slws("report", "tiny", "--check", "studies", cwd=folder) == 2
    assert "is of the report of tiny" in capsys.readouterr().err


def test_without_run_folders_both_say_so_first_and_change_nothing(folder: Path, slws: Slws, capsys: Printed) -> None:
    shutil.rmtree(folder / ".slws")
    before = {path: path.read_bytes() for path in (folder / "reports").rglob("*") if path.is_file()}
    assert slws("report", "tiny", "--check", cwd=folder) == 0
    assert capsys.readouterr().out.startswith("No run folders here: checked against records.csv and manifest.json")
    assert slws("report", "tiny", cwd=folder) == 0
    assert capsys.readouterr().out.startswith("No run folders here: from tiny/records.csv of the report itself")
    assert {path: path.read_bytes() for path in (folder / "reports").rglob("*") if path.is_file()} == before


def test_a_run_that_is_missing_from_the_start_is_told_with_what_runs_it(
    folder: Path, slws: Slws, capsys: Printed
) -> None:
    from slws_lab.lab.project import Project
    from slws_lab.lab.reporting import report

    project = Project.open(str(folder / "studies/tiny.yaml"))
    shutil.rmtree(attempt_of(project).path.parent)
    report(project)
    assert slws("report", "tiny", "--check", cwd=folder) == 1
    printed = capsys.readouterr().out
    assert "1 of 3 seeds are missing: 0 (pending)" in printed and "To do: `slws run tiny`" in printed


def test_a_report_that_would_be_without_results_is_refused_unless_asked_for(
    folder: Path, slws: Slws, capsys: Printed
) -> None:
    from slws_lab.lab.project import Project

    shutil.rmtree(attempt_of(Project.open(str(folder / "studies/tiny.yaml"))).path.parent)
    before = (folder / "reports/tiny/records.csv").read_bytes()
    assert slws("report", "tiny", cwd=folder) == 2
    assert "1 run of the report has no result here" in capsys.readouterr().err
    assert (folder / "reports/tiny/records.csv").read_bytes() == before
    assert slws("report", "tiny", "--forget", cwd=folder) == 0
    assert (folder / "reports/tiny/records.csv").read_bytes() != before
    assert (folder / "reports/tiny-before/records.csv").read_bytes() == before


def test_a_changed_run_is_not_to_be_reported_anew(folder: Path, slws: Slws, capsys: Printed) -> None:
    from slws_lab.lab.project import Project

    path = attempt_of(Project.open(str(folder / "studies/tiny.yaml"))).journal
    path.write_text(path.read_text().replace("70.0", "79.0"))
    assert slws("report", "tiny", "--check", cwd=folder) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("Runs that are not as they were written")
    assert "To do: `slws verify` says how to mend" in printed and "makes it anew" not in printed


def test_training_curves_that_are_left_out_are_told(folder: Path, slws: Slws, capsys: Printed) -> None:
    shutil.rmtree(folder / ".slws")
    (folder / "reports/tiny/manifest.json").unlink()
    assert slws("report", "tiny", cwd=folder) == 0
    assert "the training curves are left out" in capsys.readouterr().out
