"""The tables as views: their words, their numbers, their runs."""

from __future__ import annotations

from dataclasses import replace

from slws_lab.analysis import contrasts, estimates
from slws_lab.reports import TableView, contrasts_view, main_view, wording
from slws_lab.spec import Metric, Role

GRID = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.5, 0.1], when: {shuffle.schedule: [linear, constant]}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 4
"""
LOSS = GRID + "metric: {name: val/loss, goal: minimize, at: best}\ncomparisons: {alpha: 0.01}\n"


def column(view: TableView, name: str) -> list[str]:
    (i,) = [i for i, c in enumerate(view.columns) if c.name == name]
    return [row[i].text for row in view.rows]


def notes(view: TableView) -> str:
    return "\n".join(view.notes)


def test_a_row_an_arm_with_its_levels_in_design_order(project) -> None:
    view = main_view(project().table)
    assert [c.name for c in view.columns] == [
        "schedule", "max_rate", "n", "val/top1 (%), mean ± sd", "Δ [95 % interval] (points)", "adjusted p", "verdict",
    ]  # fmt: skip
    assert column(view, "schedule") == ["none", "linear", "linear", "constant", "constant"]
    assert column(view, "max_rate") == ["–", "0.5", "0.1", "0.5", "0.1"]
    assert column(view, "verdict")[0] == "baseline" and column(view, "adjusted p")[0] == "–"


def test_numbers_are_those_of_the_analysis(project) -> None:
    table = project().table
    view, first, second = main_view(table), estimates(table)[0], contrasts(table)[1]
    assert column(view, "val/top1 (%), mean ± sd")[0] == f"{first.mean:.2f} ± {first.sd:.2f}"
    expected = f"{second.delta:+.2f} [{second.low:+.2f}, {second.high:+.2f}]"
    assert column(view, "Δ [95 % interval] (points)")[2] == expected
    assert column(view, "verdict")[1:] == [c.verdict for c in contrasts(table)] == ["helps"] * 4


def test_a_loss_has_four_decimals_and_no_unit(project) -> None:
    view = main_view(project(body=LOSS).table)
    assert column(view, "val/loss, best epoch, mean ± sd")[0].count(".") == 2
    assert len(column(view, "val/loss, best epoch, mean ± sd")[0].split(" ")[0].split(".")[1]) == 4
    assert "Δ [99 % interval]" in [c.name for c in view.columns]
    assert "best epoch" in notes(view) and "below zero is better" in notes(view)
    assert [c.name for c in view.columns if c.better == "down"] == ["val/loss, best epoch, mean ± sd"]


def test_every_cell_of_ours_knows_its_runs(project) -> None:
    table = project(lambda i, seed: "failed" if (i, seed) == (1, 2) else "finished").table
    view = main_view(table)
    base, arm = table.design.arms[:2]
    ids = table.design.run_ids
    cells = dict(zip([c.name for c in view.columns], view.rows[1], strict=True))
    assert cells["n"].run_ids == tuple(ids[arm.id, seed] for seed in range(4))
    assert cells["failed"].run_ids == (ids[arm.id, 2],)
    assert cells["val/top1 (%), mean ± sd"].run_ids == tuple(ids[arm.id, seed] for seed in (0, 1, 3))
    pairs = tuple(ids[one.id, seed] for one in (arm, base) for seed in (0, 1, 3))
    assert cells["verdict"].run_ids == cells["adjusted p"].run_ids == pairs


def test_what_is_missing_is_flagged_and_counted(project) -> None:
    ends = {(1, 0): "failed", (2, 0): "diverged", (2, 1): "diverged", (3, 3): None}
    view = main_view(project(lambda i, seed: ends.get((i, seed), "finished")).table)
    assert column(view, "n") == ["4", "3 of 4", "2 of 4", "3 of 4", "4"]
    assert column(view, "failed") == ["0", "1", "0", "0", "0"]
    assert column(view, "diverged") == ["0", "0", "2", "0", "0"]
    assert "1 run of 20 not finished yet" in notes(view)
    assert "Withheld (schedule=linear, max_rate=0.1): 2 pairs, 3 are needed." in view.notes


def test_where_an_arm_is_compared_twice_a_note_says_with_what(plant) -> None:
    body = "factors: {shuffle.schedule: [none, linear], shuffle.max_rate: {levels: [0.5], when: {shuffle.schedule: linear}}}\n"
    body += "designs: [{grid: [shuffle.schedule], control: equal_mean_constant}]\nseeds: 4"
    few = {"linear": 2}
    table = plant(body, lambda s, seed: 50.0 + seed if seed < few.get(s["shuffle.schedule"], 4) else None)
    arm = "schedule=linear, max_rate=0.5"
    pair = f"{arm} against baseline; {arm} against schedule=constant, max_rate=0.25"
    assert f"Withheld ({pair}): 2 pairs, 3 are needed." in main_view(table).notes


def test_bold_is_the_best(project) -> None:
    view = main_view(project().table)
    bold = [[cell.text for cell in row if cell.bold] for row in view.rows]
    assert bold == [[], [], [], [], [view.rows[4][3].text]]
    assert "Bold: the best mean" in notes(view)


def test_notes_say_what_the_numbers_are(project) -> None:
    margin = "metric: {name: val/top1, weights: ema}\ncomparisons: {margin: 0.3}"
    said = notes(main_view(project(body=f"{GRID}\n{margin}").table))
    parts = (
        "moving average (EMA), at the last epoch", "validation split", "paired t interval of this contrast alone",
        "Holm within all contrasts (4 tested)", "±0.3 points", "sign-flip cannot reach 0.05 with 4",
    )  # fmt: skip
    for part in parts:
        assert part in said
    assert "declares no margin" in notes(main_view(project().table))


def test_a_family_a_block_shows_the_block(project) -> None:
    twice = GRID.replace("designs: [", "designs: [{one_at_a_time: [shuffle.schedule]}, ")
    view = main_view(project(body=f"{twice}\ncomparisons: {{family: block}}").table)
    assert column(view, "block") == ["–", "1", "2", "1", "2", "2", "2"]
    assert "within each block (2 and 4 tested)" in notes(view)


def test_references_are_named_where_they_differ(project) -> None:
    table = project().table
    base, first, second, *_ = table.design.arms
    steps = replace(table.design, arms=(base, first, replace(second, roles=(Role(0, "variant", first.id),))))
    assert column(main_view(replace(table, design=steps)), "against") == [
        "–",
        "baseline",
        "schedule=linear, max_rate=0.5",
    ]


def test_an_undeclared_difference_is_marked_in_its_row_and_named_below(project) -> None:
    table = project().table
    base, odd, *_ = table.design.arms
    run_id = table.design.run_ids[odd.id, 2]
    record = table.records[run_id]
    changed = replace(record, result={**record.result, "device": "NVIDIA A100", "params": 9_999_999})
    view = main_view(replace(table, records={**table.records, run_id: changed}))
    assert column(view, "undeclared") == ["–", "device", "–", "–", "–"]
    assert view.rows[1][-1].run_ids == (run_id, table.design.run_ids[base.id, 2])
    (note,) = [note for note in view.notes if "does not declare" in note]
    assert note.startswith("† schedule=linear, max_rate=0.5 against baseline: ")
    assert [[c.text for c in row if c.mark == "†"] for row in view.rows] == [[], [view.rows[1][4].text], [], [], []]
    assert note.endswith("device: NVIDIA A100 against cpu (seed 2).")
    full = contrasts_view(replace(table, records={**table.records, run_id: changed}))
    assert column(full, "undeclared") == ["device", "–", "–", "–"] and note in full.notes
    assert full.rows[0][-1].run_ids == view.rows[1][-1].run_ids
    assert [[full.columns[i].name for i, c in enumerate(row) if c.mark] for row in full.rows] == [["Δ"], [], [], []]


def test_what_follows_from_the_factors_is_no_undeclared_difference(project) -> None:
    view = main_view(project().table)
    assert "undeclared" not in [c.name for c in view.columns]
    assert "does not declare" not in notes(view)


def test_many_undeclared_fields_are_counted_in_the_row_and_all_named_below(project) -> None:
    table = project().table
    odd = table.design.run_ids[table.design.arms[1].id, 0]
    made = {"device": "gpu", "threads": 2, "scan_backend": "triton", "epochs": 2}
    changed = replace(table.records[odd], result={**table.records[odd].result, **made})
    view = main_view(replace(table, records={**table.records, odd: changed}))
    assert column(view, "undeclared")[1].endswith(", and 1 more")
    for text in (
        "device: gpu against cpu",
        "threads: 2 against 1",
        "scan back-end: triton against",
        "epochs: 2 against 3",
    ):
        assert text in notes(view)


def test_a_comparison_without_a_row_is_named_with_its_mirror_image(project) -> None:
    table = project().table
    base, first, *others = table.design.arms
    turned = replace(base, roles=(*base.roles, Role(1, "variant", first.id)))
    view = main_view(replace(table, design=replace(table.design, arms=(turned, first, *others))))
    assert len(view.rows) == 5 and "(4 tested)" in notes(view)
    assert "with the sign turned, tested once." in notes(view)
    assert "sign turned" not in notes(main_view(table))


def test_contrasts_in_full(project) -> None:
    table = project().table
    view, first = contrasts_view(table), contrasts(table)[0]
    assert len(view.rows) == 4
    assert column(view, "d")[0] == f"{first.effect:+.2f}"
    assert column(view, "p, sign-flip")[0] == "0.1250"
    assert column(view, "adjusted p")[0] == column(main_view(table), "adjusted p")[1]
    assert "undeclared" not in [c.name for c in view.columns]


def test_p_values_have_four_decimals_wherever_they_stand() -> None:
    assert [wording.p_value(p) for p in (0.774, 0.125, 0.0496, 0.00004, 1.0, None)] == [
        "0.7740", "0.1250", "0.0496", "< 0.0001", "1.0000", "–",
    ]  # fmt: skip


def test_one_point_is_no_points(project) -> None:
    said = notes(main_view(project(body=GRID + "comparisons: {margin: 1}").table))
    assert "against ±1 point pass" in said and "1 points" not in said
    assert [wording.sized(size, Metric()) for size in (1, 1.0, 0.5, 2)] == [
        "1 point",
        "1 point",
        "0.5 points",
        "2 points",
    ]
    assert wording.sized(1, Metric(name="val/loss", goal="minimize")) == "1"


def test_factors_that_change_together_are_named_below_the_table(project) -> None:
    body = "factors: {train.lr: [0.001, 0.002], train.eps: [1.0e-8, 1.0e-7]}\ndesigns: [{zip: [train.lr, train.eps]}]\nseeds: 3"
    note = "lr and eps change together over these arms: their effects cannot be told apart."
    assert note in main_view(project(body=body).table).notes
    assert note not in main_view(project(body=body.replace("zip", "grid")).table).notes
