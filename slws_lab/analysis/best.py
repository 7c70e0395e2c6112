"""Which arms are set bold: the best mean and what cannot be told from it; none where that is most of them."""

from __future__ import annotations

from dataclasses import dataclass

from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import MIN_PAIRS, holm, paired


@dataclass(frozen=True)
class Best:
    """The arms that share the best place.

    Attributes:
        arms: Ids of the best arm and of those not separable from it.
        judged: How many arms had enough runs to be judged.
    """

    arms: tuple[str, ...]
    judged: int

    @property
    def bold(self) -> tuple[str, ...]:
        """The arms to set bold: none if more than half share the best place."""
        return () if 2 * len(self.arms) > self.judged else self.arms


def best(table: ResultTable) -> Best:
    """Return the arms with the best mean or not separable from it: paired t, Holm over the best against the rest.

    An arm with fewer than 3 runs, or fewer than 3 pairs with the best, is not judged.
    """
    values, alpha = table.values, table.study.comparisons.alpha
    enough = values.loc[:, values.notna().sum() >= MIN_PAIRS]
    common = enough.dropna()  # means over unequal seeds would compare the seeds
    means = (common if len(common) >= MIN_PAIRS else enough).mean()
    if means.empty:
        return Best((), 0)
    top = str(means.idxmax() if table.study.metric.goal == "maximize" else means.idxmin())
    tests = {}
    for arm_id in means.index.drop(top):
        pair = values[[top, arm_id]].dropna().to_numpy().T
        tests[str(arm_id)] = paired(pair[0], pair[1], alpha)
    judged = {arm_id: test for arm_id, test in tests.items() if test.n >= MIN_PAIRS}
    p_values = {arm_id: test.p for arm_id, test in judged.items() if test.p is not None}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    tied = {top, *(arm_id for arm_id in judged if adjusted.get(arm_id, 1.0) >= alpha)}
    return Best(tuple(arm.id for arm in table.design.arms if arm.id in tied), 1 + len(judged))
