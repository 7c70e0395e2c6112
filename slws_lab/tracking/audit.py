"""Auditing a run folder: its files against the digests in its results, its journals against its results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.spec import canonical, parse_run, run_id
from slws_lab.tracking import journal
from slws_lab.tracking.audit_digests import LOG, OWN, same_log, sealed, sha256, stands_on
from slws_lab.tracking.files import Damaged, first_damaged, is_sound, json_text, read_json
from slws_lab.tracking.folder import FINAL, Attempt, RunFolder
from slws_lab.tracking.measurements import MEASUREMENTS


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written.

    Attributes:
        file: The file that is wrong, or the address of the store.
        what: What is wrong with it.
        mend: What to do: a command, or a sentence.
    """

    file: Path | str
    what: str
    mend: str = ""


@dataclass(frozen=True)
class Audit:
    """What an audit of one run folder found.

    Attributes:
        faults: What is wrong; few of them say yet how to mend it.
        ended: How many attempts have a result.
        unrecorded: How many of these hold no digests, since an older version wrote them.
    """

    faults: tuple[Fault, ...]
    ended: int
    unrecorded: int


def audit(folder: RunFolder, *, numbers_only: bool = False) -> Audit:
    """Audit a run folder: run.json, chosen.json, and each attempt; of one that has not ended, its lines so far.

    Args:
        folder: The folder.
        numbers_only: Whether to leave out weights and log, which take long to read and on which no number stands.
    """
    faults = [*_run(folder), *_chosen(folder)]
    ended = unrecorded = 0
    for attempt in folder.attempts():
        found = attempt.result()
        if found is None and not (attempt.path / OWN).exists():
            faults += _lines(attempt)
            continue
        ended, result = ended + 1, found or {}
        unrecorded += "digests" not in result and "status" in result
        faults += _attempt(attempt, result, numbers_only)
    return Audit(tuple(dict.fromkeys(faults)), ended, unrecorded)


def _run(folder: RunFolder) -> list[Fault]:
    path = folder.path / "run.json"
    try:
        raw = read_json(path)
        run, text = parse_run(raw["spec"]), json_text(raw)
    except (Damaged, ValueError, TypeError, KeyError):
        return [Fault(path, "it is not there, or holds no run")]
    names = {run_id(run), raw.get("run_id"), folder.run_id}
    if len(names) > 1 or raw.get("canonical") != canonical(run):
        return [Fault(path, "it holds another run than the one that its folder is named after")]
    if path.read_text(encoding="utf-8") != text:  # a digit too far behind the point to change its number
        return [Fault(path, "it was changed after it was written")]
    return []


def _chosen(folder: RunFolder) -> list[Fault]:
    path = folder.path / "chosen.json"
    try:
        chosen = read_json(path) or {}
        number, own = chosen.get("attempt", 0), chosen.get("digest")
    except (Damaged, AttributeError):
        return [Fault(path, "it names no attempt")]
    if own is not None and not sealed(path.read_bytes(), str(own)):
        return [Fault(path, f"it was changed after it was written, and names attempt {number} now")]
    there = {attempt.number for attempt in folder.attempts()}
    return [Fault(path, f"it names attempt {number}, which is not there")] if number and number not in there else []


def _lines(attempt: Attempt) -> list[Fault]:
    """Look at the lines of an attempt that has not ended. A torn last line is no fault: its writer was killed, or is writing it."""
    found = {
        attempt.journal: journal.damaged_line(attempt.journal),
        attempt.starts: first_damaged(attempt.starts, is_sound),
    }
    return [Fault(path, f"line {number} is damaged") for path, number in found.items() if number is not None]


def _attempt(attempt: Attempt, result: dict[str, Any], numbers_only: bool) -> list[Fault]:
    """Return what is wrong with an attempt that has ended. A result that was changed proves nothing about other files."""
    path = attempt.path / OWN
    try:
        content = path.read_bytes()
    except OSError as error:
        return [Fault(attempt.path, f"it cannot be read: {error.strerror}", "make it a folder that you may read")]
    try:
        whole = isinstance(json.loads(content), dict) and isinstance(result.get("digests", {}), dict)
    except ValueError:
        whole = False
    if not whole or result.get("cause") == "result.json is damaged":
        return [Fault(path, "it is damaged")]
    digests = result.get("digests")
    if digests is not None and not sealed(content, str(digests.get(OWN))):
        return [Fault(path, "it was changed after it was written")]
    counted = {name: digest for name, digest in (digests or {}).items() if not (numbers_only and _is_bulk(name))}
    return _digested(attempt, counted) or _against_journal(attempt, result)


def _is_bulk(name: str) -> bool:
    return name == LOG or name.startswith(("checkpoint/", "model/"))


def _digested(attempt: Attempt, digests: dict[str, str]) -> list[Fault]:
    """Compare the files with their digests. Weights may be gone, which cleaning removes, and the log, which nothing stands on."""
    there, found = stands_on(attempt.path), []
    for name, digest in digests.items():
        if name == OWN:
            continue
        if name == LOG:
            whole = not attempt.log.exists() or same_log(attempt.log.read_bytes(), digest)
            found += [] if whole else [Fault(attempt.log, "what it held when the run ended was changed")]
            continue
        if name not in there:
            found += [] if name.startswith("checkpoint/") else [Fault(attempt.path / name, "it is gone")]
        elif sha256(there[name]) != digest:
            found.append(Fault(there[name], "it was changed after the run ended"))
    return found


def _against_journal(attempt: Attempt, result: dict[str, Any]) -> list[Fault]:
    """Compare a result with the journal: all epochs there, every line whole, the last metrics the same."""
    path = attempt.journal
    entries = list(journal.read(path))
    size = path.stat().st_size if path.exists() else 0
    if result["status"] not in FINAL:
        return []
    if size > (entries[-1].end if entries else 0):
        return [Fault(path, f"line {len(entries) + 1} is no entry")]
    if lacks := attempt.lacks():
        return [Fault(path, lacks)]
    curves = journal.points(iter(entries))
    for name, value in result.get("metrics", {}).items():
        curve = curves.get(name, {})
        last = curve[max(curve)][0] if curve else None
        if last != value and name not in MEASUREMENTS:
            return [Fault(path, f"its last {name} is {last}, that of result.json {value}")]
    return []
