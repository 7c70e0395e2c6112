"""Reports rebuilt from records.csv: the same as from the run folders, to the last byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slws_lab.analysis import ResultTable, undeclared
from slws_lab.reports.figures.data import read_curves
from slws_lab.reports.page import facts
from slws_lab.reports.report import report_files, report_views
from slws_lab.tracking import RunRecord

STATUSES = ("finished", "finished", "finished", "finished", "diverged", "failed", None)
ONE_FACTOR = "factors: {shuffle.schedule: [none, linear]}\ndesigns: [{grid: [shuffle.schedule]}]\nseeds: 4"
GRID = "factors: {train.lr: [0.001, 0.002]}\ndesigns: [{grid: [train.lr]}]\nseeds: 8"


def mixed(i: int, seed: int) -> str | None:
    """All ends that a run may have, most of them good."""
    return STATUSES[(3 * i + seed) % len(STATUSES)] if i else "finished"


def again(table: ResultTable, study: Any) -> ResultTable:
    return ResultTable.from_csv(study, table.design, table.to_csv())


@pytest.mark.parametrize("at", ["last", "best"])
def test_every_table_and_fact_is_the_same_from_records_csv(project: Callable[..., Any], at: str) -> None:
    made = project(mixed, metric={"name": "val/top1", "at": at, "weights": "raw"})
    read = again(made.table, made.study)
    assert read.to_csv() == made.table.to_csv()
    assert report_views(read, made.study) == report_views(made.table, made.study)
    assert undeclared(read) == undeclared(made.table)
    for about in (facts.failures, facts.design_facts, facts.provenance_facts, facts.arms_view, facts.runs_view):
        assert about(read) == about(made.table)
    assert all(read.result_sha256(run) == made.table.result_sha256(run) for run in read.records)


def test_every_file_is_the_same_from_records_csv_and_the_curves_beside_it(project: Callable[..., Any]) -> None:
    made = project(mixed, ONE_FACTOR)
    files = report_files(made.table, made.study)
    curves = read_curves(files["figures/training.csv"].decode())
    rebuilt = report_files(again(made.table, made.study), made.study, curves)
    assert list(rebuilt) == list(files)
    assert [name for name in files if files[name] != rebuilt[name]] == []


def test_what_made_a_run_stands_in_the_first_row_of_its_kind_only(project: Callable[..., Any]) -> None:
    frame = project(mixed).table.frame()
    ended = frame[frame["result_sha256"].notna()]
    assert ended["made_by"].notna().sum() == ended["provenance"].nunique() == 2  # one arm has uncommitted changes
    assert json.loads(ended["made_by"].dropna().iloc[0])["packages"] == {"torch": "2"}


def test_what_is_no_number_reads_back_as_it_was(plant: Callable[..., ResultTable]) -> None:
    values: list[float | str | None] = [math.nan, math.inf, -math.inf, 90, 0.1 + 0.2, 1e-300, "failed", None]
    table = plant(GRID, lambda _, seed: values[seed])
    cause = 'first line\nsecond, "quoted"\r, lone return'
    records = {i: replace(r, cause=cause if r.status == "failed" else "") for i, r in table.records.items()}
    table = replace(table, records=records)
    read = again(table, _study(table))
    assert read.to_csv() == table.to_csv()
    for run, record in table.records.items():
        other: RunRecord = read.records[run]
        assert (record.status, record.cause, record.attempt) == (other.status, other.cause, other.attempt)
        ends = [{name: repr(float(e.last)) for name, e in r.digest.ends.items()} for r in (record, other)]
        assert ends[0] == ends[1]


def _study(table: ResultTable) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(spec=table.study)
