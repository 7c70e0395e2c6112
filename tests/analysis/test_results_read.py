"""Reading records.csv: what cannot be read is refused with its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from slws_lab.analysis import ResultTable
from slws_lab.errors import UserError


def again(table: ResultTable, text: str) -> ResultTable:
    study: Any = SimpleNamespace(spec=table.study)
    return ResultTable.from_csv(study, table.design, text)


@pytest.fixture
def table(plant: Callable[..., ResultTable]) -> ResultTable:
    planted = plant([90.1, 90.2, None], [91.1, "failed", "diverged"])
    made = {"code": "abc", "commit": "c" * 40, "modules": {"slws_lab.scan.port": "1"}, "packages": {"torch": "2"}}
    result = {"status": "finished", "epochs": 2, "shuffle_rates": [0.0, 0.25], "provenance": made}
    return replace(
        table_of(planted),
        records={i: replace(r, result=result) if r.attempt else r for i, r in planted.records.items()},
    )


def table_of(planted: ResultTable) -> ResultTable:
    return replace(planted, digests={})


def test_what_is_read_is_what_was_written(table: ResultTable) -> None:
    read = again(table, table.to_csv())
    assert read.to_csv() == table.to_csv()
    assert read.values.equals(table.values)
    one, other = (next(iter(t.records.values())) for t in (table, read))
    assert other.result["provenance"] == one.result["provenance"]
    assert other.result["shuffle_rates"] == [0.0, 0.25]
    assert {k: v for k, v in other.result.items() if k not in ("cause",)} == one.result


def test_a_run_without_a_row_has_not_begun(table: ResultTable) -> None:
    read = again(table, "".join(table.to_csv().splitlines(keepends=True)[:-1]))
    assert list(read.records.values())[-1].status == "pending"


def change(text: str, line: int, old: str, new: str) -> str:
    lines = text.splitlines(keepends=True)
    assert old in lines[line - 1], lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "".join(lines)


@pytest.mark.parametrize(
    ("line", "old", "new", "says"),
    [
        (1, ",status,", ",state,", "lacks the column status"),
        (1, "arm,arm_id", "arm,arms", "lacks the column arm_id"),
        (3, "finished", "ended", "'ended' is none"),
        (3, ",90.2,2,", ",9o.2,2,", "'9o.2' is no number"),
        (3, ",1,1,", ",x,1,", "'x' is no whole number"),
        (3, "finished,,", "finished,,,", "cells where the header has"),
        (2, "slws_lab.scan.port", "slws_lab.scan.part", "made_by is not what its digest"),
        (5, "-s0-", "-s9-", "a run that study planted does not have"),
        (3, "false", "0", "is neither true nor false"),
    ],
)
def test_a_changed_file_is_refused_with_its_line(table: ResultTable, line: int, old: str, new: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        again(table, change(table.to_csv(), line, old, new))
    assert refused.value.where == f"line {line}"


def test_the_line_is_the_one_of_the_file_also_behind_a_text_of_several_lines(table: ResultTable) -> None:
    first = next(iter(table.records))
    records = {i: replace(r, cause="one\ntwo\nthree" if i == first else r.cause) for i, r in table.records.items()}
    text = replace(table, records=records).to_csv()
    with pytest.raises(UserError) as refused:
        again(table, text.replace(",90.2,2,", ",9o.2,2,", 1))
    assert refused.value.where == "line 5"


def test_a_row_twice_a_foreign_file_and_a_torn_one_are_refused(
    table: ResultTable, plant: Callable[..., ResultTable]
) -> None:
    text = table.to_csv()
    with pytest.raises(UserError, match="stands there twice"):
        again(table, text + text.splitlines(keepends=True)[-1])
    with pytest.raises(UserError, match="none of its 6 runs is one of study planted"):
        again(plant([1.0], [2.0], more="set: {train.warmup_epochs: 0, train.smoothing: 0.2}"), text)
    for torn in ("", text[:-5]):
        with pytest.raises(UserError, match="in the midst of a line"):
            again(table, torn)


def test_a_run_of_another_seed_is_refused(table: ResultTable) -> None:
    lines = table.to_csv().splitlines(keepends=True)
    swapped = lines[1].replace("none,0," if "none,0," in lines[1] else ",0,", ",2,", 1)
    with pytest.raises(UserError):
        again(table, "".join([lines[0], swapped, *lines[2:]]))


def test_best_values_that_the_file_does_not_hold_are_not_made_up(plant: Callable[..., ResultTable]) -> None:
    last = plant([0.2, 0.9])
    best = plant([0.2, 0.9], more="metric: {name: val/top1, at: best}")
    assert again(best, best.to_csv()).values.iloc[:, 0].tolist() == [0.5, 0.9]
    with pytest.raises(UserError, match="holds no best values"):
        again(best, last.to_csv())


def test_a_factor_that_is_called_like_a_column_has_one_of_its_own(table: ResultTable) -> None:
    arms = tuple(replace(arm, settings={"epochs": i}) for i, arm in enumerate(table.design.arms))
    named = replace(table, design=replace(table.design, arms=arms))
    read = again(named, named.to_csv())
    assert "factor epochs" in named.to_csv().partition("\n")[0]
    assert [record.result.get("epochs") for record in read.records.values()][:2] == [2, 2]
