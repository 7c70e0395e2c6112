"""The journal of an attempt: one JSON line an epoch, appended, each line whole or absent. It is the truth; MLflow mirrors it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


def append(path: Path, step: int, time: float, metrics: dict[str, float]) -> None:
    """Append one entry and wait until it is on disk; a torn last line, left by a killed process, is cut off first."""
    line = json.dumps({"step": step, "time": time, "metrics": {k: _encode(v) for k, v in metrics.items()}})
    with path.open("ab") as file:
        whole = _whole_length(path)
        if file.tell() != whole:
            file.truncate(whole)
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


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
        return Entry(int(raw["step"]), float(raw["time"]), {str(k): float(v) for k, v in raw["metrics"].items()}, end)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _encode(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))
