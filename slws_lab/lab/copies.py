"""Copies of a report's files elsewhere: which of the files that are given are which tables of the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from slws_lab.errors import UserError
from slws_lab.reports.manifest import NAME

ENVIRONMENT = re.compile(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", re.DOTALL)
DRAWN = (".png", ".svg", ".pdf")
BY_LATEX = (
    ".aux",
    ".log",
    ".out",
    ".bbl",
    ".blg",
    ".fls",
    ".fdb_latexmk",
    ".synctex.gz",
    ".toc",
    ".lof",
    ".lot",
    ".pdf",
)
LABEL = re.compile(r"\\label\{(slws:[^}]*)\}")
FIGURE = re.compile(r'<figure[^>]*\bid="(table-[^"]*)".*?</figure>', re.DOTALL)
COMMENT = re.compile(r"^[ \t]*%.*\n?", re.MULTILINE)  # a line of LaTeX that is not printed
PAGE = re.compile(r'<p class="eyebrow">Study <code>(.*?)</code>')  # of which study a report.html is


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
    """Return what among files elsewhere belongs to a report, and the files that do not, but for what LaTeX leaves in a folder.

    A LaTeX table belongs to it by its label, an HTML table by its id. Any other file by its name, since it was given itself; within a
    folder only if something shows it, since the files of all studies are called alike: see `_whose`.

    Args:
        given: Files and folders.
        now: The report's files as they would be now.
        study: The report's study, for the message.

    Raises:
        UserError: A path is not there, or nothing belongs to the report.
    """
    paths = {path: one for one in given for path in _files(one)}
    known = {name: content for name, content in now.items() if name != NAME}
    report = _Report(study, known, _all_parts(known))
    found = {path: list(_copies(path, one, report)) for path, one in paths.items()}
    if given and not any(found.values()):
        names = ", ".join(sorted({Path(name).name for name in known if name.endswith((".tex", ".csv"))}))
        raise UserError(f"none of the {len(paths)} files given is of the report of {study}", where=", ".join(map(str, given)),
                        allowed=f"files with the names of its own ({names}, ...), "
                        f"or LaTeX and HTML that holds its tables (\\label{{slws:{study}}}, ...)")  # fmt: skip
    left = [path for path, own in found.items() if not own and (path == paths[path] or not _is_by_latex(path, known))]
    return [copy for own in found.values() for copy in own], left


def _is_by_latex(path: Path, known: Mapping[str, bytes]) -> bool:
    """Say whether a file is one that LaTeX makes, and not called like one of a report's."""
    return path.name.endswith(BY_LATEX) and path.name not in {Path(name).name for name in known}


def _files(given: Path) -> Iterator[Path]:
    if not given.exists():
        raise UserError("there is no such file or folder", where=str(given))
    if given.is_file():
        yield given
        return
    within = (path for path in sorted(given.rglob("*")) if path.is_file())
    yield from (path for path in within if not any(part.startswith(".") for part in path.relative_to(given).parts))


@dataclass(frozen=True)
class _Report:
    """A report as it would be now: its study, its files, and label or id -> file and text of every table."""

    study: str
    known: Mapping[str, bytes]
    parts: Mapping[str, tuple[str, str]]


def _copies(path: Path, given: Path, report: _Report) -> Iterator[Copy]:
    """Yield what a file holds of a report: the whole of one of its files, or tables among other text."""
    known, names = report.known, [name for name in report.known if Path(name).name == path.name]
    if not names and path.suffix not in (".tex", ".html"):
        return
    content = path.read_bytes()
    text = content.decode(errors="replace")
    if page := path.suffix == ".html" and PAGE.search(text):
        names = [name for name in known if Path(name).name == "report.html"] if page[1] == escape(report.study) else []
    ours = _told(path, text, report)
    if names and ours is None:
        ours = _whose(path, content, [known[name] for name in names], given, report)
    if names and (ours or (ours is None and path == given)):
        name = max(names, key=lambda name: _likeness(path, content, name, known[name]))
        yield Copy(path, name, content, known[name])
    elif not names and not page:
        for label, part in _parts(text, path.suffix):
            if label in report.parts:
                name, expected = report.parts[label]
                yield Copy(path, name, part.encode(), expected.encode(), label)


def _told(path: Path, text: str, report: _Report) -> bool | None:
    """Say whether a text is of a report by what it holds: the study of a page, labels, ids; None where it holds none."""
    if path.suffix not in (".tex", ".html"):
        return None
    if page := path.suffix == ".html" and PAGE.search(text):
        return page[1] == escape(report.study)
    own = [label for label, _ in _parts(text, path.suffix)]
    return any(label in report.parts for label in own) if own else None


def _whose(path: Path, content: bytes, expected: Sequence[bytes], given: Path, report: _Report) -> bool | None:
    """Say whether a file without labels is of a report; None where nothing shows it.

    It is if it is the same, if its first line or a folder below the given one names the study, or if the LaTeX or HTML of its name
    beside it is; of figures the data beside them count alike.
    """
    if content in expected:
        return True
    for sibling in (path.with_suffix(suffix) for suffix in (".tex", ".html") if suffix != path.suffix):
        if sibling.is_file():
            told = _told(sibling, sibling.read_text(encoding="utf-8", errors="replace"), report)
            if told is not None:
                return told
    data = path.with_suffix(".csv")
    if path.suffix in DRAWN and data.is_file():
        found = data.read_bytes()
        if any(found == text for name, text in report.known.items() if Path(name).name == data.name):
            return True
    first = content.partition(b"\n")[0].decode(errors="replace")
    within = path.absolute().relative_to(given.absolute().parent).parent.parts
    named = (
        re.search(rf"(?<![\w-]){re.escape(report.study)}(?![\w-])", first) if path.suffix in (".md", ".csv") else None
    )
    return bool(named) or report.study in within or None


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
    text = COMMENT.sub("", text)
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
