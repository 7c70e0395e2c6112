"""The committed reports: their tables follow from their records, and what the documents say of them stands in these tables."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from slws_lab.analysis import ResultTable
from slws_lab.reports import main_view, wording
from slws_lab.reports.formats import to_csv, to_markdown
from slws_lab.spec import expand, load_study

REPORTS = [
    REPOSITORY / "reports" / name for name in ("quickstart", "slws_cifar10_cpu")
]  # not those of whoever works here
DIFFERENCE = r"[+−]\d+\.\d\d(?: \[[+−]\d+\.\d\d, [+−]\d+\.\d\d\])?"


def result_table(report: Path) -> ResultTable:
    study = load_study(REPOSITORY / "studies" / f"{report.name}.yaml")
    return ResultTable.from_csv(study, expand(study), (report / "records.csv").read_text())


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.name)
def test_a_committed_table_is_what_its_records_give(report: Path) -> None:
    table = result_table(report)
    asked = {arm.id: len(table.design.seeds_of(arm.id)) for arm in table.design.arms}
    assert table.values.notna().sum().to_dict() == asked, "every run has finished"
    records = [record for arm in table.design.arms for record in table.arm_records(arm.id)]
    assert not any(record.result["provenance"]["dirty"] for record in records), "made from committed code"
    view = main_view(table)
    assert (report / "tables" / "results.csv").read_text() == to_csv(view)
    assert (report / "tables" / "results.md").read_text() == to_markdown(view)


@pytest.mark.parametrize(
    ("document", "report"), [("README.md", "quickstart"), ("docs/findings.md", "slws_cifar10_cpu")]
)
def test_what_a_document_says_of_a_study_stands_in_its_table(document: str, report: str) -> None:
    view = main_view(result_table(REPOSITORY / "reports" / report))
    text = re.sub(r"\*\*(helps|hurts|equivalent)\*\*", r"\1", (REPOSITORY / document).read_text())
    said = [{cell.strip() for cell in line.split("|")} for line in text.splitlines() if line.startswith("|")]
    count = [column.name for column in view.columns].index("n")
    for row in view.rows:
        levels = {cell.text for cell in row[:count]} - {wording.NOTHING}
        of_arm = [one for one in said if all(any(cell.startswith(level) for cell in one) for level in levels)]
        cells = {cell.text for cell in row[count:]}
        told = {
            text
            for text in cells
            if re.fullmatch(rf"{DIFFERENCE}|0\.\d{{4}}|helps|hurts|equivalent|inconclusive", text)
        }
        assert any(told <= one for one in of_arm), f"{sorted(told)} is not told of {sorted(levels)}"
        assert any({text for text in cells if "±" in text} <= one for one in of_arm)
    shown = {cell for line in said for cell in line if re.fullmatch(DIFFERENCE, cell)}
    assert shown <= {cell.text for row in view.rows for cell in row}


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.name)
def test_a_committed_report_is_up_to_date(report: Path, tmp_path: Path) -> None:
    """As `slws report STUDY --check` says it where the run folders are not; it takes pictures of another matplotlib as they are."""
    for name in ("studies", "experiments"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copytree(report, tmp_path / "reports" / report.name)
    (tmp_path / "pyproject.toml").touch()
    command = [sys.executable, "-m", "slws_lab.cli", "report", report.name, "--check"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
