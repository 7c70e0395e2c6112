"""Our arms beside published rows, and the gap to a row that an arm reproduces."""

from __future__ import annotations

import pytest

from slws_lab.errors import UserError
from slws_lab.reports.references import figures, published
from slws_lab.reports.tables.methods import GROUP, note_mark

STUDY = """
factors: {shuffle.schedule: [none, linear]}
designs: [{grid: [shuffle.schedule]}]
seeds: 3
"""


def value(settings, seed) -> float:
    return 80.0 + seed + 2 * (settings["shuffle.schedule"] == "linear") + [0.0, 0.1, -0.1][seed]


def column(view, name: str) -> list[str]:
    return [row[[c.name for c in view.columns].index(name)].text for row in view.rows]


def test_published_rows_stand_in_grey_below_ours_each_with_its_source(planted) -> None:
    view = planted(STUDY + "report: {references: [vim]}", value).view("methods")
    rows = published(["vim"])
    assert [group.title for group in view.groups] == ["Ours (planted)", GROUP, "Published, of other metrics"]
    theirs = view.rows[2:]
    assert len(theirs) == len(rows) and all(cell.faint and not cell.run_ids for row in theirs for cell in row)
    assert not any(cell.bold or cell.second for row in theirs for cell in row)
    same = [row for row in rows if row.metric == "top1"]
    assert column(view, "value")[2 : 2 + len(same)] == [row.value for row in same]
    assert column(view, "params (M)")[2] == "" == same[0].params_m  # unknown stays blank
    marks = {row[[c.name for c in view.columns].index("value")].mark for row in theirs}
    assert {note.split(" ")[0]: note.split(" ", 1)[1] for note in view.notes if note.split(" ")[0] in marks} == {
        note_mark(i): source for i, source in enumerate(dict.fromkeys(row.source for row in rows))
    }
    assert not view.rows[0][0].faint and view.rows[0][0].run_ids


def test_ours_say_what_they_are(planted) -> None:
    view = planted(STUDY + "report: {references: [vim]}", value).view("methods")
    assert column(view, "variant")[:2] == ["shufflemamba_micro"] * 2 and column(view, "data set")[0] == "digits"
    assert column(view, "value")[:2] == ["81.00 ± 0.95", "83.00 ± 0.95"] and column(view, "metric")[0] == "val/top1 (%)"
    assert "gap (points)" not in [c.name for c in view.columns]


def test_what_else_is_shown_of_ours_is_blank_of_theirs(planted) -> None:
    table = "tables: [{name: t, style: methods, show: [n, flops, delta, verdict, device_hours]}]"
    view = planted(STUDY + f"report: {{references: [vim], {table}}}", value).view("t")
    assert [c.name for c in view.columns] == [
        "method", "variant", "FLOPs (G)", "data set", "resolution", "epochs", "n", "metric", "value", "Δ (points)", "verdict", "device-hours",
    ]  # fmt: skip
    assert column(view, "n")[:3] == ["3", "3", ""] and column(view, "Δ (points)")[:3] == ["–", "+2.00", ""]
    assert column(view, "device-hours")[:3] == ["0.0300", "0.0300", ""] and column(view, "FLOPs (G)")[:2] == [
        "3.00",
        "3.00",
    ]
    assert set(column(view, "verdict")[2:]) == {""}
    assert any(note.startswith("FLOPs of ours") for note in view.notes)


def test_the_gap_is_ours_minus_published_and_has_no_verdict(planted) -> None:
    body = STUDY + "report: {reproduces: [{key: vim, variant: S, system: Vim, arm: {shuffle.schedule: linear}}]}"
    view = planted(body, value).view("methods")
    assert column(view, "gap (points)")[:2] == ["", "+2.50"]  # 83.00 - 80.5
    assert set(column(view, "gap (points)")[2:]) == {""}
    cell = view.rows[1][[c.name for c in view.columns].index("gap (points)")]
    assert len(cell.run_ids) == 3 and not cell.bold
    (note,) = [note for note in view.notes if note.startswith("Gap:")]
    assert (
        note
        == "Gap: our mean minus the published figure; not tested. schedule=linear (digits) reproduces Vim S (ImageNet-1K, 224)."
    )
    assert not any("verdict" in c.name for c in view.columns)


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ("key: vin, variant: S", ["no published figures for 'vin'", "did you mean 'vim'?", "reproduces.0.key"]),
        ("key: vim, variant: Sm", ["'vim' has no published variant 'Sm'", "'Ti'", "reproduces.0.variant"]),
        (
            "key: mamba-reg, variant: L",
            ["published figures of 'mamba-reg' 'L' fit", "84.5", "give `system:`, `dataset:` or `resolution:` too"],
        ),
        ("key: mamba-reg, variant: L, resolution: '225'", ["has resolution '225'", "'224'", "reproduces.0.resolution"]),
        ("key: slws, variant: middle", ["has no published top1", "gflops"]),
    ],
)
def test_a_row_that_is_not_there_or_not_clear_is_refused(planted, entry, parts) -> None:
    made = planted(STUDY + f"report:\n  reproduces: [{{{entry}, arm: {{shuffle.schedule: none}}}}]", value)
    with pytest.raises(UserError) as error:
        made.views()
    assert [part for part in parts if part not in str(error.value)] == []


def test_a_resolution_tells_two_rows_apart(planted) -> None:
    body = (
        STUDY + "report: {reproduces: [{key: mamba-reg, variant: L, resolution: '384', arm: {shuffle.schedule: none}}]}"
    )
    assert column(planted(body, value).view("methods"), "gap (points)")[0] == "−3.50"


def test_of_many_arms_the_baseline_the_best_and_those_that_reproduce_stand_there(planted) -> None:
    body = """
factors: {train.lr: {linspace: [0.001, 0.02, 20]}}
designs: [{grid: [train.lr]}]
seeds: 3
report: {references: [vim], reproduces: [{key: vim, variant: Ti, resolution: '224', arm: {train.lr: 0.003}}]}
"""
    made = planted(
        body,
        lambda s, seed: 80.0 + seed + 100 * s["train.lr"] + [0.0, 0.1, -0.1][(seed + round(1000 * s["train.lr"])) % 3],
    )
    with pytest.raises(UserError, match="published figures of 'vim' 'Ti' fit"):
        made.views()
    made = planted(
        body.replace("variant: Ti, resolution: '224'", "variant: B"), lambda s, seed: 80.0 + 1000 * s["train.lr"] + seed
    )
    view = made.view("methods")
    ours = [row[0].text for row in view.rows[: view.groups[1].row]]
    assert ours == ["baseline", "lr=0.003", "lr=0.02"]
    assert "17 further arms of ours in the table of results." in view.notes


def test_sources_are_lettered() -> None:
    assert [note_mark(i) for i in (0, 25, 26, 51, 52, 701, 702)] == ["a", "z", "aa", "az", "ba", "zz", "aaa"]


def test_an_arm_that_reproduces_two_published_rows_has_a_gap_to_each(planted) -> None:
    arm = "arm: {shuffle.schedule: linear}"
    rows = (
        f"[{{key: vim, variant: S, system: Vim, {arm}}}, {{key: deit-iii-vit, variant: S, resolution: '224', {arm}}}]"
    )
    theirs = [row for row in published(["vim", "deit-iii-vit"]) if row.variant == "S" and row.metric == "top1"]
    vim = next(row for row in theirs if row.system == "Vim" and row.resolution == "224")
    deit = next(row for row in theirs if row.key == "deit-iii-vit" and row.resolution == "224")
    view = planted(STUDY + f"report: {{reproduces: {rows}}}", value).view("methods")
    gaps = [f"{83 - float(row.value):+.2f}".replace("-", "−") for row in (vim, deit)]
    assert gaps[0] != gaps[1] and column(view, "gap (points)")[:2] == ["", "; ".join(gaps)]
    cell = view.rows[1][[c.name for c in view.columns].index("gap (points)")]
    notes = dict(note.split(" ", 1) for note in view.notes)
    assert [notes[mark] for mark in cell.mark.split(", ")] == [vim.source, deit.source]
    (note,) = [note for note in view.notes if note.startswith("Gap:")]
    assert [f", gap {gap}." in note for gap in gaps] == [True, True]


def test_an_arm_that_is_not_shown_has_no_gap(planted) -> None:
    table = "tables: [{name: t, style: methods, where: {shuffle.schedule: none}}]"
    rows = "[{key: vim, variant: S, system: Vim, arm: {shuffle.schedule: linear}}]"
    view = planted(STUDY + f"report: {{reproduces: {rows}, {table}}}", value).view("t")
    assert "gap (points)" not in [c.name for c in view.columns] and not any("Gap" in note for note in view.notes)


def test_no_footnote_of_a_published_row_holds_a_working_note(planted) -> None:
    keys = ", ".join(dict.fromkeys(row.key for row in figures() if not row.order))
    view = planted(STUDY + f"report: {{references: [{keys}]}}", value).view("methods")
    said = " ".join(view.notes)
    assert [word for word in ("SEEN", "INFERRED", "my count", "README/run.sh", "(primary") if word in said] == []
    marks = {cell.mark for row in view.rows for cell in row if cell.mark}
    assert len(marks) == len({note.split(" ", 1)[1] for note in view.notes if note.split(" ")[0] in marks})
    assert "secondary" in said and "inferred" in said
