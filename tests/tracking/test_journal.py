"""The journal: each line whole or absent, the first entry of a step wins."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from slws_lab.tracking import journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    journal.append(path, 1, 100.0, {"a": 0.1, "b": math.nan})
    journal.append(path, 2, 101.0, {"a": 0.2, "b": math.inf})
    return path


def test_entries_come_back_as_written(path: Path) -> None:
    first, second = journal.read(path)
    assert (first.step, first.time, first.metrics["a"]) == (1, 100.0, 0.1)
    assert math.isnan(first.metrics["b"])
    assert second.metrics["b"] == math.inf
    assert second.end == path.stat().st_size


def test_reading_goes_on_from_an_offset(path: Path) -> None:
    first, _ = journal.read(path)
    journal.append(path, 3, 102.0, {"a": 0.3})
    assert [entry.step for entry in journal.read(path, first.end)] == [2, 3]


@pytest.mark.parametrize("torn", [b'{"step": 3, "ti', b"\x00\x00\x00", b'{"step": 3}\n', b"garbage\n", b"[]\n"])
def test_a_torn_or_strange_end_is_not_read_and_is_cut_by_the_next_append(path: Path, torn: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [entry.step for entry in journal.read(path)] == [1, 2]
    journal.append(path, 3, 102.0, {"a": 0.3})
    assert [entry.step for entry in journal.read(path)] == [1, 2, 3]
    assert path.read_bytes().startswith(whole)


def test_the_first_entry_of_a_step_wins(path: Path) -> None:
    journal.append(path, 2, 200.0, {"a": 9.0, "c": 1.0})
    points = journal.points(journal.read(path))
    assert points["a"] == {1: (0.1, 100.0), 2: (0.2, 101.0)}
    assert points["c"] == {2: (1.0, 200.0)}


def test_an_absent_journal_is_empty(tmp_path: Path) -> None:
    assert list(journal.read(tmp_path / "none")) == []
