"""Seeds as needed: what is decided when, and that it depends on nothing but whole seeds."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from slws_lab.analysis import contrasts, standing
from slws_lab.analysis.boundaries import last_level, overall_error, share
from slws_lab.analysis.statistics import paired
from slws_lab.errors import UserError

NEEDED = "{min: 3, max: 7, until: decided}"
NOISE = [0.9, -1.3, 0.4, 1.1, -0.7, 0.2, -0.4]
WOBBLE = [0.02, -0.03, 0.01, 0.03, -0.02, -0.01, 0.02]
BASE = [90 + noise for noise in NOISE]


def shifted(by: float, scale: float = 1.0) -> list[float]:
    return [value + by + scale * wobble for value, wobble in zip(BASE, WOBBLE, strict=True)]


def cut(values: list, seeds: int) -> list:
    return [*values[:seeds], *[None] * (len(values) - seeds)]


def test_a_clear_contrast_is_decided_early_and_needs_no_more(plant) -> None:
    clear, unclear = shifted(3.0), shifted(0.02, 3)
    table = plant(cut(BASE, 3), cut(clear, 3), cut(unclear, 3), seeds=NEEDED)
    found = standing(table, 3)
    assert found.looked == 3
    assert [c.verdict for c in found.contrasts] == ["helps", "inconclusive"]
    assert [c.look.decided for c in found.contrasts] == [True, False]
    base, _, second = (arm.id for arm in table.design.arms)
    assert found.needed == (base, second)
    assert found.undecided == found.contrasts[1:]
    assert list(found.allotted.values()) == [4, 3, 4]


def test_what_is_decided_stays_so_whatever_comes_later(plant) -> None:
    turned = [*shifted(3.0)[:3], *shifted(-9.0)[3:]]
    now = standing(plant(cut(BASE, 3), cut(turned, 3), cut(shifted(0.02, 3), 3), seeds=NEEDED), 3).contrasts[0]
    later = standing(plant(BASE, turned, shifted(0.02, 3), seeds=NEEDED), 3)
    assert later.looked == 7 and later.contrasts[0] == now
    assert later.contrasts[1].look.seeds == 7


def test_p_and_interval_are_those_of_the_look(plant) -> None:
    arm = shifted(0.06, 3)
    contrast = standing(plant(cut(BASE, 5), cut(arm, 5), seeds=NEEDED), 3).contrasts[0]
    level = last_level(0.05, 3, 7) * share(contrast.look.seeds, 7)
    test = paired(np.array(arm[: contrast.n]), np.array(BASE[: contrast.n]), level)
    assert contrast.level == level < 0.05
    assert (contrast.low, contrast.high, contrast.p) == (test.low, test.high, test.p)
    assert contrast.p_adjusted == pytest.approx(overall_error(test.p / share(contrast.n, 7), 3, 7))
    assert contrast.p_adjusted > contrast.p
    assert f"{100 - float(f'{100 * level:.2g}'):.8g} % interval, look at" in repr(contrast)


def test_a_contrast_alone_is_decided_just_where_its_interval_leaves_zero_out(plant) -> None:
    rng, seen = np.random.default_rng(3), set()
    for _ in range(30):
        arm = list(np.array(BASE) + rng.normal(0.6, 0.5, 7))
        contrast = standing(plant(BASE, arm, seeds=NEEDED), 3).contrasts[0]
        assert contrast.look.decided == (contrast.low > 0 or contrast.high < 0)
        seen.add((contrast.look.decided, contrast.look.seeds == 7))
    assert len(seen) >= 2


def test_holm_over_the_contrasts_at_each_look(plant) -> None:
    arms = [list(np.array(BASE) + np.random.default_rng(i).normal(1.0, 0.3, 7)) for i in range(4)]
    alone = [standing(plant(BASE, arm, seeds=NEEDED), 3).contrasts[0].look.seeds for arm in arms]
    together = [c.look.seeds for c in standing(plant(BASE, *arms, seeds=NEEDED), 3).contrasts]
    assert all(one <= other for one, other in zip(alone, together, strict=True)) and alone != together


def test_equivalence_decides_too(plant) -> None:
    contrast = standing(plant(BASE, shifted(0.002), seeds=NEEDED, more="comparisons: {margin: 1.0}"), 3).contrasts[0]
    assert contrast.verdict == "equivalent" and contrast.look.seeds < 7 and contrast.look.decided


def test_a_contrast_with_a_failed_run_waits_and_spends_nothing_while_the_others_go_on(plant) -> None:
    other = cut(shifted(0.02, 3), 4)
    failed = [shifted(0.03, 3)[0], "failed", *shifted(0.03, 3)[2:3], None, None, None, None]
    found = standing(plant(cut(BASE, 4), failed, other, seeds=NEEDED), 3)
    assert [c.look.seeds for c in found.contrasts] == [0, 4] and found.undecided == found.contrasts[1:]
    assert list(found.allotted.values()) == [5, 3, 5]
    mended = cut(shifted(0.03, 3), 3)
    found = standing(plant(cut(BASE, 4), mended, other, seeds=NEEDED), 3)
    assert list(found.allotted.values()) == [4, 4, 4] and found.looked == 3


def test_a_baseline_that_fails_spends_no_further_seed(plant) -> None:
    found = standing(plant(["failed"] * 3 + [None] * 4, cut(shifted(3.0), 3), seeds=NEEDED), 3)
    assert set(found.allotted.values()) == {3} and found.undecided == ()


def test_an_arm_that_diverged_more_often_is_decided_without_a_verdict(plant) -> None:
    arm = [*shifted(3.0)[:3], "diverged", *shifted(3.0)[4:]]
    late = [*shifted(0.05, 12)[:3], "diverged", *shifted(3.0)[4:]]
    assert standing(plant(BASE, arm, seeds=NEEDED), 3).contrasts[0].verdict == "helps"  # it was decided before
    contrast = standing(plant(BASE, ["diverged", *arm[1:3], *shifted(3.0)[3:]], seeds=NEEDED), 3).contrasts[0]
    assert contrast.verdict == "inconclusive" and "diverged" in contrast.reason and contrast.look.decided
    assert standing(plant(BASE, late, seeds=NEEDED), 3).contrasts[0].verdict != "helps"


def test_nothing_is_said_before_the_first_look(plant) -> None:
    found = standing(plant(cut(BASE, 3), cut(shifted(3.0), 2), seeds=NEEDED), 3)
    (contrast,) = found.contrasts
    assert found.looked == 0 and found.undecided == (contrast,) and len(found.needed) == 2
    assert found.allotted == dict.fromkeys(found.needed, 3)
    assert contrast.verdict == "withheld" and "first look is after 3 whole seeds" in contrast.reason
    assert contrast.p is None and contrast.delta == pytest.approx(np.mean(np.array(shifted(3.0)[:2]) - BASE[:2]))


def test_after_the_last_seed_nothing_is_needed(plant) -> None:
    found = standing(plant(BASE, shifted(0.0, 3), seeds=NEEDED), 3)
    assert found.looked == 7 and found.undecided == () and found.needed == ()
    assert set(found.allotted.values()) == {7}
    assert found.contrasts[0].verdict == "inconclusive"


def spend(table, ended: dict, order: random.Random) -> tuple[set, list]:
    """Run a study as its standing asks, each batch of runs ending in some order; returns the runs and what was said when."""
    hidden = {run_id: replace(record, status="pending", curves={}) for run_id, record in ended.items()}
    done, said, seeds = {}, [], 3
    needed = tuple(arm.id for arm in table.design.arms)
    while needed and seeds <= len(table.design.seeds):
        due = [table.design.run_ids[arm, seed] for arm in needed for seed in table.design.seeds[:seeds]]
        due = [run_id for run_id in due if run_id not in done]
        before = standing(replace(table, records=hidden | done), 3)
        for run_id in order.sample(due, len(due)):
            assert (
                standing(replace(table, records=hidden | done), 3).contrasts == before.contrasts or before.looked == 0
            )
            done[run_id] = ended[run_id]
        now = standing(replace(table, records=hidden | done), 3)
        said.append([repr(contrast) for contrast in now.contrasts])
        needed, seeds = now.needed, seeds + 1
    return set(done), said


def test_the_runs_and_what_is_said_never_depend_on_which_run_ends_first(plant) -> None:
    rng = np.random.default_rng(1)
    arms = [list(np.array(BASE[:5]) + rng.normal(effect, 0.5, 5)) for effect in (0.0, 5.0)]
    table = plant(BASE[:5], *arms, seeds="{min: 3, max: 5}")
    first, other = (spend(table, table.records, random.Random(order)) for order in range(2))
    assert other == first
    assert first[1][-1] == [repr(contrast) for contrast in standing(table, 3).contrasts]  # further runs change nothing
    assert len(first[0]) < len(table.records)  # something was saved


def test_the_contrasts_of_a_study_with_seeds_as_needed_are_its_standing(plant) -> None:
    table = plant(BASE, shifted(3.0), shifted(0.02, 3), seeds=NEEDED)
    assert contrasts(table) == standing(table, 3).contrasts
    assert contrasts(plant(BASE, shifted(3.0)))[0].look is None


def test_another_correction_is_refused(plant) -> None:
    with pytest.raises(UserError, match="Holm's correction, not with bh"):
        plant(BASE, shifted(3.0), seeds=NEEDED, more="comparisons: {correction: bh}")


def test_runs_that_are_not_needed_are_called_so_in_the_records(plant) -> None:
    frame = plant(cut(BASE, 3), cut(shifted(3.0), 3), cut(shifted(0.02, 3), 3), seeds=NEEDED).frame()
    statuses = frame.groupby("arm_id", sort=False)["status"].agg(list).to_list()
    idle = "not needed"
    undecided = ["finished"] * 3 + ["pending"] + [idle] * 3
    assert statuses == [undecided, ["finished"] * 3 + [idle] * 4, undecided]
