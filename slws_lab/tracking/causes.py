"""Causes of failures: how they are told, with their place in the code; which are of one kind, and what can help."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from slws_lab.errors import SlwsError
from slws_lab.tracking.provenance import HOME

INSTALLED = ("site-packages", "dist-packages")
CAUSE = re.compile(r"(rank \d+: )?[A-Z][\w.]*( in (?P<place>[A-Za-z_][\w.]*))?(: (?P<said>.*))?", re.DOTALL)
NAN = re.compile(r"\S+ became (?P<value>\S+) in epoch \d+ at step (?P<step>\d+)")


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
    "a study tries it once more alone: use a smaller batch, `train.accumulate`, `resources.grad_checkpointing`, or a larger device",
)
KINDS = (
    Kind("lost", r"^the process died|^(rank \d+|the command) was killed", False,
         "see the end of its log, and the kernel's, for who killed it"),
    MEMORY,
    Kind("disk", r"No space left|[Qq]uota exceeded|Read-only file system", False, "make room, then retry"),
    Kind("damaged", r"^result\.json is damaged|^the journal holds \d+ of", False,
         "its files were changed or lost: retrying makes it anew"),
    Kind("folder", r"^its folder cannot be written", False, "let this user write there; the same command then runs it"),
    Kind("error", r"", False, "mend what the log says, then retry"),
)  # fmt: skip


def kind_of(cause: str) -> Kind:
    """Return the kind of a failure by its cause."""
    return next(kind for kind in KINDS if re.search(kind.signs, cause))


def cause_of(error: BaseException, root: Path) -> str:
    """Return what a record says of an error: its type, its place and its first line; of one with advice, all lines of it in one.

    Args:
        error: As it was caught.
        root: The project's folder.
    """
    lines = str(error).strip().splitlines()
    if isinstance(error, SlwsError):  # its lines say what to do, and its own words where
        return "; ".join(" ".join(line.split()) for line in lines)
    where = place(error, root)
    return f"{type(error).__name__}{' in ' * bool(where)}{where}: {lines[0] if lines else ''}".removesuffix(": ")


def place(error: BaseException, root: Path) -> str:
    """Return where in our code or the project's own an error was raised, innermost first; empty where neither was at work.

    A module of ours goes by its last name (`mixer`), a file of the user's by its name and the function (`my_models.forward`). The worker,
    which every run has around it, tells nothing.

    Args:
        error: As it was caught.
        root: The project's folder.
    """
    home, project = HOME.resolve(), root.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(home):
            if path.relative_to(home).parts[0].removesuffix(".py") == "worker":
                continue
            return path.stem if path.stem != "__init__" else path.parent.name
        if path.is_relative_to(project) and path.is_file() and not {*INSTALLED} & {*path.parts}:
            return f"{path.stem}.{frame.name}".replace("<", "").replace(">", "")
    return ""


def place_in(cause: str) -> str:
    """Return the place that a cause names; empty where it names none."""
    found = CAUSE.fullmatch(cause)
    return (found["place"] or "") if found else ""


def brief(cause: str) -> str:
    """Return a cause as a screen full of them says it: what a number tells of one run alone is left out.

    `OutOfMemoryError in mixer: CUDA out of memory. Tried to ...` is `CUDA out of memory in mixer`.
    """
    found = CAUSE.fullmatch(cause)
    if found and kind_of(cause) == MEMORY:
        said = re.split(r"[.:](\s|$)", found["said"] or "")[0]
        where = found["place"] and f" in {found['place']}"
        return f"{said if re.search(MEMORY.signs, said) else 'out of memory'}{where or ''}"
    if nan := NAN.fullmatch(cause):
        return f"{nan['value'].replace('nan', 'NaN')} at step {nan['step']}"
    return cause


def nan_step(cause: str) -> int | None:
    """Return the step at which a run diverged; None where its cause names none."""
    found = NAN.fullmatch(cause)
    return int(found["step"]) if found else None


def normalised(cause: str) -> str:
    """Return a cause without what differs between runs that failed alike: numbers, addresses and paths."""
    text = re.sub(r"(?<![\w.])(/[^\s:,;'\"]+)", "PATH", cause)
    text = re.sub(r"0x[0-9a-fA-F]+|\b\d[\d.,:]*(e[+-]?\d+)?", "N", text)
    return " ".join(text.split())
