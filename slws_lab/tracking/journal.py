"""The journal of an attempt: one JSON line an epoch, appended, each line whole or absent. It is the truth; MLflow mirrors it.

Each line ends with a CRC. A last line without its end is torn: a crash leaves it, and nothing was lost but its epoch. Any other line that
is no entry is damaged: what stands behind it is not read, who goes on with the attempt cuts it off, says so in the log, and makes it again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from slws_lab.tracking.files import (
    UNREADABLE,
    checked_line,
    first_damaged,
    line_value,
    sync_folder,
    temporary_for,
    writing,
)

NON_FINITE = ("nan", "inf", "-inf")
MAX_STEP, MAX_TIME = 2**31, 1e11  # beyond them a line is damaged, and MLflow's columns overflow
KEYS = {"step", "time", "metrics"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One line: the metrics of one step.

    Attributes:
        step: Epochs done.
        time: When it was measured, seconds since 1970.
        metrics: Name to value; values may be non-finite.
        end: Byte offset behind the line, so that a reader can go on from there.
    """

    step: int
    time: float
    metrics: dict[str, float]
    end: int


class Writer:
    """The writer of a journal that this process owns. Use as a context manager.

    The journal's whole lines are copied into a new file that takes its place, and only that one is written: whoever wrote the
    journal before, and wakes up, writes into a file that has no name any more.

    Args:
        path: The journal; made if it is absent.
        desk: See `Claim.desk`; None writes the copy beside the journal.

    Raises:
        NotWritten: The system refused, or the desk is gone.
    """

    def __init__(self, path: Path, desk: Path | None = None) -> None:
        self._path = path
        there = path.read_bytes() if path.exists() else b""
        whole = there[: _whole_length(path)]
        if lost := there.count(b"\n", len(whole)):
            first = whole.count(b"\n") + 1
            log.warning("line %d of the journal is damaged: the last %d lines are cut off, and made again", first, lost)
        with writing(path), contextlib.ExitStack() as undo:
            temporary = temporary_for(path, desk)
            self._file = undo.enter_context(temporary.open("wb", buffering=0))
            undo.callback(temporary.unlink, missing_ok=True)
            _put(self._file, 0, whole)
            temporary.replace(path)
            sync_folder(path.parent)
            undo.pop_all()
        self._end = len(whole)

    def append(self, step: int, time: float, metrics: dict[str, float]) -> None:
        """Append one entry and wait until it is on disk.

        Raises:
            NotWritten: The system refused; nothing of the entry is left.
        """
        line = _line(step, time, metrics)
        with writing(self._path):
            _put(self._file, self._end, line)
        self._end += len(line)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def append(path: Path, step: int, time: float, metrics: dict[str, float]) -> None:
    """Append one entry and wait until it is on disk; a torn last line, left by a killed process, is cut off first.

    Raises:
        NotWritten: The system refused; nothing of the entry is left.
    """
    with writing(path), path.open("ab", buffering=0) as file:
        _put(file, _whole_length(path), _line(step, time, metrics))


def _put(file: FileIO, end: int, content: bytes) -> None:
    """Write behind an offset, and cut off what stands there; on an error also what was written of the content."""
    try:
        if file.seek(0, os.SEEK_END) != end:
            file.truncate(end)
            file.seek(end)
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _line(step: int, time: float, metrics: dict[str, float]) -> bytes:
    return checked_line(
        {"step": step, "time": time, "metrics": {name: _encode(value) for name, value in metrics.items()}}
    )


def read(path: Path, start: int = 0) -> Iterator[Entry]:
    """Yield the whole entries from a byte offset on; stops before a line that is torn or damaged.

    None where the file cannot be read: `Attempt.result` says so.
    """
    try:
        file = path.open("rb")
    except UNREADABLE:
        return
    with file:
        file.seek(start)
        end = start
        for line in file:
            end += len(line)
            entry = _decode(line, end)
            if entry is None:
                return
            yield entry


def damaged_line(path: Path) -> int | None:
    """Return the number of the first line that has its end and yet is no entry; None where there is none."""
    return first_damaged(path, lambda line: _decode(line, 0) is not None)


def epochs(path: Path) -> int:
    """Return how many epochs the journal holds without a gap, from the first on."""
    have, found = {entry.step for entry in read(path)}, 0
    while found + 1 in have:
        found += 1
    return found


def points(entries: Iterator[Entry]) -> dict[str, dict[int, tuple[float, float]]]:
    """Return name -> step -> (value, time). The first entry of a step wins: a resumed run writes the same ones again."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for entry in entries:
        for name, value in entry.metrics.items():
            found.setdefault(name, {}).setdefault(entry.step, (value, entry.time))
    return found


def _whole_length(path: Path) -> int:
    end = 0
    for entry in read(path):
        end = entry.end
    return end


def _decode(line: bytes, end: int) -> Entry | None:
    try:
        raw = line_value(line)
        step, time = raw["step"], _number(raw["time"])
        if raw.keys() != KEYS or type(step) is not int or not (0 <= step <= MAX_STEP and 0 <= time <= MAX_TIME):
            return None
        return Entry(step, time, {name: _number(value) for name, value in raw["metrics"].items()}, end)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _encode(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


def _number(value: Any) -> float:
    """Decode what `_encode` writes, and nothing else that `float` would take: text, true and false."""
    if type(value) in (int, float) or value in NON_FINITE:
        return float(value)
    raise ValueError(value)
