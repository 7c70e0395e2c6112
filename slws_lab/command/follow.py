"""Metrics of a command while it works: from lines of a file that grows, from what it prints, and from `slws_lab.log`."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.command.api import MAX_STEP
from slws_lab.spec import MetricsSpec, flatten

SHOWN = 12
REMEMBERED = 256  # bytes before where reading goes on: what stands there otherwise was written anew


@dataclass(frozen=True)
class Point:
    """One value of a metric; steps count from 1."""

    name: str
    step: int
    value: float


class Tail:
    """The whole lines of a file that somebody writes: each once, a last one without an end not yet.

    A file that was replaced or has become shorter is read from its beginning again, and `rewound` is set.

    Args:
        path: The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.rewound = path, False
        self._read = self._inode = 0
        self._last = b""

    def lines(self, *, final: bool = False) -> Iterator[str]:
        """Yield the lines that have come since the last call; with `final` also a last one without an end."""
        try:
            file = self.path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return
        with file:
            inode = os.fstat(file.fileno()).st_ino
            file.seek(self._read - len(self._last))
            if inode != self._inode or file.read(len(self._last)) != self._last:
                self._read, self._last, self._inode, self.rewound = 0, b"", inode, True
                file.seek(0)
            content = file.read()
        end = len(content) if final else content.rfind(b"\n") + 1
        self._read += end
        self._last = (self._last + content[:end])[-REMEMBERED:]
        yield from (line.rstrip("\r") for line in content[:end].decode(errors="replace").split("\n") if line)


class Follower:
    """Finds a command's metrics wherever its recipe says they are.

    Args:
        spec: Where they are.
        files: The run's own folder.
        log: The file to which `slws_lab.log` writes.
    """

    def __init__(self, spec: MetricsSpec, files: Path, log: Path) -> None:
        self._spec, self._logged = spec, Tail(log)
        self._file = Tail(files / spec.file) if spec.file is not None else None
        self._patterns = [re.compile(pattern) for pattern in spec.stdout or ()]
        self._heard: list[Point] = []
        self._counts: Counter[str] = Counter()
        self._step: int | None = None
        self._header: list[str] = []
        self._keys: dict[str, None] = {}
        self._skipped: Counter[str] = Counter()

    def hear(self, line: str) -> None:
        """Look for metrics in a line that the command has printed."""
        groups = [found.groupdict() for pattern in self._patterns if (found := pattern.search(line))]
        if named := {name: text for group in groups for name, text in group.items() if text is not None}:
            self._heard += self._points(named)

    def points(self, *, final: bool = False) -> list[Point]:
        """Return what has come since the last call.

        Args:
            final: Whether the command has ended, so that a last line without an end is whole too.
        """
        found, self._heard = self._heard, []
        if self._file is not None:
            lines = list(self._file.lines(final=final))
            if self._file.rewound:
                self._file.rewound, self._header = False, []
                self._counts.clear()
            found += [point for line in lines for point in self._of_line(line)]
        for line in self._logged.lines(final=final):
            given = json.loads(line)
            found += [Point(name, given["step"], float(value)) for name, value in given["metrics"].items()]
        return found

    @property
    def skipped(self) -> bool:
        """Whether a line of the file could not be used."""
        return bool(self._skipped)

    @property
    def said(self) -> str:
        """What could not be used, and which keys there were; empty where nothing is to be said."""
        skipped = [f"lines of {self._spec.file} {why}: {count}" for why, count in self._skipped.items()]
        keys = list(self._keys)[:SHOWN] + (["..."] if len(self._keys) > SHOWN else [])
        return "; ".join(skipped + ([f"keys found: {', '.join(keys)}"] if keys else []))

    def _of_line(self, line: str) -> list[Point]:
        found = self._row(line) if str(self._spec.file).endswith(".csv") else self._object(line)
        return [] if found is None else self._points(found)

    def _row(self, line: str) -> dict[str, Any] | None:
        cells = [cell.strip() for cell in next(csv.reader([line]), [])]
        if not self._header:
            self._header = cells
            return None
        if cells == self._header:  # a command that goes on may write it again
            return None
        if len(cells) != len(self._header):
            self._skipped["that do not fit its header"] += 1
            return None
        return {key: cell for key, cell in zip(self._header, cells, strict=True) if cell}

    def _object(self, line: str) -> dict[str, Any] | None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return flatten(found)
        if line.strip():
            self._skipped["that hold no JSON object"] += 1
        return None

    def _points(self, found: Mapping[str, Any]) -> list[Point]:
        """Return the values of one line, at the step that it names, or else at the last one named."""
        self._keys |= dict.fromkeys(found)
        spec, values = self._spec, {name: _number(found.get(key)) for name, key in self._spec.names.items()}
        if spec.step is not None:
            given = _number(found.get(spec.step))
            if given is not None and given.is_integer() and 0 <= given + 1 - spec.counts_from <= MAX_STEP:
                self._step = int(given) + 1 - spec.counts_from
            elif self._file is not None or self._step is None:
                self._skipped[f"without the step '{spec.step}'"] += any(value is not None for value in values.values())
                return []
        return [Point(name, self._next_step(name), value) for name, value in values.items() if value is not None]

    def _next_step(self, name: str) -> int:
        if self._spec.step is not None and self._step is not None:
            return self._step
        self._counts[name] += 1
        return self._counts[name]


def _number(value: Any) -> float | None:
    """Return a value as a number; None where it is none."""
    if value is None or isinstance(value, bool | list):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
