"""How much of each journal MLflow has: byte offsets kept in the workspace, and whether the last pass ended well."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from slws_lab.tracking.files import Damaged, read_json, write_json


class Offsets:
    """The offsets of one study, by MLflow run id (one for each study, run and attempt, whatever the store).

    A pass marks the file before its first point is sent, and takes the mark away when it writes the new offsets. Where
    a mark is found or an offset is missing, the store is asked what it has: a process that dies between sending and
    noting loses and doubles nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            kept = read_json(path) or {"open": False, "offsets": {}}
        except Damaged:  # without offsets the store is asked
            kept = {"open": False, "offsets": {}}
        self._unsure: bool = kept["open"]
        self._marked: bool = kept["open"]
        self._offsets: dict[str, int] = kept["offsets"]
        self._prefixes: dict[str, str] = kept.get("prefixes", {})
        self._new: dict[str, int] = {}

    @property
    def stamp(self) -> tuple[int, ...]:
        """What tells this state of the file from any other; empty where it is not there."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def of(self, run: str) -> int:
        """Return up to which byte the journal was certainly sent."""
        return self._new.get(run, self._offsets.get(run, 0))

    def sure(self, run: str) -> bool:
        """Say whether nothing beyond the offset can have been sent."""
        return run in self._new or (run in self._offsets and not self._unsure)

    def rewritten(self, run: str, journal: Path) -> bool:
        """Say whether what was sent of a journal is no longer what stands in it."""
        known = self._prefixes.get(run)
        return known is not None and known != _digest(journal, self.of(run))

    def start(self, run: str) -> None:
        """Note a run that was created just now: it holds nothing."""
        self._new[run] = 0

    def mark(self) -> None:
        """Say on disk that points are about to be sent."""
        if not self._marked:
            write_json(self._path, {"open": True, "offsets": self._offsets, "prefixes": self._prefixes})
            self._marked = True

    def set(self, run: str, offset: int, journal: Path) -> None:
        """Note what was sent of a journal; it is on disk after `close`."""
        if offset != self.of(run) or run not in self._prefixes:
            self._prefixes[run] = _digest(journal, offset)
        self._new[run] = offset

    def close(self, runs: Iterable[str]) -> None:
        """Keep the offsets of the runs that exist, and take the mark away."""
        kept = {run: self.of(run) for run in runs if self.sure(run)}
        if self._marked or kept != self._offsets:
            prefixes = {run: digest for run, digest in self._prefixes.items() if run in kept}
            write_json(self._path, {"open": False, "offsets": kept, "prefixes": prefixes})
            self._offsets, self._new, self._unsure, self._marked = kept, {}, False, False


def _digest(path: Path, end: int) -> str:
    """Return the digest of a file up to an offset."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(end)).hexdigest()[:16]
