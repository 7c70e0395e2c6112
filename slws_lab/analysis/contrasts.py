"""The contrasts of a study: each arm against its reference, paired by seed, corrected within the declared family."""

from __future__ import annotations

from functools import lru_cache

from slws_lab.analysis.contrast import Contrast, Tested, judge
from slws_lab.analysis.families import Hypothesis, arm_names, families, pairs
from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.sequential import standing
from slws_lab.analysis.statistics import adjust_known, paired


@lru_cache(maxsize=4)  # a report asks for them in many places, and each of statsmodels' corrections collects garbage
def contrasts(table: ResultTable) -> tuple[Contrast, ...]:
    """Return the contrasts of a study in the order of its arms, as far as its runs have come.

    With family `all` a pair of arms that several blocks compare is one hypothesis; with `block` it is one in each. Its pairs are of
    the seeds that both arms are asked for. These may be more than its own block's `seeds`, where other blocks ask for more of both:
    the study file says so beforehand, and they are further data about the same question. Where seeds are spent as needed, each
    contrast is as it stood when it was decided, see `standing`.
    """
    rules = table.study.comparisons
    if table.design.first_seeds is not None:
        found = list(standing(table, len(table.design.first_seeds)).contrasts)
    else:
        each = [_test(table, family) for family in families(table.design, rules.family)]
        names = arm_names(table.design)
        found = [judge(table, tested, names) for family in each for tested in family]
    order = [arm.id for arm in table.design.arms]
    return tuple(sorted(found, key=lambda contrast: (order.index(contrast.arm_id), contrast.blocks)))


def _test(table: ResultTable, family: list[Hypothesis]) -> list[Tested]:
    rules = table.study.comparisons
    seen = [pairs(table, hypothesis, table.design.seeds) for hypothesis in family]
    tests = [paired(arm, reference, rules.alpha, rules.margin) for _, arm, reference in seen]
    p = adjust_known([test.p for test in tests], rules.correction)
    p_equivalence = adjust_known([test.p_equivalence for test in tests], rules.correction)
    size = sum(test.p is not None for test in tests)
    return [
        Tested(h, seeds, test, p[i], p_equivalence[i], size, rules.correction, rules.alpha)
        for i, (h, (seeds, _, _), test) in enumerate(zip(family, seen, tests, strict=True))
    ]
