"""Two arms side by side: the contrast that the study tests, whichever way round, or the plain paired difference where it tests none."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from slws_lab.analysis import Contrast, ResultTable, contrasts
from slws_lab.analysis.families import Hypothesis, pairs
from slws_lab.analysis.statistics import paired
from slws_lab.reports import looks

TURNED = {"helps": "hurts", "hurts": "helps"}
MARKS = {"helps": "*", "hurts": "*", "equivalent": "="}


def difference(table: ResultTable, arm_id: str, reference: str) -> Contrast:
    """Return how an arm differs from another; one that the study does not test has no verdict and no adjusted p."""
    known = _known(table)
    if (arm_id, reference) in known:
        return known[arm_id, reference]
    if (reference, arm_id) in known:
        return turned(known[reference, arm_id])
    seeds, values, others = pairs(table, Hypothesis(arm_id, reference, ()), table.design.seeds)
    alpha = table.study.comparisons.alpha
    test = paired(values, others, alpha)
    return Contrast(
        arm_id, reference, (), seeds, test.delta, test.low, test.high, p=test.p, p_adjusted=None, p_signflip=test.p_signflip,
        effect=test.effect, p_equivalence_adjusted=None, verdict="", level=alpha,
    )  # fmt: skip


def first_contrasts(table: ResultTable) -> dict[str, Contrast]:
    """Return for each arm that is compared with another its first contrast, in its own direction."""
    roles = ((arm.id, role.reference) for arm in table.design.arms for role in arm.roles if role.reference)
    found: dict[str, Contrast] = {}
    for arm_id, reference in roles:
        if arm_id not in found:
            found[arm_id] = difference(table, arm_id, reference)
    return found


def turned(contrast: Contrast) -> Contrast:
    """Return the same comparison the other way round."""
    return replace(
        contrast, arm_id=contrast.reference, reference=contrast.arm_id, names=(contrast.names[1], contrast.names[0]),
        delta=_minus(contrast.delta), low=_minus(contrast.high), high=_minus(contrast.low), effect=_minus(contrast.effect),
        verdict=TURNED.get(contrast.verdict, contrast.verdict),
    )  # fmt: skip


def verdict_mark(contrast: Contrast) -> str:
    """Return the mark of a verdict that is final: `*` of a difference, `=` of equivalence, nothing else."""
    return "" if looks.is_open(contrast) else MARKS.get(contrast.verdict, "")


@lru_cache(maxsize=4)
def _known(table: ResultTable) -> dict[tuple[str, str], Contrast]:
    found: dict[tuple[str, str], Contrast] = {}
    for contrast in contrasts(table):
        found.setdefault((contrast.arm_id, contrast.reference), contrast)
    return found


def _minus(value: float | None) -> float | None:
    return None if value is None else 0.0 - value
