"""Escaping: whatever a user writes comes out as text, in all three formats."""

from __future__ import annotations

import shutil
import string
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from slws_lab.reports import Cell, Column, TableView, to_html, to_latex, to_markdown

HOSTILE = (
    string.punctuation, "a_b __c__ *d* `e` ~~f~~", "<script>alert('x')</script>", "a | b \\| c", "[x](http://y)",
    "1. one", "# head", "- item", "+ item", "= under", "50 % & $x_1^2$ {y}", "\\textbf{z} \\\\ \\input{a}", "[2ex]",
    "é ü ç å ñ – — “q” … ± − × ≤ Δ α", "日本 ő Ł ☃", "two\nlines", "{{ 7*7 }} {% x %} << 7*7 >> <% x %>", "&amp; &lt;",
)  # fmt: skip


def view_of(texts: tuple[str, ...]) -> TableView:
    rows = tuple((Cell(text, ("run-1", "run-2"), bold=i % 2 == 0), Cell("1.0")) for i, text in enumerate(texts))
    return TableView("hostile", HOSTILE[0], (Column(HOSTILE[1]), Column("n", numeric=True)), rows, texts)


class _Text(HTMLParser):
    """Collects the text of chosen elements, and every element's name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("td", "li", "th", "figcaption"):
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1] += data


def read(html: str) -> _Text:
    parser = _Text()
    parser.feed(html)
    parser.found = [" ".join(text.split()) for text in parser.found]
    return parser


def one_line(texts: tuple[str, ...]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def test_markdown_reads_back_as_the_text() -> None:
    page = read(
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .enable("strikethrough")
        .render(to_markdown(view_of(HOSTILE)))
    )
    cells = [text for text in page.found if text != "1.0"]
    assert cells == [HOSTILE[1], "n", *one_line(HOSTILE), *one_line(HOSTILE)]
    assert set(page.tags) <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}


def test_html_reads_back_as_the_text() -> None:
    page = read(to_html(view_of(HOSTILE)))
    cells = [text for text in page.found if text != "1.0"]
    assert cells == [HOSTILE[0], HOSTILE[1], "n", *one_line(HOSTILE), *one_line(HOSTILE)]
    assert "script" not in page.tags


def test_html_cells_carry_their_runs_and_bold() -> None:
    html = to_html(view_of(("x", "y")))
    assert html.count('data-runs="run-1 run-2"') == 2
    assert "<strong>x</strong>" in html and "<strong>y</strong>" not in html


def test_latex_escapes_and_marks() -> None:
    tex = to_latex(view_of(("50 % & $x_1 {y}", "\\input{a}")), "slws:h")
    assert r"\textbf{50 \% \& \$x\_1 \{y\}} & 1.0 \\" in tex
    assert r"\textbackslash{}input\{a\} & 1.0 \\" in tex
    assert r"\label{slws:h}" in tex and r"\begin{tabular}{lr}" in tex


def test_latex_stacks_long_headers() -> None:
    view = TableView("x", "x", (Column("short"), Column("mean of 95 % & more", numeric=True)), ())
    stacked = r"\begin{tabular}[b]{@{}r@{}}mean of 95 \% \& \\ more\end{tabular}"
    assert rf"short & {stacked} \\" in to_latex(view, "x")


def test_latex_of_letters_without_a_glyph() -> None:
    tex = to_latex(view_of(("é ő 日",)), "x")
    assert "é o {[}U+65E5{]}" in tex


@pytest.mark.latex
def test_latex_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    body = to_latex(view_of(HOSTILE), "slws:hostile_1")
    head, tail = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}",
        r"See \ref{slws:hostile_1}.\end{document}",
    )
    (tmp_path / "t.tex").write_text(head + body + tail)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
