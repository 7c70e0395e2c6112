"""Causes of failures: which are of one kind, whatever numbers, addresses and paths they name, and what can help."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of failure.

    Attributes:
        name: What `--retry` calls it.
        signs: What its causes say, as a regular expression.
        again: Whether one command tries such a run once more, with the machine to itself.
        todo: What its reader can do.
    """

    name: str
    signs: str
    again: bool
    todo: str


MEMORY = Kind(
    "memory",
    r"out of memory|OutOfMemoryError|MemoryError|[Cc]an(no|')t allocate memory|bad_alloc|ALLOC_FAILED",
    True,
    "it was tried once more alone: use a smaller batch, `train.accumulate`, `resources.grad_checkpointing`, or a larger device",
)
KINDS = (
    Kind("lost", r"the process died|was killed|signal \d+", False, "see the end of its log, and the kernel's, for who killed it"),
    MEMORY,
    Kind("disk", r"No space left|[Qq]uota exceeded|Read-only file system", False, "make room, then retry"),
    Kind("damaged", r"is damaged|the journal holds \d+ of", False, "its files were changed or lost: retrying makes it anew"),
    Kind("error", r"", False, "mend what the log says, then retry"),
)  # fmt: skip


def kind_of(cause: str) -> Kind:
    """Return the kind of a failure by its cause."""
    return next(kind for kind in KINDS if re.search(kind.signs, cause))


def normalised(cause: str) -> str:
    """Return a cause without what differs between runs that failed alike: numbers, addresses and paths."""
    text = re.sub(r"(?<![\w.])(/[^\s:,;'\"]+)", "PATH", cause)
    text = re.sub(r"0x[0-9a-fA-F]+|\b\d[\d.,:]*(e[+-]?\d+)?", "N", text)
    return " ".join(text.split())
