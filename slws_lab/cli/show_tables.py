"""How a report's table looks on the terminal: as wide as this is, and what does not fit is named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

from rich.text import Text

from slws_lab.cli.terminal import out
from slws_lab.reports import Cell, Column, TableView
from slws_lab.reports.formats.text import blocks, groups_at, header, lines, one_line, spans

VERDICTS = {"helps": "green", "hurts": "red", "equivalent": "cyan"}
GAP = 2  # between columns, where there is room
TEXT = 40  # characters beyond which a text is broken in any case
WORD = 12  # characters beyond which a word is broken where there is little room
COUNTS = ("n", "pairs")  # columns that are needed least
TELLING, DIFFERENCE, BEST, NEEDED = 2, 3, 4, 5  # how much a column is needed, from that of a text or an interval on
UNLIMITED = 10_000  # columns of what is no terminal


@dataclass(frozen=True)
class Fit:
    """How a table fits.

    Attributes:
        widths: Of the columns that are shown, by their index.
        same: Columns that say the same in every row, said in a line.
        left: Columns that are left out.
        gap: Between two columns.
    """

    widths: dict[int, int]
    same: tuple[int, ...]
    left: tuple[int, ...]
    gap: int


def draw(view: TableView, elsewhere: str, below: Sequence[str] = ()) -> None:
    """Print a table with its notes.

    Where the terminal is too narrow, a column that says the same in every row becomes a line below, then the least needed columns are left
    out and named, then courses of values; where not even what is needed fits, each row becomes a block.

    Args:
        view: The table.
        elsewhere: Where all columns are, for the line that names those that are left out.
        below: A text for each row, printed below it; empty for none.
    """
    out.print(Text(one_line(view.title), "italic"))
    if view.columns:
        width = out.width if out.is_terminal or "COLUMNS" in os.environ else UNLIMITED
        fitted = _fitted(view, width)
        for text in _rows(*fitted, _indented(below, width)) if fitted else _blocks(view, below):
            out.print(text, soft_wrap=fitted is not None)
        if fitted:
            _said(view, fitted[1], elsewhere)
    for note in view.notes:
        out.print(Text(one_line(note), "dim"))
    out.print()


def fit(view: TableView, width: int, gap: int = GAP, word: int = WORD) -> Fit:
    """Return how a table fits in a width.

    The first column stays. Of the others the least needed go first, and of these the ones on the right; columns of one name under several
    headers go together.

    Args:
        view: The table.
        width: In characters.
        gap: Between two columns.
        word: Characters beyond which a word may be broken.
    """
    least = {index: _least(view, index, word) for index in range(len(view.columns))}
    same, left = list[int](), list[int]()
    for index in [index for index in list(least)[1:] if _alike(view, index)]:
        if _total(_spanned(least, view, gap), gap) > width:
            same.append(index)
            del least[index]
    for index in sorted(list(least)[1:], key=lambda index: (_need(view, index), -index)):
        if index in least and _total(_spanned(least, view, gap), gap) > width:
            gone = [other for other in least if other == index or _together(view, index, other)]
            left += gone
            least = {other: least[other] for other in least if other not in gone}
    least = _spanned(least, view, gap)
    return Fit(_widened(least, view, width - _total(least, gap)), tuple(same), tuple(sorted(left)), gap)


def _fitted(view: TableView, width: int) -> tuple[TableView, Fit] | None:
    """Return a table and how it fits: as loose and with as many of its telling columns as it can be; None where it cannot."""
    bare = _without_courses(view)
    shapes = [
        (shown, gap, word) for word in (TEXT, WORD) for shown, gap in ((view, GAP), (view, 1), (bare, GAP), (bare, 1))
    ]
    tried = [(shown, fit(shown, width, gap, word)) for shown, gap, word in shapes]
    for kept, among in ((1, tried[:2]), (TELLING, tried), (DIFFERENCE, tried), (NEEDED, tried)):
        for shown, found in among:
            if all(_need(shown, index) < kept for index in found.left):
                return shown, found
    return None


def _together(view: TableView, index: int, other: int) -> bool:
    """Return whether two columns say the same of several things: they are shown or left out together."""
    one, two = view.columns[index], view.columns[other]
    return bool(one.over and two.over) and one.name == two.name and _need(view, other) < NEEDED


def _spanned(widths: dict[int, int], view: TableView, gap: int) -> dict[int, int]:
    """Return the widths with room for the longest word of each header that stands over columns."""
    found = dict(widths)
    for over, run in _overs(view, widths):
        needed = max((len(word) for word in over.split()), default=0)
        found[run[-1]] += max(min(needed, TEXT) - _total({index: widths[index] for index in run}, gap), 0)
    return found


def _widened(least: dict[int, int], view: TableView, room: int) -> dict[int, int]:
    """Share out what is left of the width: to the longest word of each column, the first one's before all, then to what lacks most."""
    whole, widths, free = {index: _whole(view, index) for index in least}, dict(least), max(room, 0)
    for index in least:
        more = min(max(_word(view, index) - widths[index], 0), free)
        widths[index], free = widths[index] + more, free - more
    for _ in range(min(free, sum(whole.values()))):
        lacking = max(widths, key=lambda index: whole[index] - widths[index])
        widths[lacking] += whole[lacking] > widths[lacking]
    return widths


def _overs(view: TableView, widths: dict[int, int]) -> list[tuple[str, list[int]]]:
    """Return each header that stands over columns, with those of them that are shown; an empty one over the others."""
    runs = groupby(widths, key=lambda index: one_line(view.columns[index].over))
    return [(over, list(run)) for over, run in runs]


def _said(view: TableView, found: Fit, elsewhere: str) -> None:
    """Say what the columns hold that are not shown, or where that is."""
    for index in found.same:
        said = one_line(view.rows[0][index].text) or "nothing"
        out.print(Text(f"{_title(view.columns[index])}: {said} in every row", "dim"))
    if found.left:
        names = ", ".join(_title(view.columns[index]) for index in found.left)
        count = f"({len(found.left)} of {len(view.columns)} columns)"
        out.print(Text(f"Not shown at this width: {names} {count}. {elsewhere}", "dim"))


def _without_courses(view: TableView) -> TableView:
    return replace(
        view, rows=tuple(tuple(replace(cell, line=() if cell.text else cell.line) for cell in row) for row in view.rows)
    )


def _blocks(view: TableView, below: Sequence[str] = ()) -> Iterator[Text]:
    """Yield each row as lines of a header and its value, those without a value left out."""
    for i, row in enumerate(view.rows):
        yield from (Text(one_line(title), "bold") for title in groups_at(view, i))
        for cell, column in zip(row, view.columns, strict=True):
            if cell.text or cell.line:
                (value,) = _cell(cell, UNLIMITED, 0, numeric=False)
                yield Text.assemble((f"{_title(column)}: ", "dim"), value)
        yield from (Text(one_line(text), "dim") for text in below[i : i + 1] if text)
        yield Text()


def _rows(view: TableView, found: Fit, below: Sequence[list[Text]] = ()) -> Iterator[Text]:
    """Yield the lines of a table: headers, titles of groups, and rows, each of as many lines as its longest cell."""
    over, widths = spans(view), found.widths
    marks = {index: _mark(view, index) for index in widths}
    yield from _over_heads(view, found)
    heads = [_broken(header(view.columns[index]), width, "bold") for index, width in widths.items()]
    tall = max(map(len, heads))
    yield from _side_by_side([[Text()] * (tall - len(head)) + head for head in heads], view, found)
    for i, row in enumerate(view.rows):
        yield from (Text(one_line(title), "bold") for title in groups_at(view, i))
        cells = [
            _cell(row[j], width, marks[j], view.columns[j].numeric) if over[i][j] else [] for j, width in widths.items()
        ]
        yield from _side_by_side(cells, view, found)
        yield from (line for lines in below[i : i + 1] for line in lines)


def _over_heads(view: TableView, found: Fit) -> Iterator[Text]:
    """Yield the lines of the headers that stand over columns, each with a rule as wide as these; nothing where there are none."""
    runs = [(over, _total({i: found.widths[i] for i in run}, found.gap)) for over, run in _overs(view, found.widths)]
    if not any(over for over, _ in runs):
        return
    heads = [_broken(over, width, "bold") for over, width in runs]
    tall = max(map(len, heads))
    heads = [[Text()] * (tall - len(head)) + head for head in heads]
    for i in range(tall + 1):
        line = Text()
        for (over, width), head in zip(runs, heads, strict=True):
            part = head[i] if i < tall else Text("─" * width if over else "", "dim")
            before = (width - part.cell_len) // 2
            line.append(" " * before).append_text(part).append(" " * (width - before - part.cell_len + found.gap))
        line.rstrip()
        yield line


def _indented(below: Sequence[str], width: int) -> list[list[Text]]:
    """Return the lines of each text that stands below a row."""
    return [[Text.assemble(" " * GAP, part) for part in _broken(one_line(text), width - GAP, "dim")] if text else []
            for text in below]  # fmt: skip


def _side_by_side(cells: list[list[Text]], view: TableView, found: Fit) -> Iterator[Text]:
    for parts in zip_longest(*cells, fillvalue=Text()):
        whole = Text()
        for part, (index, width) in zip(parts, found.widths.items(), strict=True):
            room = " " * max(width - part.cell_len, 0)
            whole.append(room if view.columns[index].numeric else "").append_text(part)
            whole.append(" " * found.gap if view.columns[index].numeric else room + " " * found.gap)
        whole.rstrip()
        yield whole


def _cell(cell: Cell, width: int, mark: int, numeric: bool) -> list[Text]:
    """Return the lines of a cell; numbers stand above each other whether a mark follows them or not."""
    text, course = one_line(cell.text), f"{blocks(cell.line)} " if cell.line else ""
    colour = next((colour for word, colour in VERDICTS.items() if text.startswith(word)), "")
    style = " ".join(filter(None, (colour, "dim" * cell.faint, "bold" * cell.bold, "underline" * cell.second)))
    room = width - len(course) - mark
    below = numeric and len(text) > room  # an interval stands below its number
    pieces = text.replace(" [", "\n[").split("\n") if below else lines(text, max(room, 1))
    drawn = [part for piece in pieces for part in _broken(piece, room, style)]
    drawn = [Text.assemble(course, drawn[0]), *drawn[1:]]
    filled = [Text.assemble(line, " " * mark) for line in drawn[:-1]] if numeric else drawn[:-1]
    return [*filled, Text.assemble(drawn[-1], one_line(cell.mark).ljust(mark if numeric else 0))]


def _broken(text: str, width: int, style: str) -> list[Text]:
    found = list(Text(text, style).wrap(out, max(width, 1), overflow="fold")) or [Text()]
    for line in found:
        line.rstrip()
    return found


def _title(column: Column) -> str:
    return f"{one_line(column.over)}: {header(column)}" if column.over else header(column)


def _alike(view: TableView, index: int) -> bool:
    return len(view.rows) > 1 and len({(row[index].text, row[index].mark, row[index].line) for row in view.rows}) == 1


def _need(view: TableView, index: int) -> int:
    """Return how much a column is needed: most what says which row it is, how good, and the verdict; then differences; counts least."""
    column, cells = view.columns[index], [row[index] for row in view.rows]
    names = next((i for i, found in enumerate(view.columns) if found.numeric and i), len(view.columns))
    metric = next((i for i, found in enumerate(view.columns) if found.better), 0)
    if index < names or index == metric or column.name == "verdict":
        return NEEDED
    if any(cell.bold or cell.second for cell in cells):
        return BEST
    if column.name.startswith("Δ"):
        return DIFFERENCE
    if column.better or not column.numeric or any(" [" in cell.text for cell in cells):
        return TELLING
    return column.name not in COUNTS


def _total(widths: dict[int, int], gap: int) -> int:
    return sum(widths.values()) + gap * max(len(widths) - 1, 0)


def _least(view: TableView, index: int, word: int) -> int:
    """Return the width that a column needs where a text is broken at every word, and a longer word than `word` wherever it must be.

    A word is broken behind the signs that invite it first, and a number's interval stands below it.
    """
    found = [1, *(min(len(part), word) for part in header(view.columns[index]).split())]
    for text in _texts(view, index):
        if view.columns[index].numeric:
            found += map(len, text.replace(" [", "\n[").split("\n"))
        else:
            found += (min(max(map(len, lines(part, WORD))), word) for part in text.split())
    return max(found) + _beside(view, index)


def _word(view: TableView, index: int) -> int:
    """Return the width in which no word of a column is broken."""
    texts = [] if view.columns[index].numeric else _texts(view, index)
    parts = [part for text in (header(view.columns[index]), *texts) for part in text.split()]
    return max((min(len(part), TEXT) for part in parts), default=0) + _beside(view, index)


def _whole(view: TableView, index: int) -> int:
    """Return the width in which a column's texts stand in one line, if they are no longer than `TEXT`."""
    heads = [len(part) for part in header(view.columns[index]).split()]
    return max([1, *heads, *(min(len(text), TEXT) for text in _texts(view, index))]) + _beside(view, index)


def _texts(view: TableView, index: int) -> Iterator[str]:
    return (one_line(row[index].text) for row in view.rows)


def _beside(view: TableView, index: int) -> int:
    """Return the width of what stands beside a column's texts: courses of values and marks."""
    drawn = max((len(row[index].line) + bool(row[index].line) for row in view.rows), default=0)
    return drawn + _mark(view, index)


def _mark(view: TableView, index: int) -> int:
    """Return the width of a column's longest mark."""
    return max((len(one_line(row[index].mark)) for row in view.rows), default=0)
