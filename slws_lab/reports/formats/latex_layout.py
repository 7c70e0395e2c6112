"""How a table is laid out in LaTeX: in one column or over both, how small, where texts are broken, so that it fits the page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from slws_lab.reports.formats.latex_cells import cell_ems, course_points
from slws_lab.reports.formats.latex_widths import COLUMN, DRAFT, GAPS, PAGE, SIZES, ems
from slws_lab.reports.formats.text import lines
from slws_lab.reports.view import Column, TableView


@dataclass(frozen=True)
class Layout:
    """A way to lay out a table.

    Attributes:
        size: LaTeX's name of the type's size.
        header: Characters of a header's line.
        text: Characters of a text's line.
        wide: Whether it stands over both columns of a page that has two.
        shrinks: Whether LaTeX is to make it smaller where it is wider than the page: of a draft, or of any.
    """

    size: str
    header: int
    text: int
    wide: bool = False
    shrinks: bool = False


LAYOUTS = (
    Layout("small", 14, 36), Layout("footnotesize", 12, 28),
    Layout("small", 14, 36, wide=True), Layout("footnotesize", 12, 28, wide=True), Layout("scriptsize", 10, 28, wide=True),
    Layout("scriptsize", 10, 20, wide=True), Layout("scriptsize", 10, 16, wide=True),
)  # fmt: skip


def layout(view: TableView) -> Layout:
    """Return the first layout, of those that are ever narrower, in which a table fits; or the last one, where LaTeX makes it fit."""
    fits = (one for one in LAYOUTS if table_points(view, one) <= (PAGE if one.wide else COLUMN))
    chosen = next(fits, LAYOUTS[-1])
    return replace(chosen, shrinks=table_points(view, chosen) > DRAFT)


def over_runs(columns: tuple[Column, ...]) -> list[tuple[str, int, int]]:
    """Return each header that stands over columns, in order, with the first and the last of these from 0; `` where none does."""
    runs = groupby(enumerate(columns), key=lambda pair: pair[1].over)
    return [(over, found[0][0], found[-1][0]) for over, found in ((over, list(pairs)) for over, pairs in runs)]


def table_points(view: TableView, one: Layout) -> float:
    """Return about how many points a table is wide in a layout, rather more than less."""
    widths = [_column_points(view, index, one) for index in range(len(view.columns))]
    total = 0.0
    for over, first, last in over_runs(view.columns):
        own = ems(over) * SIZES[one.size] + 2 * GAPS[one.size] if over else 0.0
        total += max(sum(widths[first : last + 1]), own)
    titles = (ems(group.title, bold=True) * SIZES[one.size] for group in view.groups)
    return max([total, *titles])


def has_marks(view: TableView, index: int) -> bool:
    """Tell whether marks stand behind the numbers of a column, for which it needs room."""
    return view.columns[index].numeric and any(row[index].mark for row in view.rows)


def _column_points(view: TableView, index: int, one: Layout) -> float:
    column = view.columns[index]
    header = max(map(ems, lines(column.name, one.header))) + (1.4 if column.better else 0)
    sizes = [cell_ems(row[index], column, one.text) for row in view.rows] or [(0.0, 0.0)]
    course = max((course_points(row[index]) for row in view.rows), default=0.0)
    own = max(whole for whole, _ in sizes) + max(tail for _, tail in sizes)
    gaps = GAPS[one.size] * (3 if has_marks(view, index) else 2)
    return max(header * SIZES[one.size], own * SIZES[one.size] + course) + gaps
