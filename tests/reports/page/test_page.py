"""report.html as a file: its runs, its structure for those who cannot see it, and what may be inserted into it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from slws_lab.analysis import ResultTable
from slws_lab.reports.page import costs, facts
from slws_lab.reports.page.page import page, with_banner
from slws_lab.reports.page.runs import RunSets, rerun
from slws_lab.reports.tables.main import contrasts_view, main_view
from slws_lab.reports.view import Cell, Column, TableView

HOSTILE = "</script><script>alert(1)</script><body>"
BODY = "factors: {train.lr: [0.001, 0.002]}\ndesigns: [{grid: [train.lr]}]\nseeds: 3"


class Read(HTMLParser):
    """Collects every element with its attributes, and the text of table cells, by the table's id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[tuple[str, dict[str, str | None], str]] = []
        self.scripts: dict[str, str] = {}
        self._table = self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.found.append((tag, told))
        self._table = told["id"] or "" if tag == "figure" and told.get("id") else self._table
        self._in = f"script {told.get('id', '')}" if tag == "script" else tag
        if tag in ("td", "th"):
            self.cells.append((self._table, told, ""))

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in.startswith("script"):
            self.scripts[self._in] = data
        elif self.cells and self._in in ("td", "th", "strong", "u"):
            table, told, text = self.cells[-1]
            self.cells[-1] = (table, told, text + data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [told for name, told in self.found if name == tag]

    @property
    def data(self) -> dict[str, object]:
        return dict(json.loads(self.scripts["script data"]))


def made(table: ResultTable) -> str:
    return page(table, [main_view(table)], contrasts_view(table), [])


def places(text: str) -> list[int]:
    found = []
    for span in text.split():
        first, _, last = span.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def test_every_cell_leads_to_the_very_runs_that_its_view_names(project) -> None:
    table = project(lambda i, seed: "failed" if (i, seed) == (2, 1) else None if i == 3 else "finished").table
    read = Read(made(table))
    listed = [told for name, told, _ in read.cells if name == "table-runs" and told.get("scope") == "row"]
    ids = [text for name, told, text in read.cells if name == "table-runs" and told.get("scope") != "col"][2::7]
    assert len(listed) == len(ids) == 20 and set(ids) == set(table.records)
    assert ids == [record.run_id for arm in table.design.arms for record in table.arm_records(arm.id)]
    views = [main_view(table), contrasts_view(table), facts.arms_view(table), costs.costs_view(table)]
    for view in views:
        cells = [told for name, told, _ in read.cells if name == f"table-{view.name}" and told.get("scope") != "col"]
        for told, cell in zip(cells, (cell for row in view.rows for cell in row), strict=True):
            number = told.get("data-runs")
            behind = [ids[place] for place in places(read.data["sets"][int(number)])] if number else []  # type: ignore[index]
            assert tuple(behind) == cell.run_ids


def test_sets_are_written_once_as_ranges_and_unknown_runs_follow_the_list() -> None:
    rows = tuple((Cell(run, (run,)),) for run in "abcdef")
    sets = RunSets(TableView("runs", "", (Column("run"),), rows))
    assert [sets.number(tuple(text)) for text in ("", "def", "abc", "def", "efa", "xbx")] == [
        "",
        "0",
        "1",
        "0",
        "2",
        "3",
    ]
    assert sets.data() == {"sets": ["3-5", "0-2", "4-5 0", "6 1 6"], "others": ["x"]}


def test_the_command_of_an_arm_can_be_typed(plant) -> None:
    table = plant(BODY, lambda settings, seed: 80.0)
    arm = table.design.arms[1]
    assert rerun("my study", arm) == f"slws rerun 'my study' {arm.label}"
    assert rerun("s", replace(arm, label="a\nb")) == f"slws rerun s {arm.id}"
    assert rerun("s", replace(arm, label="it's; rm -rf")) == """slws rerun s 'it'"'"'s; rm -rf'"""


def test_its_structure_can_be_walked_without_eyes(project) -> None:
    html = made(project(lambda i, seed: "failed" if (i, seed) == (2, 1) else "finished").table)
    read = Read(html)
    levels = [int(tag[1]) for tag, _ in read.found if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = Counter(told["id"] for _, told in read.found if told.get("id"))
    assert set(ids.values()) == {1}
    for told in read.of("th"):
        assert told["scope"] in ("col", "row", "colgroup", "rowgroup")
    for told in [*read.of("dialog"), *read.of("section")]:
        assert told["aria-labelledby"] in ids
    assert all(told["href"].removeprefix("#") in ids for told in read.of("a"))
    assert all(told.get("alt") for told in read.of("img")) and read.of("html")[0]["lang"] == "en"


def test_hostile_texts_stay_text_in_markup_and_in_data(plant) -> None:
    body = f"factors: {{data.path: [null, {json.dumps(HOSTILE)}]}}\ndesigns: [{{grid: [data.path]}}]\nseeds: 3"
    table = plant(body, lambda settings, seed: 80.0 + seed)
    html = made(table)
    assert html.count("<script") == 2 and html.count("</script>") == 2 and html.count("<body>") == 1
    read = Read(html)
    assert any(HOSTILE in str(command) for command in read.data["commands"])  # type: ignore[attr-defined]
    assert HOSTILE in "".join(text for _, _, text in read.cells)


def test_a_banner_is_escaped_and_stands_first(plant) -> None:
    html = made(plant(BODY, lambda settings, seed: 80.0))
    stale = with_banner(html, ["2 runs were added <i>", "1 run was rerun"])
    assert '<body><aside class="stale" role="alert"><p><strong>' in stale
    assert "<li>2 runs were added &lt;i&gt;</li><li>1 run was rerun</li></ul></aside>\n  <header>" in stale
    assert (
        with_banner(html, []) == html
        and stale.replace(stale[stale.index("<aside") : stale.index("</aside>") + 8], "") == html
    )
    for other in ("<p>no page</p>", html + "<body>"):
        with pytest.raises(ValueError, match=r"no report\.html"):
            with_banner(other, ["x"])


def test_the_same_results_make_the_same_page(plant) -> None:
    first, second = (made(plant(BODY, lambda settings, seed: 80.0 + seed)) for _ in range(2))
    assert first == second


def test_costs_are_those_of_the_arms_with_what_was_lost(project) -> None:
    table = project(lambda i, seed: "failed" if (i, seed) == (1, 0) else "finished").table
    view = costs.costs_view(table)
    rows = [{column.name: cell.text for column, cell in zip(view.columns, row, strict=True)} for row in view.rows]
    assert rows[1] == {
        "arm": "schedule=linear, max_rate=0.5", "runs with a result": "3", "device-hours": "0.0075", "s a run": "9.0", "images/s": "900",
        "peak memory (MB)": "1", "params": "1,001", "attempts lost": "1", "device-hours lost": "0.0025",
    }  # fmt: skip
    assert [row["attempts lost"] for row in rows] == ["0", "1", "0", "0", "0"]
    told = {fact.name: fact.texts[0] for fact in costs.cost_facts(table)}
    assert told == {"Device-hours": "0.048", "Runs with a result": "19", "Attempts lost": "1, 0.0025 device-hours"}


@pytest.mark.parametrize(
    ("seconds", "hours"),
    [
        ([35.964, 38.52], ["0.0100", "0.0107"]),
        ([35.64, 360_000.0], ["< 0.1", "100.0"]),
        ([3240.0, 4320.0], ["0.90", "1.20"]),
        ([36_000.0, 720_000.0], ["10.0", "200.0"]),
    ],
)
def test_hours_of_one_column_have_the_same_decimals(plant, seconds: list[float], hours: list[str]) -> None:
    table = plant(
        "factors: {train.lr: [0.001, 0.002]}\ndesigns: [{grid: [train.lr]}]\nseeds: 1", lambda settings, seed: 80.0
    )
    for run_id, taken in zip(table.records, seconds, strict=True):
        record = table.records[run_id]
        table.records[run_id] = replace(record, result={**record.result, "seconds": taken})
    view = costs.costs_view(table)
    column = [column.name for column in view.columns].index("device-hours")
    assert [row[column].text for row in view.rows] == hours


def test_a_page_of_a_thousand_runs_stays_small(plant) -> None:
    levels = [round(0.001 + i / 1e5, 5) for i in range(100)]
    table = plant(
        f"factors: {{train.lr: {levels}}}\ndesigns: [{{grid: [train.lr]}}]\nseeds: 10",
        lambda settings, seed: 80.0 + seed,
    )
    html = made(table)
    assert len(table.records) == 1000 and len(html) < 600_000
