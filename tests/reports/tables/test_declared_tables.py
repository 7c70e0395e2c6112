"""The tables that a study asks for: rows, columns, groups, metrics, what is shown, and every style."""

from __future__ import annotations

STUDY = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.6, 0.3], when: {shuffle.schedule: [linear, constant]}}
  train.smoothing: [0.0, 0.1]
designs: [{grid: [shuffle.schedule, shuffle.max_rate, train.smoothing]}]
seeds: 3
comparisons: {margin: 0.5}
report:
  tables:
"""
EVERYTHING = "[n, delta, interval, verdict, p, params, flops, device_hours, images_per_s, peak_memory]"


def value(settings, seed) -> float:
    gain = {"none": 0, "linear": 1, "constant": 2}[settings["shuffle.schedule"]] + 10 * settings.get(
        "shuffle.max_rate", 0
    )
    return 80 + seed + gain + [0.0, 0.1, -0.1][(seed + round(gain)) % 3] + (settings["train.smoothing"] > 0) * 0.25


def asked(planted, table: str, **more):
    return planted(f"{STUDY}    - {{{table}}}\n", value, **more)


def headers(view) -> list[str]:
    return [column.name for column in view.columns]


def test_everything_that_can_be_shown(planted, rows) -> None:
    view = asked(
        planted,
        f"name: all, title: 'All of it', show: {EVERYTHING}, where: {{train.smoothing: 0.0, shuffle.schedule: [none, linear]}}",
    ).view("all")
    assert view.title == "All of it"
    assert headers(view) == [
        "schedule", "max_rate", "params (M)", "FLOPs (G)", "n", "val/top1 (%)", "Δ [95 % interval] (points)", "adjusted p", "verdict",
        "device-hours", "images/s", "peak memory (MB)",
    ]  # fmt: skip
    first, second, _ = rows(view)
    assert first == ["none", "–", "2.00", "3.00", "3", "81.00 ± 0.95", "–", "–", "reference", "0.0300", "110", "52.0"]
    assert second[:6] == ["linear", "0.6", "2.00", "3.00", "3", "88.00 ± 0.95"] and second[8] == "helps"
    assert [column.better for column in view.columns][-4:] == ["", "down", "up", "down"]


def test_only_what_is_asked_for_is_shown(planted, rows) -> None:
    view = asked(planted, "name: bare, show: [], where: {train.smoothing: 0.0}").view("bare")
    assert headers(view) == ["schedule", "max_rate", "val/top1 (%)"]
    assert not any("Δ" in note for note in view.notes)
    without = asked(planted, "name: bare, show: [delta], where: {train.smoothing: 0.0}").view("bare")
    assert headers(without)[-1] == "Δ (points)" and rows(without)[1][-1] == "+7.00"


def test_a_factor_across_and_a_row_for_each_of_the_others(planted, rows) -> None:
    view = asked(planted, "name: t, columns: train.smoothing, show: [delta, interval]").view("t")
    assert headers(view)[:3] == ["schedule", "max_rate", "val/top1 (%)"] and len(view.rows) == 5
    assert [column.over for column in view.columns] == ["", "", *["smoothing 0.0"] * 2, *["smoothing 0.1"] * 2]
    assert [column.merges for column in view.columns][:2] == [True, False]
    assert rows(view)[1] == [
        "linear", "0.6", "88.00 ± 0.95", rows(view)[1][3], "88.25 ± 0.95", rows(view)[1][5],
    ]  # fmt: skip


def test_a_pivot_by_a_factor_that_is_off_in_some_arms(planted, rows) -> None:
    view = asked(
        planted, "name: t, columns: shuffle.max_rate, rows: [shuffle.schedule], where: {train.smoothing: 0.1}"
    ).view("t")
    assert headers(view) == ["schedule", "–", "0.3", "0.6"]
    assert [row[0] for row in rows(view)] == ["none", "linear", "constant"]
    assert rows(view)[2][1:] == ["–", "85.25 ± 0.95", "88.25 ± 0.95"] or rows(view)[2][1] == "–"


def test_groups_by_a_factor_have_a_header_for_each_level(planted, rows) -> None:
    view = asked(planted, "name: t, groups: shuffle.schedule, show: []").view("t")
    assert [(group.row, group.title) for group in view.groups] == [
        (0, "schedule none"),
        (2, "schedule linear"),
        (6, "schedule constant"),
    ]
    assert headers(view) == ["smoothing", "max_rate", "val/top1 (%)"] or headers(view) == [
        "max_rate",
        "smoothing",
        "val/top1 (%)",
    ]


def test_groups_of_ones_own_stand_in_the_order_given_after_what_is_in_none(planted, rows) -> None:
    groups = "[{title: Rising, where: {shuffle.schedule: linear}}, {title: Off, where: {shuffle.schedule: none}}]"
    for style in ("plain", "sweep"):
        view = asked(
            planted, f"name: t, style: {style}, groups: {groups}, where: {{train.smoothing: 0.0}}, show: []"
        ).view("t")
        assert [(group.row, group.title) for group in view.groups] == [(2, "Rising"), (4, "Off")]
        assert [row[0] for row in rows(view)] == ["constant", "constant", "linear", "linear", "none"]
        assert [row[1] for row in rows(view)][:2] == (["0.6", "0.3"] if style == "plain" else ["0.3", "0.6"])


def test_an_ablation_marks_the_switches_and_names_the_other_levels(planted, rows) -> None:
    view = asked(planted, "name: t, style: ablation, where: {shuffle.schedule: [none, linear]}, show: []").view("t")
    found = {tuple(row[:-1]) for row in rows(view)}
    order = headers(view)[:3]
    want = {"schedule": {"none", "linear"}, "smoothing": {"", "✓"}, "max_rate": {"–", "0.3", "0.6"}}
    assert {name: {row[i] for row in found} for i, name in enumerate(order)} == want


def test_metrics_have_arrows_units_and_decimals(planted, rows) -> None:
    metrics = (
        "[val/top1, val/loss, {name: train/images_per_s, title: speed, unit: img/s}, {name: val/loss, weights: raw}]"
    )
    body = f"name: t, metrics: {metrics.replace(', {name: val/loss, weights: raw}', '')}, show: [], where: {{shuffle.schedule: none, train.smoothing: 0.0}}"
    view = asked(planted, body).view("t")
    assert [(c.name, c.better) for c in view.columns[-3:]] == [
        ("val/top1 (%)", "up"),
        ("val/loss", "down"),
        ("speed (img/s)", "up"),
    ]
    assert rows(view)[0][-3:] == ["81.00 ± 0.95", "0.1900 ± 0.0095", "110.0 ± 10.0"]
    assert view.rows[0][-1].run_ids == view.rows[0][-2].run_ids and len(view.rows[0][-1].run_ids) == 3


def test_which_direction_is_better_can_be_said(planted) -> None:
    metrics = "[{name: train/lr, better: down}, {name: train/shuffle_rate}, {name: val/loss, better: none}]"
    view = asked(planted, f"name: t, metrics: {metrics}, show: []").view("t")
    assert [c.better for c in view.columns[-3:]] == ["down", "", ""]


def test_metrics_are_of_the_weights_that_the_study_is_judged_by(planted) -> None:
    body = STUDY.replace("seeds: 3", "seeds: 3\nmetric: {name: val/top1, weights: ema}")
    plain = "    - {name: t, metrics: [val/top1, val/loss, {name: val/loss, weights: raw}, train/loss], show: []}\n"
    view = planted(body + plain, value).view("t")
    assert [c.name for c in view.columns[-4:]] == ["val/top1, EMA (%)", "val/loss, EMA", "val/loss", "train/loss"]


def test_a_table_of_an_automatic_ones_name_or_style_takes_its_place(planted) -> None:
    assert list(asked(planted, "name: other").views()) == ["other", "grid"]
    assert list(asked(planted, "name: grid").views()) == ["grid"]
    assert list(asked(planted, "name: other, style: sweep").views()) == ["other"]


def test_a_size_scaling_of_some_arms(planted, rows) -> None:
    body = """
factors:
  model.name: [shufflemamba_micro, shufflemamba_tiny]
  train.smoothing: [0.0, 0.1, 0.2]
designs: [{grid: [model.name, train.smoothing]}]
seeds: 3
report: {tables: [{name: small, style: scaling, where: {train.smoothing: [0.0, 0.2]}, show: [params, delta]}]}
"""
    made = planted(
        body, lambda s, seed: (80.0 + seed + 10 * s["train.smoothing"], {"params": 10**6 * len(s["model.name"])})
    )
    view = made.view("small")
    assert list(made.views()) == ["small"]
    assert [column.over for column in view.columns] == ["", "", "smoothing 0.0", "smoothing 0.2", "smoothing 0.2"]
    assert rows(view) == [
        ["shufflemamba_tiny", "17.0", "81.00 ± 1.00", "83.00 ± 1.00", "+2.00"], ["shufflemamba_micro", "18.0", "81.00 ± 1.00", "83.00 ± 1.00", "+2.00"],
    ]  # fmt: skip


def test_arms_that_are_compared_with_different_ones_name_them(planted, rows) -> None:
    body = """
factors: {train.smoothing: [0.0, 0.1], train.clip_grad: [null, 3.0]}
designs: [{build_up: [train.smoothing, train.clip_grad]}]
seeds: 3
report: {tables: [{name: steps, show: [delta]}]}
"""
    view = planted(body, lambda s, seed: 80.0 + seed + len(str(s))).view("steps")
    assert headers(view)[-2:] == ["against", "Δ (points)"]
    assert [row[-2] for row in rows(view)] == ["–", "step 0: all off", "smoothing=0.1"]
