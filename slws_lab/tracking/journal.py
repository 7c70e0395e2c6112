"""The journal of an attempt: one JSON line an epoch, appended, each line whole or absent. It is the truth; MLflow mirrors it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from slws_lab.tracking.files import sync_folder, temporary_for, writing

NON_FINITE = ("nan", "inf", "-inf")
MAX_STEP, MAX_TIME = 2**31, 1e11  # beyond them a line is damaged, and MLflow's columns overflow


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
        whole = path.read_bytes()[: _whole_length(path)] if path.exists() else b""
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
    entry = {"step": step, "time": time, "metrics": {name: _encode(value) for name, value in metrics.items()}}
    return json.dumps(entry).encode() + b"\n"


def read(path: Path, start: int = 0) -> Iterator[Entry]:
    """Yield the whole entries from a byte offset on; stops before a line that is torn or no entry."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        end = start
        for line in file:
            end += len(line)
            entry = _decode(line, end)
            if entry is None:
                return
            yield entry


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
    if not line.endswith(b"\n"):
        return None
    try:
        raw: Any = json.loads(line)
        step, time = raw["step"], _number(raw["time"])
        if type(step) is not int or not (0 <= step <= MAX_STEP and 0 <= time <= MAX_TIME):
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
