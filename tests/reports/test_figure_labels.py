"""Labels in figures: what is long is broken into lines, and no figure is squeezed by it."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from slws_lab.reports.figures import draw as figures

RATES = (0.3626, 0.3726, 0.3826, 0.3926)
ARMS = "\n".join(
    f"  - {{shuffle.schedule: linear, shuffle.max_rate: {rate}, model.drop_path: 0.1271, train.weight_decay: 0.03981}}"
    for rate in RATES
)
LONG = f"designs:\n- list:\n  - {{}}\n{ARMS}\nseeds: 3\n"


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
    assert figures.broken(name).split("\n") == lines


def test_a_figure_with_long_labels_keeps_its_width_and_cuts_none(plant, monkeypatch: pytest.MonkeyPatch) -> None:
    table = plant(LONG, lambda settings, seed: 80.0 + seed)
    records = {run: replace(one, result={**one.result, "shuffle_rates": [0.0, 0.3]}) for run, one in table.records.items()}  # fmt: skip
    drawn: dict[str, Figure] = {}
    original = figures.drawn

    def kept(figure: Figure, panels, name: str, *rest, **more) -> figures.Drawn:
        drawn[name] = figure
        return original(figure, panels, name, *rest, **more)

    monkeypatch.setattr(figures, "drawn", kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.draw(replace(table, records=records))
    for name, figure in drawn.items():
        texts = [*figure.axes[0].texts, *(text for legend in figure.legends for text in legend.texts)]
        assert len(texts) == 1 + len(RATES), name
        for text in texts:
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0, (name, text)
        assert figure.axes[0].get_position().width > (0.8 if len(figure.axes) == 1 else 0.35), name
