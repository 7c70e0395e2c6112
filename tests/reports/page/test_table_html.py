"""A view as HTML: all that a view can say is in its markup, and every text stays text."""

from __future__ import annotations

import re

from slws_lab.reports.formats import to_html
from slws_lab.reports.view import Cell, Column, Group, TableView


def made(rows: list[list[Cell]], columns: list[Column], **more: object) -> str:
    return to_html(TableView("x", "X", tuple(columns), tuple(map(tuple, rows)), **more))  # type: ignore[arg-type]


def texts(html: str, pattern: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", text) for text in re.findall(pattern, html)]


def test_headers_stand_over_their_neighbours() -> None:
    names = [Column("arm"), Column("0.1", True, over="rate"), Column("0.5", True, over="rate"), Column("n", True)]
    html = made([[Cell("a"), Cell("1"), Cell("2"), Cell("3")]], names)
    first, second, _ = re.findall(r"<tr>\s*(<th.*?)</tr>", html, re.S)
    assert texts(first, "<th[^>]*>.*?</th>") == ["arm", "rate", "n"] and first.count('rowspan="2"') == 2
    assert '<th scope="colgroup" colspan="2" class="over">rate</th>' in first
    assert texts(second, "<th[^>]*>.*?</th>") == ["0.1", "0.5"] and "rowspan" not in second
    assert re.findall(r'data-column="(\d)"', html) == ["0", "3", "1", "2"]


def test_groups_are_bodies_of_their_own_with_a_header_or_a_rule() -> None:
    rows = [[Cell(text)] for text in "abcd"]
    html = made(rows, [Column("arm")], groups=(Group(1, "Published"), Group(3, "")))
    bodies = re.findall(r"<tbody.*?</tbody>", html, re.S)
    assert [texts(body, '<th scope="row">.*?</th>') for body in bodies] == [["a"], ["b", "c"], ["d"]]
    assert '<tr class="group"><th scope="rowgroup" colspan="1">Published</th></tr>' in bodies[1]
    assert '<tbody class="ruled">' in bodies[2] and "rowgroup" not in bodies[0] + bodies[2]


def test_a_repeated_value_is_hidden_but_there_and_never_across_groups() -> None:
    rows = [[Cell("linear"), Cell(str(i))] for i in range(3)]
    html = made(rows, [Column("schedule", merges=True), Column("n")], groups=(Group(0, "one"), Group(2, "two")))
    hidden = '<th scope="row" class="again"><span hidden>linear</span></th>'
    assert (html.count(hidden), html.count('<th scope="row">linear</th>')) == (1, 2)


def test_what_is_best_second_marked_and_faint_can_be_told() -> None:
    cells = [Cell("1", bold=True), Cell("2", second=True, mark="†"), Cell("–", faint=True)]
    html = made([cells], [Column("a"), Column("b", True, "up"), Column("c", better="down")], notes=("† Why <b>.",))
    assert "<strong>1</strong>" in html and "<u>2</u><sup>†</sup>" in html and '<td class="faint">–</td>' in html
    assert 'role="img" aria-label="higher is better"' in html and 'role="img" aria-label="lower is better"' in html
    assert "<li>† Why &lt;b&gt;.</li>" in html


def test_a_course_is_drawn_from_its_values_and_says_them() -> None:
    html = made([[Cell("linear", line=(0.0, 0.25, 0.5))], [Cell("none")], [Cell("", line=(1.0,))]], [Column("rate")])
    lines = [[float(y) for y in re.findall(r",([\d.]+)", points)] for points in re.findall(r'points="([^"]+)"', html)]
    assert lines == [[12.5, 9.75, 7.0], [1.5, 1.5]]
    assert 'aria-label="a course of 3 values from 0 to 0.5, lowest 0, highest 0.5"' in html
    assert html.count('aria-hidden="true"></svg> none') == 1  # room for one, so that the texts stand below each other


def test_no_text_of_a_table_becomes_markup() -> None:
    bad = '"><script>alert(1)</script>\u202e'
    cells = [Cell(bad, (bad,), mark=bad), Cell(bad, bold=True)]
    html = made([cells], [Column(bad, over=bad), Column(bad)], notes=(bad,), groups=(Group(0, bad),))
    assert "<script" not in html and "\u202e" not in html and html.count("&lt;script&gt;") == 9
