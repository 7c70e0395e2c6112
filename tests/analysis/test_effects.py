"""Main effects and interactions of planted grids, against statsmodels and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.multitest import multipletests

from slws_lab.analysis import effects
from slws_lab.analysis.statistics import paired, paired_t
from slws_lab.errors import UserError

TWO = """
factors: {train.lr: [0.001, 0.002], train.weight_decay: [0.05, 0.1, 0.2]}
designs: [{grid: [train.lr, train.weight_decay]}]
seeds: 6
"""
THREE = """
factors: {train.lr: [0.001, 0.002], train.weight_decay: [0.05, 0.1], model.drop_path: [0.0, 0.1]}
designs: [{grid: [train.lr, train.weight_decay, model.drop_path]}]
seeds: 5
"""


def noise(settings: dict, seed: int, scale: float = 0.3) -> float:
    return float(np.random.default_rng([seed, *(int(1e6 * level) for level in settings.values())]).normal(0, scale))


def value(settings: dict, seed: int) -> float:
    lr, decay = settings["train.lr"] == 0.002, settings["train.weight_decay"]
    return 90 + lr + 5 * decay - 20 * lr * decay + seed**2 + noise(settings, seed)


def test_estimates_are_those_of_least_squares_with_seeds_as_blocks(plant_by) -> None:
    table = plant_by(TWO, value)
    frame = table.frame().rename(columns={"train.lr": "lr", "train.weight_decay": "decay"}).astype({"seed": int})
    fit = smf.ols("value ~ C(seed) + C(lr, Sum) * C(decay, Sum)", frame).fit().params
    means = smf.ols("value ~ C(seed) + C(lr) * C(decay)", frame).fit().params
    found = {one.name: one.delta for one in effects(table)}
    assert len(found) == 5
    assert found["lr 0.002 - 0.001"] == pytest.approx(-2 * fit["C(lr, Sum)[S.0.001]"])
    sums = [fit["C(decay, Sum)[S.0.05]"], fit["C(decay, Sum)[S.0.1]"]]
    assert found["weight_decay 0.1 - 0.05"] == pytest.approx(sums[1] - sums[0])
    assert found["weight_decay 0.2 - 0.05"] == pytest.approx(-sums[1] - 2 * sums[0])
    for level in ("0.1", "0.2"):
        name = f"(lr 0.002 - 0.001) x (weight_decay {level} - 0.05)"
        assert found[name] == pytest.approx(means[f"C(lr)[T.0.002]:C(decay)[T.{level}]"])


def test_the_interval_is_that_of_the_contrast_within_each_seed(plant_by) -> None:
    table = plant_by(TWO, value)
    wide = table.frame().pivot(index="seed", columns=["train.lr", "train.weight_decay"], values="value")
    contrast = (wide["0.002"]["0.2"] - wide["0.002"]["0.05"]) - (wide["0.001"]["0.2"] - wide["0.001"]["0.05"])
    fit = smf.ols("y ~ 1", pd.DataFrame({"y": contrast})).fit()
    found = effects(table)[-1]
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int().loc["Intercept"]))
    assert found.p == pytest.approx(fit.pvalues["Intercept"])
    adjusted = multipletests([one.p for one in effects(table)], method="holm")[1]
    assert [one.p_adjusted for one in effects(table)] == pytest.approx(list(adjusted))


def test_what_a_seed_shares_cancels(plant_by) -> None:
    plain = effects(plant_by(TWO, value))
    moved = effects(plant_by(TWO, lambda settings, seed: value(settings, seed) + 100 * (-1) ** seed))
    for one, other in zip(plain, moved, strict=True):
        assert (other.delta, other.low, other.high) == pytest.approx((one.delta, one.low, one.high))


def test_an_interaction_is_averaged_over_the_other_factors(plant_by) -> None:
    def shaped(settings: dict, seed: int) -> float:
        a, b, c = (
            settings[name] > low
            for name, low in (("train.lr", 0.001), ("train.weight_decay", 0.05), ("model.drop_path", 0))
        )
        return 80 + 2 * a + 3 * b - c + 4 * a * b + 6 * a * b * c + seed + noise(settings, seed, 1e-3)

    found = {one.factors: one.delta for one in effects(plant_by(THREE, shaped))}
    assert found["train.lr", "train.weight_decay"] == pytest.approx(4 + 3, abs=0.01)
    assert found["train.lr", "model.drop_path"] == pytest.approx(3, abs=0.01)
    assert found[("train.lr",)] == pytest.approx(2 + 2 + 1.5, abs=0.01)
    assert found[("model.drop_path",)] == pytest.approx(-1 + 1.5, abs=0.01)


def test_an_effect_reads_as_a_sentence(plant_by) -> None:
    text = repr(effects(plant_by(TWO, value))[0])
    assert text.startswith("lr 0.002 - 0.001: -1.") and text.endswith("Holm over 5, 6 seeds)")


def test_a_part_of_the_levels_can_be_asked_for(plant_by) -> None:
    found = effects(plant_by(TWO, value), {"train.weight_decay": [0.2, 0.05], "train.lr": [0.001, 0.002]})
    assert found[0].name == "weight_decay 0.05 - 0.2" and len(found) == 3


def test_missing_arms_are_named(plant_by) -> None:
    body = TWO + "exclude: [{train.lr: 0.002, train.weight_decay: 0.2}]"
    with pytest.raises(UserError, match=r"1 of 6 arms is missing: \(lr=0.002, weight_decay=0.2\)"):
        effects(plant_by(body, value))


def test_arms_without_enough_common_seeds_are_named(plant_by) -> None:
    def failing(settings: dict, seed: int) -> float | str:
        return "failed" if settings["train.weight_decay"] == 0.2 and seed > 1 else value(settings, seed)

    with pytest.raises(UserError, match=r"all 6 arms finished, not 2; finished: \(lr=0.001, weight_decay=0.2\) 2 of 6"):
        effects(plant_by(TWO, failing))


def test_a_factor_that_is_off_leaves_the_grid_open_and_its_levels_can_be_left_out(plant_by) -> None:
    body = """
factors:
  shuffle.schedule: [none, linear, constant]
  shuffle.max_rate: {levels: [0.3, 0.6], when: {shuffle.schedule: [linear, constant]}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 3
"""
    table = plant_by(
        body, lambda settings, seed: seed + len(repr(settings)) + seed * settings.get("shuffle.max_rate", 0)
    )
    with pytest.raises(UserError, match=r"\(schedule=none, max_rate=0.3\)"):
        effects(table)
    assert len(effects(table, {"shuffle.schedule": ["linear", "constant"], "shuffle.max_rate": [0.3, 0.6]})) == 3


def test_only_a_grid_block_has_effects(plant_by) -> None:
    with pytest.raises(UserError, match="block 0 of study planted is no grid"):
        effects(plant_by(TWO.replace("grid", "one_at_a_time"), value))


def test_many_effects_tested_at_once_are_those_tested_one_by_one() -> None:
    draw = np.random.default_rng(3)
    values, reference = draw.normal(90, 1, (5, 4)), draw.normal(89, 1, (5, 4))
    values[:, 2] = reference[:, 2] + 1.0  # no spread: no test
    for i, found in enumerate(paired_t(values, reference, 0.1)):
        alone = paired(values[:, i], reference[:, i], 0.1)
        assert (found.n, found.spread) == (alone.n, alone.spread) == (5, i != 2)
        assert found.delta == pytest.approx(alone.delta)
        assert ((found.low, found.high, found.p) == (None, None, None)) == (i == 2)
        assert i == 2 or (found.low, found.high, found.p) == pytest.approx((alone.low, alone.high, alone.p), rel=1e-12)


def test_a_grid_of_one_cell_has_no_effects(plant_by) -> None:
    assert effects(plant_by(TWO, value), {"train.lr": [0.002], "train.weight_decay": [0.1]}) == ()
