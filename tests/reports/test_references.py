"""Published figures and related systems: read as shipped, found by filters, printable in every format."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from slws_lab.errors import UserError
from slws_lab.reports import published, to_html, to_latex, to_markdown
from slws_lab.reports.formats import one_line, to_csv
from slws_lab.reports.formats.latex_text import latex
from slws_lab.reports.references import (
    Filters,
    figures,
    figures_view,
    find_figures,
    find_systems,
    systems,
    systems_view,
)  # fmt: skip

SHIPPED = files("slws_lab.reports") / "cited"
NAMES = ("published_results.csv", "seed_references.csv", "seed_systems.csv")
ORIGINALS = Path(__file__).parents[3] / "shared" / "reference"


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((SHIPPED / name).read_text(encoding="utf-8"))))


def said(one: object, row: dict[str, str]) -> dict[str, str]:
    return {name: getattr(one, name) for name in row}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_is_the_file_that_was_collected(name: str) -> None:
    if not ORIGINALS.is_dir():
        pytest.skip("the folder of collected facts is not beside this checkout")
    assert (SHIPPED / name).read_bytes() == (ORIGINALS / name).read_bytes()


def test_every_figure_is_the_text_of_its_file() -> None:
    given = rows(NAMES[0]) + rows(NAMES[1])
    assert (len(rows(NAMES[0])), len(rows(NAMES[1]))) == (113, 82)
    for figure, row in zip(figures(), given, strict=True):
        own = (
            {"source": row["source"], "variant": row["variant"].replace("INFERRED", "inferred")}
            if "source" in row
            else {}
        )
        assert {**said(figure, row), **({"source": row["source"]} if own else {})} == {**row, **own}
    assert [said(system, row) for system, row in zip(systems(), rows(NAMES[2]), strict=True)] == rows(NAMES[2])
    assert len(systems()) == 58


def test_every_figure_has_a_key_of_one_file_a_value_and_a_source() -> None:
    assert {row["key"] for row in rows(NAMES[0])} & {row["key"] for row in rows(NAMES[1])} == set()
    assert [figure for figure in figures() if not (figure.key and figure.value and figure.source)] == []


def test_a_source_is_fit_to_print_and_what_its_collector_remarked_stands_beside_it() -> None:
    for figure, row in zip(figures(), rows(NAMES[0]), strict=False):
        name, remark = row["source"].split(", SEEN")
        assert (figure.source.startswith(name.strip()), figure.remark) == (True, f"SEEN{remark}")
        printed = " ".join((figure.source, figure.variant))
        assert not [word for word in ("SEEN", "INFERRED", "my count", "primary") if word in printed], printed
        assert ("inferred" in printed) == ("INFERRED" in row["source"] + row["variant"])
    assert {figure.remark for figure in figures() if figure.order} == {""}


@pytest.mark.parametrize(
    ("key", "variant", "resolution", "source"),
    [
        ("slws", "middle", "1280x800", "official repo detection/model.py comment"),
        ("slws", "Reg-B", "224", "ICLR-2025 review of arXiv v1 (OpenReview EispKqtw5B) (secondary source)"),
        ("arm-supervised-counterpart", "B", "224", "ARM abstract / OliverRensu/ARM README (arXiv 2406.07537) (value inferred)"),
        ("swin", "T", "224", "MzeroMiko/VMamba README @005b498 (Feb 2024 version) (secondary source)"),
        ("vmamba", "T", "224", "MzeroMiko/VMamba README @005b498 (Feb 2024 version)"),
        ("localvim", "S", "224", "hunto/LocalMamba README"),
    ],
)  # fmt: skip
def test_a_second_hand_or_inferred_figure_says_so(key: str, variant: str, resolution: str, source: str) -> None:
    found = [row for row in published([key]) if (row.variant, row.resolution) == (variant, resolution)]
    assert found and {row.source for row in found} == {source}


def test_remarks_stand_in_the_list_of_figures() -> None:
    notes = figures_view(published(["arm"])).notes
    assert any("; remark: SEEN (primary); 662M from reviewer text" in note for note in notes)


def test_a_figure_of_a_related_system_stands_in_the_words_of_its_paper() -> None:
    words = {system.order: system.headline_results for system in systems()}
    assert [figure for figure in figures() if figure.order and figure.value not in words[figure.order]] == []
    (nkd,) = published(["nkd"])
    assert nkd.source.endswith("and Customized Soft Labels (2023)") and nkd.setting == "distillation"


def test_rows_come_in_the_order_of_the_keys_and_once() -> None:
    assert [row.key for row in published(["swin", "slws", "coca", "swin"])] == ["swin"] * 3 + ["slws"] * 11 + [
        "coca"
    ] * 3


def test_unknown_is_blank_not_zero() -> None:
    assert published(["slws"])[0].flops_g == ""
    assert published(["slws"])[0].unit == published(["slws"])[0].setting == ""


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        published(["slvs"], "study.yaml:3:1")
    assert error.value.todo == "did you mean 'slws'?" and "vim" in error.value.allowed
    assert error.value.where == "study.yaml:3:1"


def test_filters_pass_what_has_all_of_them_whatever_the_case() -> None:
    found = find_figures(Filters("README", "vim", "imagenet-1k", "TOP1"))
    assert found and all((row.key, row.dataset, row.metric) == ("vim", "ImageNet-1K", "top1") for row in found)
    assert (
        len(find_figures(Filters(dataset="imagenet-1K")))
        > len([row for row in figures() if row.dataset == "ImageNet-1k"])
        > 70
    )
    assert find_figures(Filters()) == list(figures())
    assert find_systems("") == list(systems())
    assert [system.short_name for system in find_systems("VISION OUTLOOKER")] == ["VOLO"]


@pytest.mark.parametrize(
    ("asked", "given", "todo"),
    [
        (Filters(key="slvs"), "--key slvs", "did you mean 'slws'?"),
        (Filters(dataset="imagenet1k"), "--dataset imagenet1k", "did you mean 'ImageNet-1k'?"),
        (Filters(metric="top2"), "--metric top2", "did you mean 'top5'?"),
        (Filters("swinn"), "'swinn'", "did you mean 'Swin'?"),
        (Filters(key="slws", dataset="CIFAR-10"), "--dataset CIFAR-10", "slws references lists all"),
    ],
)
def test_a_filter_that_leaves_nothing_is_one_message_with_the_nearest(asked: Filters, given: str, todo: str) -> None:
    with pytest.raises(UserError) as error:
        find_figures(asked)
    assert (error.value.given, error.value.todo) == (f"no published row of {given}", todo)
    if asked.key == "slws":  # what is allowed is what that key has
        assert error.value.allowed == "ImageNet-1K, ADE20K, COCO"


def test_a_word_that_stands_nowhere_is_told_what_there_is() -> None:
    with pytest.raises(UserError) as error:
        find_figures(Filters("zzz"))
    assert error.value.allowed.split(", ") == list(dict.fromkeys(row.key for row in figures()))
    assert error.value.todo == "slws references lists all"
    with pytest.raises(UserError) as error:
        find_systems("zzz")
    assert "SimCLRv2, Once-for-All" in error.value.allowed and error.value.todo == "slws references --systems lists all"


def test_a_system_that_is_not_listed_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'MaxViT'"):
        find_systems("maxvitt")


def test_every_figure_is_printed_in_every_format() -> None:
    view = figures_view(figures())
    texts = [[one_line(cell.text) for cell in row] for row in view.rows]
    assert [texts[i][3].split()[0] for i in range(len(texts))] == [figure.value for figure in figures()]
    assert [row[1:] for row in csv.reader(io.StringIO(to_csv(view)))][1:] == texts
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(to_markdown(view))
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    assert [list(map(html.unescape, row)) for row in rows if row and "<strong>" not in row[0]] == texts
    drawn, tex = to_html(view), to_latex(view, "x")
    for row in texts:
        assert all(html.escape(text, quote=False) in html.unescape(drawn) or html.escape(text) in drawn for text in row)
        assert all(latex(word) in tex for text in (row[0], row[3]) for word in re.split(r"[ .]", text))


def test_no_figure_is_bold_or_has_runs() -> None:
    for view in (figures_view(figures()),):
        assert not any(cell.bold or cell.second or cell.run_ids for row in view.rows for cell in row)


def test_every_related_system_is_printed_with_what_it_could_be_covered_as() -> None:
    view = systems_view(systems())
    assert [row[0].text for row in view.rows] == [system.short_name for system in systems()]
    for row, system in zip(view.rows, systems(), strict=True):
        assert system.how_it_could_be_covered in row[3].text
    keys = {key for row in view.rows for key in row[4].text.split(", ") if key}
    assert keys == {figure.key for figure in figures() if figure.order}
    assert to_markdown(view) and to_html(view) and to_latex(view, "x") and to_csv(view)


def test_columns_that_no_row_fills_are_left_out_and_sources_are_notes() -> None:
    view = figures_view(published(["volo"]))
    assert [column.name for column in view.columns] == ["variant", "data set", "metric", "value", "source", "setting"]
    assert view.rows[0][3].text == "87.1 %" and view.notes == (
        "[1] VOLO: Vision Outlooker for Visual Recognition (2021)",
    )
    assert [group.title for group in figures_view(published(["swin", "volo"])).groups] == ["swin: Swin", "volo: VOLO"]
    assert set(asdict(published(["volo"])[0])) >= {"setting", "source", "rankable"}
