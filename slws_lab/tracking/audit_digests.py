"""Digests of what a result stands on, and a seal: the digest that a file holds of itself. They find accidents, not forgers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

UNSEALED = "0" * 64  # stands where the seal goes while it is computed
OWN = "result.json"
LOG = "log.txt"


def sha256(path: Path) -> str:
    """Return the hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def log_digest(content: bytes, size: int | None = None) -> str:
    """Return digest and size of a log, up to a size: a process that lost the attempt may add a line when all is done.

    Args:
        content: What the log holds.
        size: How many bytes count; None for all.
    """
    counted = content[:size]
    return f"{hashlib.sha256(counted).hexdigest()} {len(counted)}"


def same_log(content: bytes, recorded: str) -> bool:
    """Say whether a log begins with what was recorded."""
    size = recorded.rpartition(" ")[2]
    return size.isdigit() and log_digest(content, int(size)) == recorded


def seal(text: str) -> str:
    """Put a text's digest into it, in place of `UNSEALED`, which it holds once."""
    return text.replace(UNSEALED, hashlib.sha256(text.encode()).hexdigest(), 1)


def sealed(content: bytes, own: str) -> bool:
    """Say whether a content is the one that was sealed with `own`."""
    return hashlib.sha256(content.replace(own.encode(), UNSEALED.encode(), 1)).hexdigest() == own


def stands_on(attempt: Path) -> dict[str, Path]:
    """Return the files that an attempt's result stands on: run, journal, starts, uncommitted changes, weights, the model's folder."""
    own = [attempt / name for name in ("journal.jsonl", "starts.jsonl", "diff.patch")]
    own += [*sorted((attempt / "checkpoint").glob("*.safetensors")), *sorted((attempt / "model").rglob("*"))]
    named = {path.relative_to(attempt).as_posix(): path for path in own}
    return {name: path for name, path in {"run.json": attempt.parent / "run.json", **named}.items() if path.is_file()}


def result_text(attempt: Path, result: dict[str, Any]) -> str:
    """Return what result.json is to hold: the result with the digests of what it stands on, of its log and of itself.

    Args:
        attempt: The attempt's folder, all of its other files written.
        result: What the attempt ended with; non-finite numbers are refused.
    """
    digests = {name: sha256(path) for name, path in stands_on(attempt).items()}
    if (log := attempt / LOG).is_file():
        digests[LOG] = log_digest(log.read_bytes())
    whole = {**result, "digests": {**digests, OWN: UNSEALED}}
    return seal(json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n")
