"""Auditing a run folder: its files against the digests in its results, its journals against its results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.spec import RunSpec, canonical, run_id
from slws_lab.tracking import journal
from slws_lab.tracking.audit_digests import OWN, sealed, sha256, stands_on
from slws_lab.tracking.files import Damaged, read_json
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
        faults: What is wrong; none of them says yet how to mend it.
        ended: How many attempts have a result.
        unrecorded: How many of these hold no digests, since an older version wrote them.
    """

    faults: tuple[Fault, ...]
    ended: int
    unrecorded: int


def audit(folder: RunFolder) -> Audit:
    """Audit a run folder: run.json, chosen.json, and each attempt that has ended."""
    faults = [*_run(folder), *_chosen(folder)]
    ended = unrecorded = 0
    for attempt in folder.attempts():
        if not (attempt.path / OWN).exists():
            continue
        ended += 1
        result = attempt.result() or {}
        unrecorded += "digests" not in result and "status" in result
        faults += _attempt(attempt, result)
    return Audit(tuple(dict.fromkeys(faults)), ended, unrecorded)


def _run(folder: RunFolder) -> list[Fault]:
    path = folder.path / "run.json"
    try:
        raw = read_json(path)
        run = RunSpec.model_validate(raw["spec"])
    except (Damaged, ValueError, TypeError, KeyError):
        return [Fault(path, "it is not there, or holds no run")]
    names = {run_id(run), raw.get("run_id"), folder.run_id}
    if len(names) > 1 or raw.get("canonical") != canonical(run):
        return [Fault(path, "it holds another run than the one that its folder is named after")]
    return []


def _chosen(folder: RunFolder) -> list[Fault]:
    path = folder.path / "chosen.json"
    try:
        number = (read_json(path) or {}).get("attempt", 0)
    except (Damaged, AttributeError):
        return [Fault(path, "it names no attempt")]
    there = {attempt.number for attempt in folder.attempts()}
    return [Fault(path, f"it names attempt {number}, which is not there")] if number and number not in there else []


def _attempt(attempt: Attempt, result: dict[str, Any]) -> list[Fault]:
    """Return what is wrong with an attempt that has ended. A result that was changed proves nothing about other files."""
    path = attempt.path / OWN
    content = path.read_bytes()
    try:
        whole = isinstance(json.loads(content), dict) and isinstance(result.get("digests", {}), dict)
    except ValueError:
        whole = False
    if not whole or result.get("cause") == "result.json is damaged":
        return [Fault(path, "it is damaged")]
    digests = result.get("digests")
    if digests is not None and not sealed(content, str(digests.get(OWN))):
        return [Fault(path, "it was changed after it was written")]
    return _digested(attempt, digests or {}) or _against_journal(attempt, result)


def _digested(attempt: Attempt, digests: dict[str, str]) -> list[Fault]:
    """Compare the files with their digests. Weights may be gone: cleaning removes them."""
    there, found = stands_on(attempt.path), []
    for name, digest in digests.items():
        if name == OWN:
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
