"""The drawn figures: which there are, readable at a column's width, nothing cut or overlapping, the same bytes in another process."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from slws_lab.analysis import ResultTable
from slws_lab.reports.figures import data as figure_data
from slws_lab.reports.figures import style
from slws_lab.reports.figures.arms import effects
from slws_lab.reports.figures.draw import draw
from slws_lab.reports.figures.style import Drawn, broken, styled

GRID = """
factors: {shuffle.max_rate: [0.3, 0.1, 0.5], train.smoothing: [0.0, 0.1]}
designs: [{grid: [shuffle.max_rate, train.smoothing]}]
seeds: 3
comparisons: {margin: 0.5}
"""
EVERY = ["effects", "accuracy", "doses", "interaction", "heat_map", "training", "shuffle", "cost"]
RATES = (0.3626, 0.3726, 0.3826, 0.3926)
LONG = "designs:\n- list:\n  - {}\n" + "\n".join(
    f"  - {{shuffle.schedule: linear, shuffle.max_rate: {rate}, model.drop_path: 0.1271, train.weight_decay: 0.03981}}"
    for rate in RATES
)
DESIGNS = {
    "grid": GRID,
    "long names": f"{LONG}\nseeds: 3\nmetric: {{name: val/top1, weights: ema, at: best}}\n",
    "one at a time, small is good": """
factors:
  train.lr: {logspace: [2e-3, 3.2e-2, 5]}
  train.epochs: {range: [5, 15, 5]}
  shuffle.max_rate: {linspace: [0.1, 0.7, 4]}
  train.weight_decay: [0.05, 0.0, 0.2]
baseline: {train.lr: 8e-3, train.epochs: 10, shuffle.max_rate: 0.3}
designs: [{one_at_a_time: [train.lr, train.weight_decay, train.epochs, shuffle.max_rate]}]
seeds: 3
metric: {name: val/loss, goal: minimize}
""",
    "over time, three factors, two sizes": """
factors:
  shuffle.over_time: [constant, ramp_up, ramp_down]
  model.name: [shufflemamba_micro, shufflemamba_tiny]
  train.lr: [0.001, 0.008, 0.03]
designs: [{grid: [shuffle.over_time, model.name, train.lr]}]
seeds: 3
""",
    "blocks": """
factors: {model.drop_path: [0.0, 0.1, 0.2], shuffle.max_rate: [0.1, 0.3, 0.5]}
designs:
  - {name: together, zip: [model.drop_path, shuffle.max_rate]}
  - {name: a-block-with-a-name-of-its-own-that-is-long, one_at_a_time: [shuffle.max_rate]}
  - {pairwise: [model.drop_path, shuffle.max_rate], control: equal_mean_constant}
seeds: 3
comparisons: {family: block}
""",
    "many arms": f"""
factors: {{train.weight_decay: {[i / 100 for i in range(8)]}, model.drop_path: {[i / 50 for i in range(5)]}}}
designs: [{{grid: [train.weight_decay, model.drop_path]}}]
seeds: 2
""",
}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ResultTable], dict[str, tuple[Drawn, Figure]]]]:
    """Give a function that draws a table without writing files, and gives the figures as they are laid out."""

    def laid_out(table: ResultTable) -> dict[str, tuple[Drawn, Figure]]:
        kept: list[Figure] = []

        def keep(figure: Figure, kind: str) -> bytes:
            if kind == "png":
                figure.draw_without_rendering()
                kept.append(figure)
            return b""

        monkeypatch.setattr(style, "_bytes", keep)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn = draw(table)
        return {one.name: (one, figure) for one, figure in zip(drawn, kept, strict=True)}

    with style.styled():  # what is measured may be made anew
        yield laid_out


def texts(figure: Figure) -> list[Text]:
    """Return the texts that are drawn; of ticks only those within the ends of their axis."""
    axis = [one for axes in figure.axes for one in (axes.xaxis, axes.yaxis)]
    ticks = {
        id(text) for one in axis for tick in (*one.majorTicks, *one.minorTicks) for text in (tick.label1, tick.label2)
    }
    others = [text for text in figure.findobj(Text) if id(text) not in ticks]
    shown = [text for axes in figure.axes for side in "xy" for text in ticked(axes, side)]
    return [text for text in (*others, *shown) if text.get_visible() and text.get_text().strip()]


def ticked(axes: Axes, side: str) -> list[Text]:
    """Return the tick labels of one side that are drawn."""
    low, high = sorted(getattr(axes, f"get_{side}lim")())
    labels = getattr(axes, f"get_{side}ticklabels")()
    return [text for text in labels if text.get_text() and low <= text.get_position()["xy".index(side)] <= high]


@pytest.mark.parametrize("design", DESIGNS)
def test_texts_are_readable_within_the_figure_and_apart(whole, figures, design: str) -> None:
    for name, (_, figure) in figures(whole(DESIGNS[design])).items():
        assert figure.get_figwidth() in (3.5, 7.0) and figure.get_figheight() < 9.7, name
        edge = figure.bbox.padded(1)
        for text in texts(figure):
            assert text.get_fontsize() >= 6, (name, text)
            box = text.get_window_extent()
            assert edge.x0 <= box.x0 and box.x1 <= edge.x1 and edge.y0 <= box.y0 and box.y1 <= edge.y1, (name, text)
        for axes in figure.axes:
            for side in "xy":
                level = [text for text in ticked(axes, side) if not text.get_rotation()]
                boxes = [text.get_window_extent() for text in level]
                assert not any(one.overlaps(other) for one, other in pairwise(boxes)), (
                    name,
                    [t.get_text() for t in level],
                )
            assert axes.get_label() == "<colorbar>" or axes.get_position().width * figure.get_figwidth() > 1.3, name
            if axes.get_legend() is not None:
                assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1 - 1, name
        if name in ("accuracy", "effects"):
            rows = [text.get_window_extent() for text in figure.axes[0].texts]
            assert len(rows) >= 4 and not any(one.overlaps(other) for one, other in combinations(rows, 2)), name
        for legend in figure.legends:
            assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in figure.axes), name


def test_labels_over_rows_keep_off_their_bars_and_the_data_behind_them(whole, figures) -> None:
    drawn = figures(whole(GRID))
    for name in ("accuracy", "effects"):
        axes = drawn[name][1].axes[0]
        point = axes.figure.dpi / 72
        for label in axes.texts:
            bar = axes.transData.transform((0, label.xy[1]))[1]
            assert label.get_window_extent().y0 > bar + 4.5 * point and label.get_path_effects(), (name, label)


def test_the_design_says_which_figures_there_are(whole, figures) -> None:
    assert list(figures(whole(GRID))) == EVERY
    single = whole("designs: [{list: [{}]}]\nseeds: 2\nset: {shuffle.schedule: none}")
    assert list(figures(single)) == ["accuracy", "training"]
    steps = whole("factors: {model.drop_path: [0.0, 0.1]}\ndesigns: [{build_up: [model.drop_path]}]\nseeds: 2")
    assert list(figures(steps)) == ["effects", "accuracy", "training", "shuffle", "cost"]


def test_before_the_first_result_figures_say_so(plant, figures) -> None:
    drawn = [one for one, _ in figures(plant(GRID, lambda settings, seed: None)).values()]
    assert {one.name: one.empty for one in drawn} == dict.fromkeys(
        ["effects", "accuracy", "heat_map", "training", "shuffle"], True
    )
    assert all(len(one.csv.splitlines()) == 1 for one in drawn if one.name != "heat_map")


def test_the_same_table_gives_the_same_undated_bytes_in_another_process(whole, tmp_path: Path) -> None:
    table = whole(GRID)
    drawn = draw(table)
    assert [one.name for one in drawn] == EVERY
    for one in drawn:
        assert one.png.startswith(b"\x89PNG") and one.pdf.startswith(b"%PDF") and b"<svg" in one.svg[:700]
        assert b"CreationDate" not in one.pdf and b"dc:date" not in one.svg and b"/FontFile2" in one.pdf
        assert b"/Type3" not in one.pdf, "publishers refuse Type 3 fonts"
        assert len(pd.read_csv(io.BytesIO(one.csv))) and one.alt.startswith(one.title) and re.search(r"\d", one.alt)
    bare = replace(table, records={run: replace(one, curves={}, kept=one.digest) for run, one in table.records.items()})
    (tmp_path / "table.pickle").write_bytes(pickle.dumps((bare, figure_data.training_curves(table))))
    code = (
        "import pickle, sys; from pathlib import Path; from slws_lab.reports.figures.draw import draw\n"
        "table, curves = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "Path(sys.argv[2]).write_bytes(pickle.dumps(draw(table, curves)))"
    )
    clean = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1"}
    command = [sys.executable, "-c", code, str(tmp_path / "table.pickle"), str(tmp_path / "drawn.pickle")]
    subprocess.run(command, env=os.environ | clean, check=True)
    assert pickle.loads((tmp_path / "drawn.pickle").read_bytes()) == drawn


def test_alt_texts_say_what_there_is_to_see(plant, figures) -> None:
    body = "factors: {model.drop_path: [0.0, 0.1, 0.2]}\ndesigns: [{grid: [model.drop_path]}]\nseeds: 4\ncomparisons: {margin: 0.5}"
    rise = {0.0: 0, 0.1: 3, 0.2: -1}
    table = plant(body, lambda s, seed: 80 + seed + rise[s["model.drop_path"]] * (1 + seed / 50))
    said = {name: one.alt for name, (one, _) in figures(table).items()}
    assert "Of 2 contrasts: 1 helps, 1 hurts." in said["effects"]
    assert "The largest is drop_path=0.1 against baseline, +3.09 points." in said["effects"]
    assert (
        "The best mean is that of drop_path=0.1 (84.59), the worst that of drop_path=0.2 (80.47)." in said["accuracy"]
    )
    assert "drop_path: best at 0.0" in said["doses"]


def test_the_alt_text_of_effects_counts_verdicts_in_words_that_fit_their_number(plant) -> None:
    body = "factors: {model.drop_path: [0.0, 0.1, 0.2, 0.3]}\ndesigns: [{grid: [model.drop_path]}]\nseeds: 4"
    rise = {0.0: 0, 0.1: 3, 0.2: 2, 0.3: -1}
    table = plant(body, lambda s, seed: 80 + seed + rise[s["model.drop_path"]] * (1 + seed / 50))
    with styled():
        said = effects(table).alt
    assert "Of 3 contrasts: 2 help, 1 hurts." in said


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("schedule=linear, max_rate=0.5", ["schedule=linear, max_rate=0.5"]),
        ("schedule=linear, max_rate=0.3626, drop_path=0.1271, weight_decay=0.03981",
         ["schedule=linear, max_rate=0.3626,", "drop_path=0.1271, weight_decay=0.03981"]),
        ("policy=a b c d e f g, " + "x" * 50, ["policy=a b c d e f g, " + "x" * 18, "x" * 32]),
        ("one level of several words, another level of them", ["one level of several words,", "another level of them"]),
    ],
)  # fmt: skip
def test_a_long_name_is_broken_behind_its_commas(name: str, lines: list[str]) -> None:
    assert broken(name).split("\n") == lines


def test_dollars_and_control_characters_are_no_formulas() -> None:
    assert style.fitting("a$x_1$\x1b[31m b") == r"a\$x_1\$[31m b"
