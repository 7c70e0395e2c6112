"""Every verdict and every reason, planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from slws_lab.analysis import contrasts
from slws_lab.spec import Role

NOISE = [0.9, -1.3, 0.4, 1.1, -0.7, 0.2]
WOBBLE = [0.02, -0.03, 0.01, 0.03, -0.02, -0.01]
BASE = [90 + noise for noise in NOISE]


def shifted(by: float, scale: float = 1.0) -> list[float]:
    """Return the baseline's values, same noise, shifted by an amount that hardly wobbles."""
    return [value + by + scale * wobble for value, wobble in zip(BASE, WOBBLE, strict=True)]


def only(table):
    (contrast,) = contrasts(table)
    return contrast


def test_noise_shared_by_the_seeds_cancels(plant) -> None:
    contrast = only(plant(BASE, shifted(0.1)))
    assert contrast.verdict == "helps"
    assert contrast.delta == pytest.approx(0.1)
    assert stats.ttest_ind(shifted(0.1), BASE).pvalue > 0.8  # without pairs nothing would be seen


def test_hurts_below_zero(plant) -> None:
    assert only(plant(BASE, shifted(-0.1))).verdict == "hurts"


def test_a_loss_helps_below_zero(plant) -> None:
    loss = "metric: {name: val/loss, goal: minimize}"
    assert only(plant(BASE, shifted(-0.1), more=loss)).verdict == "helps"
    assert only(plant(BASE, shifted(0.1), more=loss)).verdict == "hurts"


def test_below_margin_is_said_of_a_small_effect_only(plant) -> None:
    margin = "comparisons: {margin: 0.2}"
    small, large = contrasts(plant(BASE, shifted(0.1), shifted(0.3), more=margin))
    assert (small.verdict, small.below_margin) == ("helps", True)
    assert (large.verdict, large.below_margin) == ("helps", False)


def test_equivalent_needs_a_margin(plant) -> None:
    arms = (BASE, shifted(0.002))
    assert only(plant(*arms, more="comparisons: {margin: 0.2}")).verdict == "equivalent"
    without = only(plant(*arms))
    assert (without.verdict, without.p_equivalence_adjusted) == ("inconclusive", None)


def test_inconclusive_when_nothing_can_be_said(plant) -> None:
    contrast = only(plant(BASE, shifted(0.1, scale=20), more="comparisons: {margin: 0.2}"))
    assert (contrast.verdict, contrast.reason) == ("inconclusive", "")


def test_withheld_under_three_pairs_and_not_in_the_family(plant) -> None:
    few = [*shifted(0.5)[:2], "failed", None, "diverged", "failed"]
    withheld, other = contrasts(plant(BASE, few, shifted(0.1)))
    assert (withheld.verdict, withheld.n, withheld.reason) == ("withheld", 2, "2 pairs, 3 are needed")
    assert withheld.delta is not None and withheld.p_adjusted is None and withheld.low is None
    assert other.p_adjusted == other.p


def test_the_same_difference_at_every_seed_is_no_evidence(plant) -> None:
    constant, same, other = contrasts(plant(BASE, [v + 0.5 for v in BASE], BASE, shifted(0.1)))
    for contrast in (constant, same):
        assert contrast.verdict == "inconclusive" and contrast.p is None and "no spread" in contrast.reason
    assert other.p_adjusted == other.p


def test_pairs_are_the_seeds_that_both_finished(plant) -> None:
    base, arm = ["failed", *BASE[1:]], [*shifted(0.1)[:5], "diverged"]
    contrast = only(plant(base, arm))
    assert contrast.seeds == (1, 2, 3, 4)
    assert contrast.p == pytest.approx(stats.ttest_rel(arm[1:5], base[1:5]).pvalue)


def test_an_arm_that_diverges_more_often_cannot_help(plant) -> None:
    arm = [*shifted(0.5)[:5], "diverged"]
    contrast = only(plant(BASE, arm))
    assert contrast.p_adjusted < 0.05
    assert contrast.verdict == "inconclusive" and "1 more run than" in contrast.reason
    as_often = [*BASE[:5], "diverged"]
    assert only(plant(as_often, arm)).verdict == "helps"
    assert only(plant(BASE, [*shifted(-0.5)[:5], "diverged"])).verdict == "hurts"


def test_holm_over_the_family_as_statsmodels_has_it(plant) -> None:
    arms = [shifted(0.02), shifted(0.05, 3), shifted(-0.02, 2), shifted(0.3, 9)]
    found = contrasts(plant(BASE, *arms, more="comparisons: {margin: 0.1}"))
    p = [stats.ttest_rel(arm, BASE).pvalue for arm in arms]
    p_equivalence = [ttost_paired(np.array(arm), np.array(BASE), -0.1, 0.1)[0] for arm in arms]
    assert [c.p for c in found] == pytest.approx(p)
    assert [c.p_adjusted for c in found] == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert [c.p_equivalence_adjusted for c in found] == pytest.approx(
        list(multipletests(p_equivalence, method="holm")[1])
    )
    assert any(c.p < 0.05 <= c.p_adjusted for c in found)  # the correction matters here


def test_benjamini_hochberg_by_choice(plant) -> None:
    arms = [shifted(0.028), shifted(0.06, 2), shifted(0.1, 3), shifted(0.3, 9)]
    found = contrasts(plant(BASE, *arms, more="comparisons: {margin: 0.1, correction: bh}"))
    assert [c.p_adjusted for c in found] == pytest.approx(list(multipletests([c.p for c in found], method="fdr_bh")[1]))
    strict = contrasts(plant(BASE, *arms, more="comparisons: {margin: 0.1}"))
    assert sum(c.verdict == "helps" for c in found) > sum(c.verdict == "helps" for c in strict)
    assert {c.correction for c in found} == {"bh"} and {c.family for c in found} == {4}


TWICE = "[{one_at_a_time: [train.lr]}, {grid: [train.lr]}]"


def test_a_pair_in_two_blocks_is_one_hypothesis_of_all(plant) -> None:
    once = contrasts(plant(BASE, shifted(0.02), shifted(0.05, 3)))
    twice = contrasts(plant(BASE, shifted(0.02), shifted(0.05, 3), designs=TWICE))
    assert [c.blocks for c in twice] == [(0, 1), (0, 1)]
    assert [c.p_adjusted for c in twice] == [c.p_adjusted for c in once]


@pytest.mark.parametrize("family", ["all", "block"])
def test_a_comparison_and_its_mirror_image_pay_once_in_family_all(plant, family: str) -> None:
    table = plant(BASE, shifted(0.02), shifted(0.05, 3), more=f"comparisons: {{family: {family}}}")
    once, (base, *others) = contrasts(table), table.design.arms
    turned = replace(base, roles=(*base.roles, Role(1, "variant", others[0].id)))
    found = contrasts(replace(table, design=replace(table.design, arms=(turned, *others))))
    if family == "all":
        assert [(c.arm_id, c.reference) for c in found] == [(arm.id, base.id) for arm in others]
        assert [c.p_adjusted for c in found] == [c.p_adjusted for c in once]
        assert found[0].blocks == (0, 1)
    else:
        assert next((c.arm_id, c.reference) for c in found) == (base.id, others[0].id)
        assert len(found) == 3


def test_a_pair_in_two_blocks_is_tested_in_each_family_block(plant) -> None:
    by_block = "comparisons: {family: block}"
    designs = "[{grid: [train.lr]}, {list: [{train.lr: 0.002}]}]"
    found = contrasts(plant(BASE, shifted(0.02), shifted(0.05, 3), designs=designs, more=by_block))
    assert [(c.blocks, c.arm_id == found[0].arm_id) for c in found] == [((0,), True), ((1,), True), ((0,), False)]
    assert found[1].p_adjusted == found[1].p < found[0].p_adjusted


def test_a_contrast_names_its_own_reference(plant) -> None:
    table = plant(BASE, shifted(0.1), shifted(0.3))
    base, first, second = table.design.arms
    steps = (base, first, replace(second, roles=(Role(0, "variant", first.id),)))
    found = contrasts(replace(table, design=replace(table.design, arms=steps)))
    assert [c.reference for c in found] == [base.id, first.id]
    assert found[1].delta == pytest.approx(0.2)


@pytest.mark.parametrize(("pairs", "noted"), [(5, True), (6, False)])
def test_signflip_says_when_it_cannot_reach_alpha(plant, pairs: int, noted: bool) -> None:
    contrast = only(plant(BASE[:pairs], shifted(0.1)[:pairs]))
    assert contrast.p_signflip == pytest.approx(2 / 2**pairs)
    assert bool(contrast.notes) == noted
