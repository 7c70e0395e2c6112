"""Markdown, CSV: groups, repeated values, headers over headers, marks, small courses."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from slws_lab.reports.formats import one_line, spans, to_csv, to_markdown
from slws_lab.reports.view import Cell, Column, Group, TableView

COLUMNS = (
    Column("schedule", over="shuffle", merges=True), Column("max_rate", True, over="shuffle", merges=True), Column("rates"),
    Column("top1 (%)", True, "up"), Column("loss", True, "down"),
)  # fmt: skip
ROWS = (
    (Cell("linear"), Cell("0.5"), Cell("", line=(0.0, 0.5, 1.0)), Cell("81.2", bold=True), Cell("−0.5")),
    (
        Cell("linear"),
        Cell("0.5"),
        Cell("a|b", line=(0.25,)),
        Cell("80.2", second=True, mark="†"),
        Cell("–", faint=True),
    ),
    (Cell("constant"), Cell("0.5"), Cell("c"), Cell("79.0"), Cell("1.5")),
    (Cell("constant"), Cell("0.5"), Cell("d"), Cell("78.0"), Cell("1.5")),
)
VIEW = TableView(
    "planted", "A title", COLUMNS, ROWS, ("† It diverged.", "a note"), (Group(0, "ours"), Group(3, "published"))
)


def test_repeated_values_stand_once_within_their_group_and_under_the_same_values_to_the_left() -> None:
    assert spans(VIEW) == [[2, 2, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert spans(replace(VIEW, groups=()))[2:] == [[2, 2, 1, 1, 1], [0, 0, 1, 1, 1]]
    marked = (*ROWS[:3], (replace(ROWS[3][0], mark="†"), *ROWS[3][1:]))
    assert spans(replace(VIEW, groups=(), rows=marked))[2:] == [[1] * 5, [1] * 5]


def test_markdown_has_all_of_a_view() -> None:
    assert to_markdown(VIEW).splitlines() == [
        "**A title**", "",
        "| shuffle: schedule | shuffle: max_rate | rates | top1 (%) ↑ | loss ↓ |",
        "| --- | ---: | --- | ---: | ---: |",
        "| **ours** |  |  |  |  |",
        "| linear | 0.5 | ▁▅█ | **81.2** | −0.5 |",
        r"|  |  | ▃ a\|b | <u>80.2</u><sup>†</sup> | – |",
        "| constant | 0.5 | c | 79.0 | 1.5 |",
        "| **published** |  |  |  |  |",
        "| constant | 0.5 | d | 78.0 | 1.5 |", "",
        "- <sup>†</sup> It diverged.", "- a note",
    ]  # fmt: skip


def test_markdown_is_one_table_that_renders() -> None:
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(to_markdown(VIEW))
    assert page.count("<table>") == 1 and page.count("<tr>") == 1 + 4 + 2


def test_csv_has_a_header_row_and_every_value_in_its_row() -> None:
    assert to_csv(VIEW).splitlines() == [
        "group,shuffle: schedule,shuffle: max_rate,rates,top1 (%),loss", "ours,linear,0.5,0 0.5 1,81.2,-0.5",
        "ours,linear,0.5,0.25 a|b,80.2,–", "ours,constant,0.5,c,79.0,1.5", "published,constant,0.5,d,78.0,1.5",
    ]  # fmt: skip
    assert to_csv(replace(VIEW, groups=())).startswith("shuffle: schedule,")
    assert to_csv(TableView("none", "none", (), (), ("Why not.",))) == ""


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), max_size=5))
def test_csv_reads_back_as_the_texts(texts: list[list[str]]) -> None:
    rows = tuple(tuple(map(Cell, row)) for row in texts)
    view = TableView("any", "any", (Column("a"), Column("b")), rows)
    found = list(csv.reader(io.StringIO(to_csv(view), newline="")))
    assert found == [["a", "b"], *([one_line(text) for text in row] for row in texts)]


def test_a_note_is_raised_only_where_a_cell_has_its_mark() -> None:
    rows = ((Cell("x", mark="a"),),)
    view = TableView("m", "m", (Column("x"),), rows, ("a see there", "b is no mark", "a"))
    assert to_markdown(view).splitlines()[-3:] == ["- <sup>a</sup> see there", "- b is no mark", "- <sup>a</sup>"]
