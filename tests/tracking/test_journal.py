"""The journal: each line whole or absent, the first entry of a step wins."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import pytest
from full_disk import room_for

from slws_lab.tracking import journal
from slws_lab.tracking.files import NotWritten


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


@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_changed_digit_of_a_line_is_damage_and_nothing_behind_it_is_read(number: int, path: Path) -> None:
    journal.append(path, 3, 102.0, {"a": 0.3})
    whole = path.read_bytes()
    assert journal.damaged_line(path) is None
    lines = whole.splitlines(keepends=True)
    before, line = b"".join(lines[: number - 1]), lines[number - 1]
    for place in (match.start() for match in re.finditer(rb"[0-9]", line)):
        other = line[:place] + b"%d" % ((line[place] - ord("0") + 1) % 10) + line[place + 1 :]
        path.write_bytes(before + other + b"".join(lines[number:]))
        assert [entry.step for entry in journal.read(path)] == [1, 2, 3][: number - 1], other
        assert journal.damaged_line(path) == number


def test_who_goes_on_with_a_damaged_journal_cuts_the_damage_off_and_says_so(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal.append(path, 3, 102.0, {"a": 0.3})
    path.write_bytes(path.read_bytes().replace(b'"a": 0.2', b'"a": 0.4') + b'{"torn')
    with journal.Writer(path) as writer:
        assert [entry.step for entry in journal.read(path)] == [1]
        writer.append(2, 101.0, {"a": 0.2})
    assert [record.message for record in caplog.records] == [
        "line 2 of the journal is damaged: the last 2 lines are cut off, and made again"
    ]
    assert (journal.epochs(path), journal.damaged_line(path)) == (2, None)


def test_a_torn_last_line_is_no_damage(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    assert (journal.epochs(path), journal.damaged_line(path)) == (1, None)
    with journal.Writer(path):
        assert caplog.records == []


def test_a_journal_of_an_older_version_is_read_and_gone_on_with(path: Path) -> None:
    old = b'{"step": 1, "time": 100.0, "metrics": {"a": 0.1, "b": "nan"}}\n'
    path.write_bytes(old)
    journal.append(path, 2, 101.0, {"a": 0.2})
    assert [(entry.step, entry.metrics["a"]) for entry in journal.read(path)] == [(1, 0.1), (2, 0.2)]
    assert path.read_bytes().startswith(old)


def test_a_journal_that_cannot_be_read_holds_nothing(path: Path) -> None:
    assert list(journal.read(path / "below a file")) == []
    assert journal.damaged_line(path / "below a file") is None


def test_the_first_entry_of_a_step_wins(path: Path) -> None:
    journal.append(path, 2, 200.0, {"a": 9.0, "c": 1.0})
    points = journal.points(journal.read(path))
    assert points["a"] == {1: (0.1, 100.0), 2: (0.2, 101.0)}
    assert points["c"] == {2: (1.0, 200.0)}


def test_an_absent_journal_is_empty(tmp_path: Path) -> None:
    assert list(journal.read(tmp_path / "none")) == []


def test_an_entry_that_does_not_fit_leaves_nothing_and_the_next_one_follows_the_last(path: Path) -> None:
    whole = path.read_bytes()
    with journal.Writer(path) as writer:
        for put in (writer.append, partial(journal.append, path)):
            with (
                room_for(len(whole) + 10),
                pytest.raises(NotWritten, match=r"journal\.jsonl cannot be written: File too large"),
            ):
                put(3, 102.0, {"a": 0.3})
            assert path.read_bytes() == whole
        writer.append(3, 102.0, {"a": 0.3})
        writer.append(4, 103.0, {"a": 0.4})
    assert [entry.step for entry in journal.read(path)] == [1, 2, 3, 4]


def test_a_journal_that_cannot_be_taken_over_stays_as_it_is(path: Path) -> None:
    whole = path.read_bytes()
    with room_for(10), pytest.raises(NotWritten):
        journal.Writer(path)
    with pytest.raises(NotWritten):
        journal.Writer(path, path.parent / "a desk that is gone")
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_what_a_former_owner_writes_does_not_arrive(path: Path) -> None:
    with journal.Writer(path) as former:
        former.append(3, 102.0, {"a": 0.3})
        with journal.Writer(path) as owner:
            former.append(4, 103.0, {"a": 9.0})
            owner.append(4, 104.0, {"a": 0.4})
            former.append(5, 105.0, {"a": 9.0})
    assert [(entry.step, entry.metrics["a"]) for entry in journal.read(path)] == [
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
        (4, 0.4),
    ]


def test_a_new_writer_cuts_a_torn_end_and_keeps_the_offsets_of_what_is_whole(path: Path) -> None:
    ends = [entry.end for entry in journal.read(path)]
    with path.open("ab") as file:
        file.write(b'{"step": 3, "ti')
    with journal.Writer(path) as writer:
        writer.append(3, 102.0, {"a": 0.3})
    assert [entry.end for entry in journal.read(path)][:2] == ends
    assert [entry.step for entry in journal.read(path, ends[-1])] == [3]


def test_epochs_are_counted_up_to_the_first_gap(path: Path) -> None:
    assert journal.epochs(path) == 2
    journal.append(path, 4, 103.0, {"a": 0.4})
    assert journal.epochs(path) == 2
    journal.append(path, 3, 102.0, {"a": 0.3})
    assert journal.epochs(path) == 4
    assert journal.epochs(path.parent / "none") == 0
