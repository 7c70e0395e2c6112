"""Tables on the terminal: at any width they can be read, and what is not shown is named."""

from __future__ import annotations

import pytest
from rich.console import Console

from slws_lab.cli.show_tables import draw, fit
from slws_lab.cli.terminal import as_written, out, table, whole_words
from slws_lab.reports.view import Cell, Column, Group, TableView

COLUMNS = (
    Column("schedule", merges=True), Column("seed set"), Column("n", True), Column("val/top1 (%)", True, "up"),
    Column("Δ [95 % interval] (points)", True), Column("adjusted p", True), Column("verdict"), Column("images/s", True, "up"),
)  # fmt: skip
ROWS = tuple(
    (Cell("linear" if i < 2 else "constant"), Cell("first"), Cell("5"), Cell(f"{80 + i}.25 ± 0.31", bold=i == 3, mark="†" if i == 1 else ""),
     Cell("−1.24 [−3.35, +2.88]"), Cell(f"0.{i}12"), Cell("hurts" if i == 3 else "inconclusive"), Cell(f"{i},000")) for i in range(4)
)  # fmt: skip
VIEW = TableView("planted", "A title", COLUMNS, ROWS, ("† It diverged.",), (Group(2, "the others"),))


def printed(
    view: TableView, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(out, "width", width)  # Rich reads COLUMNS once, when the console is made
    draw(view, "All are in table.md.")
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_wide_enough_every_row_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(VIEW, 130, capsys, monkeypatch)
    assert [line for line in lines if "80.25" in line or "81.25" in line] == [
        "linear    first  5  80.25 ± 0.31   −1.24 [−3.35, +2.88]     0.012  inconclusive     0,000",
        "          first  5  81.25 ± 0.31†  −1.24 [−3.35, +2.88]     0.112  inconclusive     1,000",
    ]  # fmt: skip
    assert lines[0] == "A title" and "the others" in lines and "† It diverged." in lines
    assert not any("columns are not shown" in line for line in lines)


def test_what_is_alike_in_every_row_becomes_a_line_before_anything_is_left_out() -> None:
    found = fit(VIEW, 78)
    assert [COLUMNS[i].name for i in found.same] == ["seed set"] and found.left == ()


def test_at_80_columns_nothing_runs_over_and_nothing_is_lost_without_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (80, 60, 45):
        lines = printed(VIEW, width, capsys, monkeypatch)
        assert max(map(len, lines)) <= width
        text, found = " ".join(" ".join(lines).split()), fit(VIEW, width)
        assert found.same and all(f"{COLUMNS[i].name}: {ROWS[0][i].text} in every row" in text for i in found.same)
        for index in found.left:
            assert COLUMNS[index].name in text
        assert bool(found.left) == ("All are in table.md." in text)
        assert 0 in found.widths and 6 in found.widths  # what it is about, and the verdict


def test_the_least_needed_columns_go_first() -> None:
    rows = tuple((*row[:2], Cell(str(i)), *row[3:4], Cell(f"{i}.2 [0.1, 0.2]"), *row[5:6], Cell("helps" if i else "hurts"), row[7])
                 for i, row in enumerate(ROWS))  # fmt: skip
    view = TableView("v", "v", COLUMNS, rows)
    order: list[str] = []
    for width in range(100, 10, -1):
        order += [COLUMNS[i].name for i in fit(view, width).left if COLUMNS[i].name not in order]
    assert order == ["n", "adjusted p", "images/s", "Δ [95 % interval] (points)", "verdict", "val/top1 (%)"]


SIDES = tuple(
    Column(name, numeric, over=over) for over in ("build-up", "shape-or-amount")
    for name, numeric in (("pairs", True), ("Δ [95 % interval] (points)", True), ("verdict", False))
)  # fmt: skip
JUDGED = TableView("verdicts", "Verdicts that differ", (Column("arm"), Column("against"), *SIDES), tuple(
    (Cell(f"schedule={name}, max_rate=0.6"), Cell("baseline"), Cell("3"), Cell(f"+{2 + i}.00 [−0.48, +4.48]"), Cell("inconclusive"),
     Cell("5"), Cell(f"+1{i}.00 [+1.75, +2.25]"), Cell("helps")) for i, name in enumerate(("reverse", "constant"))
))  # fmt: skip
REACHED = TableView(
    "arms", "one beside other",
    (Column("arm"), *(Column(name, True, over=over) for over in ("build-up", "shape-or-amount")
                      for name in ("n", "val/top1, EMA (%), mean ± sd")),
     Column("pairs", True), Column("Δ, second − first [95 % interval] (points)", True), Column("what differs")),
    tuple((Cell(f"clip_grad=3.0, augmentation=crop-erase, schedule={name}"), Cell(str(3 + i)), Cell(f"85.2{i} ± 3.40"), Cell(str(5 - i)),
           Cell(f"86.7{i} ± 12.11"), Cell(str(3 + i)), Cell(f"+1.4{i} [−12.48, +13.48]"), Cell(f"train.epochs, model.args.depth{i}"))
          for i, name in enumerate(("none", "linear"))),
)  # fmt: skip


def test_a_header_over_columns_stands_once_above_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(JUDGED, 160, capsys, monkeypatch)
    assert [line.split() for line in lines[1:3]] == [
        ["build-up", "shape-or-amount"],
        ["─" * (5 + 20 + 12 + 4), "─" * (5 + 21 + 7 + 4)],
    ]
    assert "build-up" not in "".join(lines[3:])
    last = [Column("arm"), Column("n", True, over="shape-or-amount")]
    rows = ((Cell("a"), Cell("3")), (Cell("b"), Cell("4")))
    narrow = printed(TableView("v", "v", tuple(last), rows), 30, capsys, monkeypatch)
    assert any(line.endswith("shape-or-amount") for line in narrow)  # whole above a narrower column


@pytest.mark.parametrize("width", range(60, 130, 10))
def test_columns_of_two_studies_are_left_out_in_pairs(width: int) -> None:
    for view in (JUDGED, REACHED):
        for word in (12, 40):
            left = fit(view, width, word=word).left
            pairs = [view.columns[i].name for i in left if view.columns[i].over]
            assert all(pairs.count(name) == 2 for name in pairs)


def test_the_differences_of_two_studies_stay_and_counts_and_means_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(JUDGED, 80, capsys, monkeypatch)
    assert any("+2.00" in line and "+10.00" in line for line in lines) and max(map(len, lines)) <= 80
    assert "build-up: pairs: 3 in every row" in lines and not any("Not shown" in line for line in lines)
    for width in (80, 70):
        lines = printed(REACHED, width, capsys, monkeypatch)
        shown = [line for line in lines if "+1.4" in line]
        assert len(shown) == 2 and max(map(len, lines)) <= width
        assert ("85.2" in shown[0]) == ("86.7" in shown[0])
    assert "Not shown at this width: build-up: n" in "\n".join(lines)


def test_no_word_is_broken_where_a_column_could_have_the_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prose = "Is it the shape of the rate over depth that matters on the digits, or only how much is shuffled?"
    rows = (
        (Cell("Factor shuffle.schedule"), Cell("none, linear"), Cell("not varied")),
        (Cell("model.args.embed_dim"), Cell(prose), Cell(prose)),
    )
    view = TableView("v", "v", (Column("what"), Column("build-up"), Column("components")), rows)
    lines = printed(view, 80, capsys, monkeypatch)
    assert max(map(len, lines)) <= 80
    assert {"shuffle.schedule", "model.args.embed_dim"} <= {line.split(" ")[0] for line in lines}
    words = printed(REACHED, 80, capsys, monkeypatch)
    assert {"augmentation=", "crop-erase,"} <= {part for line in words for part in line.split()}


def test_what_stands_below_a_row_is_indented_and_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(out, "width", 40)
    view = TableView("v", "v", (Column("system"),), ((Cell("one"),), (Cell("two"),)))
    draw(view, "", ["a text of several words that is longer than a line", ""])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:6] == ["one", "  a text of several words that is longer", "  than a line", "two"]


def test_where_not_even_what_is_needed_fits_each_row_is_a_block(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(VIEW, 30, capsys, monkeypatch)
    start = lines.index("schedule: linear")
    assert lines[start : start + 5] == [
        "schedule: linear",
        "seed set: first",
        "n: 5",
        "val/top1 (%) ↑: 80.25 ± 0.31",
        "Δ [95 % interval] (points):",
    ]
    assert lines.count("the others") == 1 and lines.count("verdict: hurts") == 1


def test_courses_of_values_go_before_what_is_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple((Cell(f"linear {i}", line=(0.0, 0.5, 1.0) * 4), *row[1:]) for i, row in enumerate(ROWS))
    view = TableView("v", "v", COLUMNS, rows)
    assert any("▁▅█▁▅█▁▅█▁▅█ linear 0" in line for line in printed(view, 60, capsys, monkeypatch))
    assert any(line.startswith("linear 0") for line in printed(view, 40, capsys, monkeypatch))


def test_a_file_gets_whole_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    draw(VIEW, "")
    assert any(line.count("inconclusive") and "0,000" in line for line in capsys.readouterr().out.splitlines())


def test_text_from_files_is_no_markup(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    view = TableView(
        "[red]", "[b]t[/b]", (Column("[i]a"),), ((Cell("[red]x[/red]\x1b[2J"),),), ("[x]",), (Group(0, "[g]"),)
    )
    text = "\n".join(printed(view, 80, capsys, monkeypatch))
    assert all(part in text for part in ("[b]t[/b]", "[i]a", "[red]x[/red]", "[x]", "[g]")) and "\x1b" not in text


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_plans_table_breaks_no_word_where_the_terminal_has_the_room(width: int) -> None:
    drawn = table("arm", "role", "compared to", "params", "done", "to run", "a run takes")
    label = "schedule=constant, max_rate=0.25"
    drawn.add_row(f"[bold]{label}[/]", "grid + variant", f"schedule=linear; {label}", "123,456", "0", "5", "12 min")
    console = Console(width=width)
    with console.capture() as caught:
        console.print(whole_words(drawn, width))
    lines = caught.get().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert words.count("schedule=constant,") == words.count("max_rate=0.25") == 2
    assert any(line.split()[-3:] == ["5", "12", "min"] for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (None, "null"), (["my_models.py", False], "[my_models.py, false]"), (0.25, "0.25"), ("a b", "a b"),
     ({"name": "a", "set": {"x": None}}, "{name: a, set: {x: null}}")],
)  # fmt: skip
def test_a_value_is_shown_as_a_study_writes_it(value: object, text: str) -> None:
    assert as_written(value) == text
