"""LaTeX tables: what is written for each part of a view, that it compiles, fits the page, and aligns its numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slws_lab.reports import contrasts_view, main_view, to_latex
from slws_lab.reports.formats.latex_cells import number_cells
from slws_lab.reports.formats.latex_layout import LAYOUTS, layout, table_points
from slws_lab.reports.formats.latex_parts import parts
from slws_lab.reports.formats.latex_text import breakable, latex
from slws_lab.reports.formats.latex_widths import COLUMN, PAGE
from slws_lab.reports.references import figures, figures_view, systems, systems_view
from slws_lab.reports.tables.effects import effects_views
from slws_lab.reports.view import Cell, Column, Group, TableView

TOP1 = (
    "81.20 ± 0.30",
    "9.9 ± 12.10",
    "82.44 ± 0.35 [82.01, 82.87]",
    "–",
    "1,082.4",
    "5 of 6",
    "−0.04",
    "< 0.0001",
    "1e-05",
    "",
)
HOSTILE = (
    "\\input{a} & % $x_1^2$ {y} # ~",
    "<% x %> {{ 7*7 }} << 1 >>",
    "[2ex] *",
    "a --option ---",
    "é ő 日 ✓ ↑ † ² ß ` “q”",
    "x" * 90,
)


def number(texts: tuple[str, ...], **of: Any) -> list[str]:
    return number_cells([Cell(text, **of) for text in texts])


def every_part() -> TableView:
    """Return a table with all that a view can hold."""
    columns = (
        Column("depth", over="shuffle", merges=True), Column("rates", over="shuffle"), Column("class token", over="shuffle"),
        Column("EMA"), Column("val/top1, EMA (%)", True, "up"), Column("Δ [95 % interval] (points)", True),
        Column("n", True), Column("verdict"), Column("params (M)", True, "down"), Column("images/s", True, "up"),
    )  # fmt: skip
    rows = []
    for i in range(9):
        rows.append((
            Cell("linear" if i < 5 else "constant"), Cell("", line=tuple(j / 23 for j in range(24))), Cell("✓" if i % 2 else ""),
            Cell("✓"), Cell(f"{8.1 + 10 * i:.2f} ± {0.21 + 3 * i:.2f}", bold=i == 8, second=i == 7, mark="†" if i in (2, 8) else ""),
            Cell(f"{i - 3.5:+.2f} [{i - 20:+.2f}, {i + 13:+.2f}]".replace("-", "−"), bold=i == 3, mark="a, b" if i == 4 else ""),
            Cell("4 of 5" if i == 1 else "5"), Cell("helps"), Cell(f"{7 * i}.1"), Cell(f"{1000 * i:,}"),
        ))  # fmt: skip
    rows.append(
        tuple(
            Cell(text, faint=True) for text in ("published", "", "", "", "82.6", "–", "", "B of the paper", "97.6", "")
        )
    )
    notes = (
        "† One run diverged.",
        "a, b The code differs: " + "0123456789abcdef" * 4,
        "A note with /a/long/path/that/goes/on/and/on/and/on.",
    )
    return TableView("all", "All: is it \\really\\ right?", columns, tuple(rows), notes,
                     (Group(0, "ours"), Group(2, ""), Group(5, "theirs & more"), Group(9, "published")))  # fmt: skip


def hostile() -> TableView:
    cells = tuple(
        (Cell(text, bold=True, mark=text[:9]), Cell(text, second=True, faint=True), Cell(text, mark="†"))
        for text in HOSTILE
    )
    columns = (
        Column(HOSTILE[0], over=HOSTILE[1]),
        Column(HOSTILE[4], True, "up", over=HOSTILE[1]),
        Column(HOSTILE[2], merges=True),
    )
    return TableView(
        "hostile", " ".join(HOSTILE), columns, cells, HOSTILE, tuple(Group(i, text) for i, text in enumerate(HOSTILE))
    )


def wide(columns: int, rows: int = 3) -> TableView:
    names = tuple(Column(f"a quantity of number {j}", j > 1) for j in range(columns))
    return TableView(
        "wide", "Wide", names, tuple(tuple(Cell(f"{i}.{j} ± 0.1") for j in range(columns)) for i in range(rows))
    )


def test_of_numbers_only_the_number_is_bold_and_what_follows_the_point_is_equally_wide() -> None:
    assert number(("1.25 ± 0.30", "12.00 ± 0.40")) == [r"1.25 $\pm$ 0.30", r"12.00 $\pm$ 0.40"]
    room = r"\phantom{.00 $\pm$ 0.00}"
    assert number(("1.25 ± 0.30", "12.5", "–")) == [r"1.25 $\pm$ 0.30", rf"12\rlap{{.5}}{room}", f"--{room}"]
    assert number_cells([Cell("1.2", bold=True), Cell("1.3"), Cell("−1.4", second=True)]) == [
        r"\textbf{1.2}", r"1\rlap{.3}\phantom{\textbf{.0}}", r"\underline{$-$1}\rlap{\underline{.4}}\phantom{\textbf{.0}}",
    ]  # fmt: skip
    assert number_cells([Cell("−1", bold=True)]) == [r"\textbf{\boldmath $-$1}"]


def test_marks_take_no_width() -> None:
    marked = number_cells([Cell("1.5", mark="†"), Cell("12.5"), Cell("3", mark="a")])
    assert marked == [r"1.5\rlap{\textsuperscript{$\dagger$}}", "12.5", r"3\rlap{\textsuperscript{a}}\phantom{.0}"]


def test_groups_headers_over_headers_and_repeated_values() -> None:
    tex = to_latex(every_part(), "slws:x-all")
    assert r"\multicolumn{3}{c}{shuffle} & \multicolumn{7}{c}{} \\" in tex and r"\cmidrule(lr){1-3}" in tex
    assert [tex.count(rule) for rule in (r"\midrule", r"\textit{ours}", r"\textit{theirs \& more}")] == [4, 1, 1]
    assert r"\multirow{2}{*}{linear}" in tex and r"\multirow{3}{*}{linear}" in tex
    assert tex.splitlines()[0].startswith("% packages: booktabs, xcolor, amssymb")
    assert r"\label{slws:x-all}" in tex and r"\textsuperscript{$\dagger$}~One run diverged." in tex


def test_packages_are_named_only_where_they_are_needed() -> None:
    plain = TableView("x", "x", (Column("a"),), ((Cell("b"),),))
    assert to_latex(plain, "x").splitlines()[0] == "% packages: booktabs"
    assert to_latex(replace(plain, title="✓"), "x").splitlines()[0] == "% packages: booktabs, amssymb"


def test_hyphens_stay_hyphens_and_long_words_may_be_broken() -> None:
    assert latex("--a -b ---") == "-{}-a -b -{}-{}-"
    assert (
        breakable("short /a/very/long/path/to/somewhere_else")
        == r"short /\allowbreak{}a/\allowbreak{}very/\allowbreak{}long/\allowbreak{}path/\allowbreak{}to/\allowbreak{}somewhere\_\allowbreak{}else"
    )
    assert breakable("0" * 30) == r"000000000000\allowbreak{}000000000000\allowbreak{}000000"


def test_a_table_takes_the_first_layout_in_which_it_fits() -> None:
    chosen = [layout(wide(columns)) for columns in (2, 5, 8, 11)]
    assert [(one.wide, one.size, one.shrinks) for one in chosen] == [
        (False, "small", False), (True, "small", False), (True, "scriptsize", True), (True, "scriptsize", True)
    ]  # fmt: skip
    assert r"\begin{table}" in to_latex(wide(2), "x") and r"\begin{table*}" in to_latex(wide(5), "x")


def test_what_is_too_wide_to_be_read_when_shrunk_is_parted_between_columns_and_repeats_the_first() -> None:
    found = parts(wide(30))
    assert len(found) > 2
    assert all(part.columns[:2] == wide(30).columns[:2] for part in found)
    assert [column for part in found for column in part.columns[2:]] == list(wide(30).columns[2:])
    assert all(table_points(part, LAYOUTS[-1]) <= PAGE for part in found)


def test_what_is_too_long_is_parted_between_rows_under_one_number_and_names_its_group_again() -> None:
    view = replace(wide(2, rows=100), groups=(Group(0, "one"), Group(90, "two")), notes=("The end.",))
    found = parts(view)
    assert [len(part.rows) for part in found] == [35, 36, 29]
    assert [[(group.row, group.title) for group in part.groups] for part in found] == [
        [(0, "one")],
        [(0, "one")],
        [(0, "one"), (19, "two")],
    ]
    tex = to_latex(view, "slws:long")
    assert tex.count(r"\label") == 1 and tex.count("(continued)") == tex.count(r"\addtocounter{table}{-1}") == 2
    assert tex.count("The end.") == 1


def test_notes_that_do_not_fit_below_a_table_follow_it() -> None:
    notes = tuple(f"[{i}] a source of {'some words' * 5}" for i in range(90))
    found = parts(replace(wide(2, rows=30), notes=notes))
    assert [len(part.columns) for part in found] == [2, 0, 0, 0, 0]
    assert tuple(note for part in found for note in part.notes) == notes and len(found[0].notes) == 7


def compiled(tmp_path: Path, body: str, kind: str = "twocolumn") -> str:
    """Compile a document with every package that the tables name, and return the log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    packages = r"\usepackage{booktabs,xcolor,amssymb,graphicx}\IfFileExists{multirow.sty}{\usepackage{multirow}}{}"
    text = rf"\documentclass[{kind}]{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "t.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout.replace("\n", "")


def complaints(log: str) -> list[str]:
    return re.findall(r"Overfull \\hbox.{60}|Float too large.{40}|Missing character.{40}", log)


@pytest.mark.latex
@pytest.mark.parametrize("kind", ["twocolumn", "onecolumn"])
def test_every_table_compiles_and_fits_the_page(kind: str, tmp_path: Path, project: Callable[..., Any]) -> None:
    table = project(lambda i, seed: "diverged" if (i, seed) == (3, 0) else "finished").table
    real = [main_view(table), contrasts_view(table), *effects_views(table), figures_view(figures())]
    own = [
        every_part(),
        hostile(),
        figures_view(figures()),
        systems_view(systems()[:30]),
        *map(wide, (2, 5, 9, 11, 30)),
    ]
    texts = [to_latex(replace(view, title=view.title[:300]), f"slws:{i}") for i, view in enumerate([*real, *own])]
    assert complaints(compiled(tmp_path, "\n\\clearpage\n".join(["Text.", *texts]), kind)) == []


@pytest.mark.latex
def test_decimal_points_stand_below_each_other_to_a_hundredth_of_a_point(tmp_path: Path) -> None:
    plain = [Cell(text) for text in TOP1]
    bold = [
        replace(cell, bold=i in (1, 2), second=i == 0, mark="†" if i in (0, 2) else "", faint=i == 4)
        for i, cell in enumerate(plain)
    ]
    columns, body = (plain, bold, bold[:2]), [r"\newsavebox\cell\newsavebox\whole"]
    for column in columns:
        for cell, text in zip(column, number_cells(column), strict=True):
            start = re.match(r"\D*\d+(,\d{3})*", cell.text)
            whole = number_cells([replace(cell, text=start[0] if start else cell.text, mark="")])[0]
            body.append(
                rf"\sbox\cell{{{text}}}\sbox\whole{{{whole}}}\typeout{{tail \the\dimexpr\wd\cell-\wd\whole\relax;}}"
            )
    tails = [float(tail) for tail in re.findall(r"tail (-?[\d.]+)pt;", compiled(tmp_path, "\n".join([*body, "x"])))]
    for column in columns:
        own, tails = tails[: len(column)], tails[len(column) :]
        filled = [tail for tail, cell in zip(own, column, strict=True) if cell.text]
        assert max(filled) - min(filled) < 0.01 and max(filled) > 0
    assert tails == []


@pytest.mark.latex
def test_no_table_is_wider_than_estimated(tmp_path: Path) -> None:
    body, estimates = [r"\newsavebox\drawn"], []
    for view in (every_part(), wide(5), figures_view(figures()[:10]), systems_view(systems()[:10])):
        tex = to_latex(view, "x")
        chosen = layout(parts(view)[0])
        inner = re.search(r"\\begin{tabular}.*\\end{tabular}", tex.split(r"\end{table")[0], re.DOTALL)
        assert inner is not None
        estimates.append(table_points(parts(view)[0], chosen))
        body.append(rf"{{\{chosen.size}\setlength{{\tabcolsep}}{{3.5pt}}\providecommand{{\multirow}}[3]{{#3}}"
                    rf"\sbox\drawn{{{inner[0]}}}\typeout{{width \the\wd\drawn;}}}}")  # fmt: skip
    measured = [float(width) for width in re.findall(r"width ([\d.]+)pt;", compiled(tmp_path, "\n".join([*body, "x"])))]
    assert len(measured) == len(estimates)
    assert [pair for pair in zip(measured, estimates, strict=True) if not pair[0] <= pair[1] <= 1.35 * pair[0]] == []
    assert COLUMN < PAGE
