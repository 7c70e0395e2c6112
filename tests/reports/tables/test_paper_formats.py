"""Every style of table in every format, and with seeds spent as needed."""

from __future__ import annotations

import csv
import io

import pytest

from slws_lab.reports.formats import to_csv, to_html, to_latex, to_markdown

STUDY = """
factors:
  model.name: [shufflemamba_micro, shufflemamba_tiny]
  shuffle.schedule: [none, linear]
  train.smoothing: [0.0, 0.1]
designs: [{grid: [model.name, shuffle.schedule, train.smoothing]}, {leave_one_out: [shuffle.schedule, train.smoothing]}]
seeds: 3
report:
  references: [vim]
  tables:
    - {name: plain, show: [n, delta, interval, verdict, p, params, flops, device_hours, images_per_s, peak_memory]}
    - {name: checks, style: ablation, groups: model.name}
    - {name: swept, style: sweep, columns: train.smoothing}
    - {name: sizes, style: scaling}
    - {name: others, style: methods}
"""


def value(settings, seed):
    if "tiny" in settings["model.name"] and seed == 2:
        return "failed"
    gain = 2 * (settings["shuffle.schedule"] == "linear") + (settings["train.smoothing"] > 0)
    return 80 + seed + gain + [0, 0.1, -0.1][(seed + gain) % 3], {"shuffle_rates": [0.0, 0.5] if gain > 1 else []}


def test_each_style_is_printed_in_each_format(planted) -> None:
    views = planted(STUDY, value).views()
    assert list(views) == ["plain", "checks", "swept", "sizes", "others"]
    for view in views.values():
        text, page, latex = to_markdown(view), to_html(view), to_latex(view, f"slws:x-{view.name}")
        read = list(csv.reader(io.StringIO(to_csv(view))))
        assert len(read) == 1 + len(view.rows)
        for row, printed in zip(view.rows, read[1:], strict=True):
            assert all(any(cell.text in field for field in printed) for cell in row)
            for number in (cell.text.split(" ")[0] for cell in row if "±" in cell.text):
                assert number in text and number in page and number.split(".")[0] in latex


@pytest.mark.parametrize("ends", [3, 5])
def test_seeds_spent_as_needed_tell_their_rule_and_what_intervals_cover(planted, ends) -> None:
    body = """
factors: {train.smoothing: [0.0, 0.1], train.clip_grad: [null, 3.0]}
designs: [{leave_one_out: [train.smoothing, train.clip_grad]}]
seeds: {min: 3, max: 6, until: decided}
"""

    def plan(settings, seed):
        smooth, clipped = settings["train.smoothing"] > 0, settings["train.clip_grad"] is not None
        wobble = [0, 0.1, -0.1, 0.05, -0.05, 0][(seed + smooth + 2 * clipped) % 6]
        return 50 + seed + 30 * smooth + wobble if seed < ends else None

    view = planted(body, plan).view("ablation")
    assert any(note.startswith("Seeds were spent as needed") for note in view.notes)
    assert [row[-1].mark for row in view.rows] == ["", "*", ""]  # decided at the third seed; the other stays open
    assert "Some of these contrasts are not decided yet; they have no mark." in view.notes
    assert any("p below 0.05, adjusted for all looks and by Holm over 2 contrasts" in note for note in view.notes)
