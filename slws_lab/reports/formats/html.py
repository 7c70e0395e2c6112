"""A view as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from slws_lab.reports.formats.text import ARROWS, spans, templates
from slws_lab.reports.view import Cell, Column, TableView

if TYPE_CHECKING:
    import jinja2


LISTED = 64  # runs that a cell names in a table on its own
BETTER = {"up": "higher is better", "down": "lower is better"}
LONG = 40  # rows from which a table scrolls within the page
WIDTH, HEIGHT, INSET = 64, 14, 1.5  # of a sparkline, and its margin, in pixels


@dataclass(frozen=True)
class Head:
    """A header cell: a column's (its number), or one over several columns (None)."""

    text: str
    number: int | None
    columns: int
    rows: int


@dataclass(frozen=True)
class Body:
    """Neighbouring rows, as markup, under one header; a rule alone where the title is empty, nothing where it is None."""

    title: str | None
    rows: list[Markup]


def to_html(view: TableView, runs: Callable[[tuple[str, ...]], str] | None = None, label: str = "") -> str:
    """Return a `figure` element that holds the table.

    Args:
        view: The table.
        runs: What `data-runs` says of a cell's runs; None for their ids where there are no more than `LISTED`, since
            those of every cell stand in manifest.json.
        label: What its id is made of; empty for the table's name, which other studies' tables have too.
    """
    bodies = _bodies(view, list(_rows(view, runs or _ids)))
    template = html_templates().get_template("table.html.j2")
    return template.render(
        view=view,
        label=label or view.name,
        heads=_heads(view.columns),
        bodies=bodies,
        arrows=ARROWS,
        better=BETTER,
        long=LONG,
    )


@cache
def html_templates() -> jinja2.Environment:
    """Return the environment of the HTML templates, which escape by themselves."""
    return templates(autoescape=True, finalize=_harmless)


def _heads(columns: tuple[Column, ...]) -> list[list[Head]]:
    """Return the rows of headers: one, or two where some stand over others."""
    if not any(column.over for column in columns):
        return [[Head(column.name, i, 1, 1) for i, column in enumerate(columns)]]
    upper, lower = [], []
    for over, group in groupby(enumerate(columns), key=lambda numbered: numbered[1].over):
        under = [(i, column.name) for i, column in group]
        upper += [Head(over, None, len(under), 1)] if over else [Head(name, i, 1, 2) for i, name in under]
        lower += [Head(name, i, 1, 1) for i, name in under] if over else []
    return [upper, lower]


def _bodies(view: TableView, rows: list[Markup]) -> list[Body]:
    ends = [*(group.row for group in view.groups), len(rows)]
    first = [Body(None, rows[: ends[0]])] if ends[0] or not view.groups else []
    return first + [Body(g.title, rows[g.row : end]) for g, end in zip(view.groups, ends[1:], strict=True)]


def _rows(view: TableView, runs: Callable[[tuple[str, ...]], str]) -> Iterator[Markup]:
    """Yield the cells of each row as markup. A template would take seconds for a study of thousands of runs."""
    lined = {i for row in view.rows for i, cell in enumerate(row) if cell.line}
    for row, over in zip(view.rows, spans(view), strict=True):
        cells = []
        for i, (column, cell, printed) in enumerate(zip(view.columns, row, over, strict=True)):
            classes = " ".join(["number"] * column.numeric + ["faint"] * cell.faint + ["again"] * (not printed))
            tag, scope = ("td", "") if i else ("th", ' scope="row"')
            start = f"<{tag}{scope}{_attribute('class', classes)}{_attribute('data-runs', runs(cell.run_ids))}>"
            content = _content(cell, lined=i in lined)
            cells.append(f"{start}{content}</{tag}>" if printed else f"{start}<span hidden>{content}</span></{tag}>")
        yield Markup("".join(cells))


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(_harmless(value))}"' if value else ""


def _content(cell: Cell, *, lined: bool) -> str:
    """Return what stands in a cell: a sparkline (room for one, where others of its column have one), the text, the mark."""
    text = str(escape(_harmless(cell.text)))
    if cell.bold or cell.second:
        text = f"<strong>{text}</strong>" if cell.bold else f"<u>{text}</u>"
    mark = f"<sup>{escape(_harmless(cell.mark))}</sup>" if cell.mark else ""
    return (_line(cell.line) + " " * bool(text) if lined else "") + text + mark


def _line(values: tuple[float, ...]) -> str:
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    if not values:
        return f'<svg class="line" {size} aria-hidden="true"></svg>'
    course = values * 2 if len(values) == 1 else values
    wide, high = (WIDTH - 2 * INSET) / (len(course) - 1), HEIGHT - 2 * INSET
    points = " ".join(f"{INSET + i * wide:.4g},{INSET + (1 - value) * high:.4g}" for i, value in enumerate(course))
    ends = f"{values[0]:.3g} to {values[-1]:.3g}, lowest {min(values):.3g}, highest {max(values):.3g}"
    return (
        f'<svg class="line" {size} viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="a course of {len(values)} values from {ends}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.2" stroke-linejoin="round"/></svg>'
    )


def _ids(run_ids: tuple[str, ...]) -> str:
    return " ".join(run_ids) if len(run_ids) <= LISTED else ""


def _harmless(value: Any) -> Any:
    """Take characters that are not to be seen out of text from files; markup of ours stays as it is, line breaks too."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c for c in value if c.isprintable() or c.isspace())
