"""Copies of a report's files elsewhere: which of the files that are given are which tables of the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.reports.manifest import NAME

ENVIRONMENT = re.compile(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", re.DOTALL)
LABEL = re.compile(r"\\label\{(slws:[^}]*)\}")
FIGURE = re.compile(r'<figure[^>]*\bid="(table-[^"]*)".*?</figure>', re.DOTALL)


@dataclass(frozen=True)
class Copy:
    """A file, or a table within it, beside what it would be now.

    Attributes:
        path: The file.
        name: The file of the report that it is a copy of, by its path within the report's folder.
        found: What it holds.
        expected: What it would hold now.
        part: Label or id of the table, where only that is compared; empty for the whole file.
    """

    path: Path
    name: str
    found: bytes
    expected: bytes
    part: str = ""


def copies(given: Sequence[Path], now: Mapping[str, bytes], study: str) -> tuple[list[Copy], list[Path]]:
    """Return what among files elsewhere belongs to a report, and the files that do not.

    A file belongs to it by its name, a LaTeX table also by its label, an HTML table by its id.

    Args:
        given: Files and folders.
        now: The report's files as they would be now.
        study: The report's study, for the message.

    Raises:
        UserError: A path is not there, or nothing belongs to the report.
    """
    paths = [path for one in given for path in _files(one)]
    known = {name: content for name, content in now.items() if name != NAME}
    parts = _all_parts(known)
    found = {path: list(_copies(path, known, parts)) for path in paths}
    if given and not any(found.values()):
        names = ", ".join(sorted({Path(name).name for name in known if name.endswith((".tex", ".csv"))}))
        raise UserError(f"none of the {len(paths)} files given is of the report of {study}", where=", ".join(map(str, given)),
                        allowed=f"files with the names of its own ({names}, ...), "
                        f"or LaTeX and HTML that holds its tables (\\label{{slws:{study}}}, ...)")  # fmt: skip
    return [copy for own in found.values() for copy in own], [path for path, own in found.items() if not own]


def _files(given: Path) -> Iterator[Path]:
    if not given.exists():
        raise UserError("there is no such file or folder", where=str(given))
    if given.is_file():
        yield given
        return
    within = (path for path in sorted(given.rglob("*")) if path.is_file())
    yield from (path for path in within if not any(part.startswith(".") for part in path.relative_to(given).parts))


def _copies(path: Path, known: Mapping[str, bytes], parts: Mapping[str, tuple[str, str]]) -> Iterator[Copy]:
    """Yield what a file holds of a report: the whole of one of its files, or tables among other text."""
    names = [name for name in known if Path(name).name == path.name]
    if not names and path.suffix not in (".tex", ".html"):
        return
    content = path.read_bytes()
    own = _parts(content.decode(errors="replace"), path.suffix)
    ours = [(label, text) for label, text in own if label in parts]
    foreign = path.suffix == ".tex" and own and not ours  # of another study, by its labels
    if names and not foreign:
        name = max(names, key=lambda name: _likeness(path, content, name, known[name]))
        yield Copy(path, name, content, known[name])
        return
    for label, text in ours:
        name, expected = parts[label]
        yield Copy(path, name, text.encode(), expected.encode(), label)


def _likeness(path: Path, content: bytes, name: str, expected: bytes) -> tuple[int, int]:
    """Say how well a file fits one of the report's: how far the ends of their paths are the same, and how many words they share."""
    pairs = zip(reversed(path.absolute().parts), reversed(Path(name).parts), strict=False)
    tail = next((i for i, (one, other) in enumerate(pairs) if one != other), len(Path(name).parts))
    return tail, len({*content.split()} & {*expected.split()})


def _all_parts(known: Mapping[str, bytes]) -> dict[str, tuple[str, str]]:
    """Return label or id -> file and text of every table of a report."""
    found: dict[str, tuple[str, str]] = {}
    for name, content in known.items():
        if name.endswith((".tex", ".html")) and Path(name).stem != "report":
            for label, text in _parts(content.decode(), Path(name).suffix):
                found.setdefault(label, (name, text))
    return found


def _parts(text: str, suffix: str) -> list[tuple[str, str]]:
    """Return label or id and text of each table that stands within a text; what goes on without a label belongs to the one before."""
    if suffix == ".html":
        return [(found[1], found[0]) for found in FIGURE.finditer(text)]
    found: list[tuple[str, str]] = []
    goes_on = False
    for table in ENVIRONMENT.findall(text):
        label = LABEL.search(table)
        if label is not None:
            found.append((label[1], table))
        elif goes_on and r"\label" not in table:
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{table}")
        goes_on = label is not None or (goes_on and r"\label" not in table)
    return found
