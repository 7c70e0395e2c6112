"""Printed tables read back into cells: where two differ is said by row and column, in every format."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slws_lab.reports.formats import to_csv, to_html, to_latex, to_markdown
from slws_lab.reports.printed import Difference, differences
from slws_lab.reports.view import Cell, Column, Group, TableView

VIEW = TableView(
    "levels",
    "Levels & rates | of all",
    (Column("schedule", merges=True), Column("rate", numeric=True), Column("top1 (%)", numeric=True, better="up", over="val"),
     Column("Δ", numeric=True, over="val"), Column("verdict")),
    (
        (Cell("none"), Cell("–", faint=True), Cell("96.79 ± 0.62", bold=True), Cell("–"), Cell("baseline")),
        (Cell("linear"), Cell("0.3"), Cell("96.55 ± 0.74", second=True), Cell("−0.24"), Cell("in|conclusive", mark="†")),
        (Cell("linear"), Cell("0.6"), Cell("94.88 ± 12.03", line=(0.0, 0.5, 1.0)), Cell("−1.90"), Cell("hurts & more")),
    ),
    ("† A note of 3 words.",),
    (Group(0, "without"), Group(1, "with")),
)  # fmt: skip
FORMATS = {"md": to_markdown, "html": to_html, "csv": to_csv, "tex": lambda view: to_latex(view, "slws:levels")}


def changed(row: int, column: int, text: str) -> TableView:
    rows = [list(cells) for cells in VIEW.rows]
    rows[row][column] = replace(rows[row][column], text=text)
    return replace(VIEW, rows=tuple(map(tuple, rows)))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("row", "column", "text", "header"),
    [(0, 2, "96.78 ± 0.62", "top1"), (1, 1, "0.4", "rate"), (2, 3, "−1.91", "Δ"), (2, 4, "hurts & most", "verdict")],
)
def test_a_changed_cell_is_named_by_its_row_and_its_column(
    kind: str, row: int, column: int, text: str, header: str
) -> None:
    found = differences(FORMATS[kind](changed(row, column, text)), FORMATS[kind](VIEW), kind)
    assert len(found) == 1
    assert header in found[0].column
    shown, would = (found[0].found, found[0].expected)
    assert shown != would and text.replace("−", "-")[-2:] in shown.replace("−", "-")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("row", "name"), [*enumerate(["off, none", "off, linear", "on, none", "on, linear"])])
def test_a_row_is_named_by_as_many_labels_as_tell_it_from_the_others(kind: str, row: int, name: str) -> None:
    rows = tuple(
        (Cell(gate), Cell(rate), Cell("3"), Cell("7.5")) for gate in ("off", "on") for rate in ("none", "linear")
    )
    columns = (Column("gate", merges=True), Column("schedule"), Column("n", numeric=True), Column("top1", numeric=True))
    now = TableView("levels", "Levels", columns, rows)
    then = replace(now, rows=tuple((*cells[:3], Cell("9.9")) if i == row else cells for i, cells in enumerate(rows)))
    (found,) = differences(FORMATS[kind](then), FORMATS[kind](now), kind)
    assert (found.row, found.column.split()[0]) == (f"row {row + 1} ({name})", "top1")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_table_has_no_differences(kind: str) -> None:
    text = FORMATS[kind](VIEW)
    assert differences(text.replace("\n", " \r\n"), text, kind) == []


def test_what_is_no_cell_is_told_by_its_line() -> None:
    text = to_markdown(VIEW)
    assert differences(text.replace("3 words", "4 words"), text, "md") == [
        Difference(
            f"line {len(text.splitlines())}",
            "",
            "- <sup>†</sup> A note of 4 words.",
            "- <sup>†</sup> A note of 3 words.",
        )
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_of_other_rows_is_told_by_the_first_line_that_differs(kind: str) -> None:
    (found,) = differences(FORMATS[kind](replace(VIEW, rows=VIEW.rows[:2], groups=())), FORMATS[kind](VIEW), kind)
    assert found.row.startswith("line ") and found.found != found.expected


def test_a_difference_far_along_a_line_is_in_what_is_shown() -> None:
    (found,) = differences("x" * 5000 + "1", "x" * 5000 + "2", "svg")
    assert found.found.endswith("1") and found.expected.endswith("2") and len(found.found) < 200


def test_broken_markup_is_told_by_lines_too() -> None:
    text = to_html(VIEW)
    assert differences(text.replace("</table>", "</tab"), text, "html")
    assert differences("<td><tr></thead></td>", text, "html")
    assert differences('a,"b', to_csv(VIEW), "csv")


def test_latex_that_was_indented_or_commented_is_the_same_and_its_changed_cell_is_named() -> None:
    text = FORMATS["tex"](VIEW)
    written = "% old 1 \\\\\n" + "".join(f"\n\t {line.strip().replace(' & ', '  &   ')}" for line in text.splitlines())
    assert differences(written, text, "tex") == []
    (found,) = differences(written.replace("0.3", "0.4"), text, "tex")
    assert found.row.startswith("row ") and "rate" in found.column
