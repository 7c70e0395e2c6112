"""The records of many runs at once. What has ended is read once and kept beside the workspace, for as long as its files are the same.

The keeping is a matter of time alone: without the file, or with a damaged one, everything is read again. `slws verify` never uses it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from slws_lab.tracking.audit_digests import UNSEALED, seal, sealed
from slws_lab.tracking.files import NotWritten, write_text
from slws_lab.tracking.folder import Attempt, RunFolder, Workspace
from slws_lab.tracking.record import Digest, Ends, Late, RunRecord, curves_of, record

SETTLED_NS = 2 * 10**9  # a file that is as young may change again without its time showing it
WORTH = 20  # the file is written anew where at least one record in so many is new
ONLY = "attempt-1"  # of several attempts nothing is kept
READERS = ("record.py", "records.py", "folder.py", "journal.py", "files.py", "compare.py")


def records(workspace: Workspace, run_ids: Sequence[str], study: str = "") -> list[RunRecord]:
    """Read the records of runs, in the order asked for; a run without a folder is pending.

    Args:
        workspace: Where their folders are.
        run_ids: Which.
        study: Name under which those that have ended are kept for the next reader; empty to keep nothing.
    """
    if not study:
        return [record(workspace.run(run_id)) for run_id in run_ids]
    shelf = _Shelf(workspace.cache / f"records-{study}.json")
    found = [shelf.record(workspace.run(run_id)) for run_id in run_ids]
    shelf.keep(run_ids)
    return found


class _Ends(Mapping[str, Ends]):
    """The ends of a run's curves as they are kept: four numbers a metric, one behind the other, in JSON.

    It is parsed when a number is asked for: of thousands of runs most commands show few.
    """

    def __init__(self, places: dict[str, int], numbers: str) -> None:
        self._places, self._text = places, numbers

    @cached_property
    def _numbers(self) -> list[float]:
        return list(json.loads(self._text))

    def __getitem__(self, name: str) -> Ends:
        place = 4 * self._places[name]
        step, *values = self._numbers[place : place + 4]
        return Ends(int(step), *values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _Shelf:
    """The kept records of one study: run id -> signature of its files, and what is known of it."""

    def __init__(self, path: Path) -> None:
        self._path, self._new = path, 0
        self._settled = time.time_ns() - SETTLED_NS
        kept = _read(path)
        self._metrics: list[list[str]] = kept["metrics"]
        self._provenances: list[dict[str, Any]] = kept["provenances"]
        self._runs: dict[str, list[Any]] = kept["runs"]
        self._places = [{name: place for place, name in enumerate(names)} for names in self._metrics]
        self._numbers = {str(one): i for kind in (self._metrics, self._provenances) for i, one in enumerate(kind)}

    def record(self, folder: RunFolder) -> RunRecord:
        kept, signature = self._runs.get(folder.run_id), _signature(folder)
        if kept is not None and kept[0] == signature:
            return self._told(folder, kept)
        self._runs.pop(folder.run_id, None)
        found = record(folder)
        ended = (found.attempts, found.attempt) == (1, 1) and "status" in found.result
        if ended and signature and max(map(int, signature.split()[:3])) < self._settled:
            self._runs[folder.run_id] = [signature, *self._telling(found)]
            self._new += 1
        return found

    def keep(self, run_ids: Sequence[str]) -> None:
        """Write the file anew, of these runs, if enough is new; where that cannot be done, the next reader reads again."""
        if self._new * WORTH >= max(len(self._runs), 1):
            whole = {
                "sha256": UNSEALED,  # first, since names of runs may hold anything
                "read_by": _reader(),
                "metrics": self._metrics,
                "provenances": self._provenances,
                "runs": {run_id: self._runs[run_id] for run_id in run_ids if run_id in self._runs},
            }
            with contextlib.suppress(NotWritten):
                write_text(self._path, seal(json.dumps(whole, separators=(",", ":"))))

    def _telling(self, found: RunRecord) -> list[Any]:
        digest = found.digest
        metrics = self._number(self._metrics, list(digest.ends))
        made_by = self._number(self._provenances, digest.provenance)
        numbers = [number for ends in digest.ends.values() for number in astuple(ends)]
        return [found.status, found.cause, made_by, digest.data_fingerprint, metrics, json.dumps(numbers)]

    def _told(self, folder: RunFolder, kept: list[Any]) -> RunRecord:
        _, status, cause, made_by, fingerprint, metrics, numbers = kept
        return RunRecord(
            folder.run_id, status, 1, 1, next_attempt=2, cause=cause,
            curves=Late(partial(_curves, folder)), result=Late(partial(_result, folder, status, cause)),
            kept=Digest(_Ends(self._places[metrics], numbers), self._provenances[made_by], fingerprint),
        )  # fmt: skip

    def _number(self, kind: list[Any], one: Any) -> int:
        """Return the number of what many runs have in common, kept once."""
        text = str(one)
        if text not in self._numbers:
            self._numbers[text] = len(kind)
            kind.append(one)
            self._places = [{name: place for place, name in enumerate(names)} for names in self._metrics]
        return self._numbers[text]


def _read(path: Path) -> dict[str, Any]:
    """Return what was kept, if it is there, whole, and by the same reader."""
    try:
        content = path.read_bytes()
        kept = json.loads(content)
        if kept["read_by"] == _reader() and sealed(content, kept["sha256"]):
            return dict(kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # what cannot be used is as good as absent
    return {"metrics": [], "provenances": [], "runs": {}}


def _curves(folder: RunFolder) -> Mapping[str, Mapping[int, float]]:
    return curves_of(Attempt(folder.path / ONLY))


def _result(folder: RunFolder, status: str, cause: str) -> Mapping[str, Any]:
    return {**(Attempt(folder.path / ONLY).result() or {}), "status": status, "cause": cause}


def _signature(folder: RunFolder) -> str:
    """Return what changes when a run gets another attempt, or its only one another journal or result; its times first.

    It is empty where the run has not ended.
    """
    place = os.fspath(folder.path)
    try:
        own, result = os.stat(place), os.stat(f"{place}/{ONLY}/result.json")  # noqa: PTH116  # a Path takes longer to make
    except OSError:
        return ""
    ended = f"{own.st_mtime_ns} {result.st_mtime_ns}"
    try:
        journal = os.stat(f"{place}/{ONLY}/journal.jsonl")  # noqa: PTH116
    except OSError:  # it failed before its first epoch was done
        return f"{ended} 0 {result.st_ino} {result.st_size}"
    return f"{ended} {journal.st_mtime_ns} {result.st_ino} {result.st_size} {journal.st_ino} {journal.st_size}"


@cache
def _reader() -> str:
    """Return a digest of the code that reads records: another one may read other things in the same files."""
    return hashlib.sha256(b"".join((Path(__file__).with_name(name)).read_bytes() for name in READERS)).hexdigest()
