"""Tables as they were printed, read back into cells to say where two of them differ. It describes: whether they differ, the text tells."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

from slws_lab.reports.formats.latex_text import LATEX

SIGNS = {written: sign for sign, written in LATEX.items() if written.startswith("$")}
SIGN = re.compile("|".join(map(re.escape, sorted(SIGNS, key=len, reverse=True))))
SPANNING = re.compile(r"^\\multicolumn\{(\d+)\}\{[^}]*\}\{(.*)\}$")
# What a LaTeX row holds beside its texts: room, rules, bars, and the small tables in which texts are stacked.
INVISIBLE = re.compile(
    r"\\[hv]?phantom\{[^{}]*\}|\\(?:cmidrule|addlinespace)(?:\([a-z]*\))?(?:\{[^{}]*\})?|\\hspace\*?\{[^{}]*\}"
    r"|\\rule(?:\[[^\]]*\])?\{[^{}]*\}\{[^{}]*\}|\\begin\{tabular\}(?:\[.\])?\{(?:@\{[^{}]*\}|[lrc])*\}|\\end\{tabular\}"
    r"|\\multirow\{[^{}]*\}\{[^{}]*\}|\\kern[\d.]+pt"
)
COMMAND = re.compile(r"\\(?:textsuperscript|[a-zA-Z]+)\*?(?:\[[^\]]*\])?|(?<!\\)[{}$]")
Times = Counter[tuple[str | None, ...]]
LINE_SHOWN = 160  # characters of a line that are shown where no cell tells the difference


@dataclass(frozen=True)
class Difference:
    """One place in which a printed table is not what it would be now.

    Attributes:
        row: Which row, by its number and its first cell; a line's number where no cell tells it.
        column: The column's header; empty where no cell tells it.
        found: What stands there.
        expected: What would stand there.
    """

    row: str
    column: str
    found: str
    expected: str


@dataclass
class Grid:
    """The rows of one printed table; each cell with the column in which it begins."""

    header: dict[int, str] = field(default_factory=dict)
    rows: list[dict[int, str]] = field(default_factory=list)

    @property
    def shape(self) -> list[list[int]]:
        return [list(row) for row in (self.header, *self.rows)]


def same(found: str, expected: str, kind: str) -> bool:
    """Say whether two texts are alike, line ends and spaces at the ends of lines aside; of LaTeX all that is not printed.

    Args:
        found: What stands there.
        expected: What would stand there.
        kind: How it is written, see `differences`.
    """
    if kind == "tex":
        return " ".join(_lines(found, kind)).split() == " ".join(_lines(expected, kind)).split()
    return _lines(found, kind) == _lines(expected, kind)


def differences(found: str, expected: str, kind: str) -> list[Difference]:
    """Return where a printed table is not what it would be now, cell by cell, else its first line that differs; empty if nowhere.

    Args:
        found: What stands there.
        expected: What would stand there.
        kind: How it is written: tex, md, html or csv.
    """
    if same(found, expected, kind):
        return []
    grids = [list(GRIDS[kind](text)) for text in (found, expected)] if kind in GRIDS else [[], []]
    alike = [grid.shape for grid in grids[0]] == [grid.shape for grid in grids[1]]
    told = [d for pair in zip(*grids, strict=True) for d in _of_grid(*pair)] if alike else []
    return told or [_of_lines(found, expected, kind)]


def _of_grid(found: Grid, expected: Grid) -> Iterator[Difference]:
    names = ["", *_names(expected.rows)]
    for i, (one, other) in enumerate(zip((found.header, *found.rows), (expected.header, *expected.rows), strict=True)):
        row = f"row {i} ({names[i]})" if names[i] else f"row {i}" if i else "header"
        for place, text in other.items():
            if one[place] != text:
                yield Difference(row, _header(expected, place), one[place], text)


def _names(rows: Sequence[dict[int, str]]) -> list[str]:
    """Name each row by its first text; where other rows have that too, by the cells that tell it from them, the leftmost of such."""
    firsts = [next((place for place, text in row.items() if text), 0) for row in rows]
    whole: list[dict[int, str]] = []
    for row, first in zip(
        rows, firsts, strict=True
    ):  # before a row's first text, cells of the row above are merged into it
        upper = {place: text for place, text in (whole[-1] if whole else {}).items() if place < first}
        whole.append(upper | {place: text for place, text in row.items() if place >= first})

    @cache
    def counted(places: tuple[int, ...]) -> Times:
        return Counter(tuple(map(row.get, places)) for row in whole)

    return [_name(row, first, counted) for row, first in zip(whole, firsts, strict=True)]


def _name(row: dict[int, str], first: int, counted: Callable[[tuple[int, ...]], Times]) -> str:
    def times(places: tuple[int, ...]) -> int:
        return counted(places)[tuple(map(row.get, places))]

    named: tuple[int, ...] = (first,)
    for place in row if times(named) > 1 else ():
        more = tuple(sorted({*named, place}))
        if times(more) < times(named):
            named = more
    return ", ".join(row[place] for place in named if row.get(place))


def _header(grid: Grid, place: int) -> str:
    """Return the header over a place: one may begin before it, where a column is printed as several."""
    return next((grid.header[start] for start in sorted(grid.header, reverse=True) if start <= place), "")


def _of_lines(found: str, expected: str, kind: str) -> Difference:
    one, other = _lines(found, kind), _lines(expected, kind)
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    texts = [lines[at] if at < len(lines) else "" for lines in (one, other)]
    start = max(next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0) - LINE_SHOWN // 2, 0)
    return Difference(f"line {at + 1}", "", *(text[start : start + LINE_SHOWN].strip() for text in texts))


def _lines(text: str, kind: str = "") -> list[str]:
    """Return a text's lines; of LaTeX those that say something, without their indentation and with single spaces."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").rstrip().split("\n")]
    if kind != "tex":
        return lines
    return [" ".join(line.split()) for line in lines if line and not line.lstrip().startswith("%")]


def _placed(cells: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Return cells by the column in which they begin, given how many columns each takes."""
    found, place = {}, 0
    for span, text in cells:
        found[place] = text
        place += span
    return found


def _markdown(text: str) -> Iterator[Grid]:
    grid: Grid | None = None
    for line in _lines(text):
        if not line.startswith("|"):
            grid = None
            continue
        row = _placed((1, part.strip()) for part in re.split(r"(?<!\\)\|", line)[1:-1])
        if grid is None:
            grid = Grid(row)
            yield grid
        elif not all(re.fullmatch(r":?-+:?", part) for part in row.values()):
            grid.rows.append(row)


def _separated(text: str) -> Iterator[Grid]:
    rows = [_placed((1, cell) for cell in row) for row in csv.reader(io.StringIO(text))]
    if rows:
        yield Grid(rows[0], rows[1:])


def _latex(text: str) -> Iterator[Grid]:
    grid, above = Grid(), True
    for line in _lines(text, "tex"):
        if r"\toprule" in line:
            grid, above = Grid(), True
        elif r"\midrule" in line:
            above = False
        elif r"\bottomrule" in line:
            yield grid
        elif line.rstrip().endswith(r"\\"):
            parts = re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\"))
            row = _placed(_spanned(part.strip()) for part in parts)
            if above:
                grid.header |= {place: cell for place, cell in row.items() if cell}
            else:
                grid.rows.append(row)


def _spanned(part: str) -> tuple[int, str]:
    """Return how many columns a part of a LaTeX row takes, and its text without the commands."""
    found = SPANNING.match(part)
    span, text = (int(found[1]), found[2]) if found else (1, part)
    text = SIGN.sub(lambda written: SIGNS[written[0]], INVISIBLE.sub("", text))
    text = COMMAND.sub("", text).replace("~", " ").replace("--", "–")
    return span, re.sub(r"\s+", " ", text.replace("\\", "")).strip()


class _Tables(HTMLParser):
    """Reads the tables of an HTML text; what stands hidden counts."""

    def __init__(self) -> None:
        super().__init__()
        self.grids: list[Grid] = []
        self._row: list[tuple[int, int, str]] = []  # how many columns and rows each cell takes, and its text
        self._cell: list[str] | None = None
        self._size, self._head = (1, 1), False
        self._taken: set[int] = set()  # the columns that cells of the row above reach into

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self.grids.append(Grid())
        elif tag in ("thead", "tbody"):
            self._head, self._taken = tag == "thead", set()
        elif tag == "tr":
            self._row = []
        elif tag in ("td", "th"):
            self._cell, self._size = [], (_count(given.get("colspan")), _count(given.get("rowspan")))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self._row.append((*self._size, " ".join("".join(self._cell).split())))
            self._cell = None
        elif tag == "tr" and self.grids:
            row = self._placed_row()
            if self._head:
                self.grids[-1].header |= {place: cell for place, cell in row.items() if cell}
            else:
                self.grids[-1].rows.append(row)

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def _placed_row(self) -> dict[int, str]:
        found, place, reached = dict[int, str](), 0, set[int]()
        for columns, rows, text in self._row:
            while place in self._taken:
                place += 1
            found[place] = text
            reached |= set(range(place, place + columns)) if rows > 1 else set()
            place += columns
        self._taken = reached
        return found


def _count(given: str | None) -> int:
    return int(given) if given and given.isdigit() else 1


def _html(text: str) -> list[Grid]:
    reader = _Tables()
    reader.feed(text)
    return reader.grids


GRIDS = {"tex": _latex, "md": _markdown, "html": _html, "csv": _separated}
