"""Which arms are set bold, the best mean and what cannot be told from it, and which is second; none where most share the best place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import MIN_PAIRS, ROUNDING, Array, has_spread, holm

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Best:
    """The arms that share the best place.

    Attributes:
        arms: Ids of the best arm and of those not separable from it.
        judged: How many arms had enough runs to be judged.
        following: Id of the best of the other arms that were judged; empty if there is none.
    """

    arms: tuple[str, ...]
    judged: int
    following: str = ""

    @property
    def bold(self) -> tuple[str, ...]:
        """The arms to set bold: none if more than half share the best place."""
        return () if 2 * len(self.arms) > self.judged else self.arms

    @property
    def second(self) -> str:
        """The arm to underline: the best beside the bold ones; empty where none is bold."""
        return self.following if self.bold else ""


@lru_cache(maxsize=4)  # every table asks for it
def best(table: ResultTable) -> Best:
    """Return the arms with the best mean or not separable from it: paired t, Holm over the best against the rest.

    An arm with fewer than 3 runs, or fewer than 3 pairs with the best, is not judged. One that differs from the best by the same
    amount at every seed is told from it.
    """
    values, alpha = table.values, table.study.comparisons.alpha
    enough = values.loc[:, values.notna().sum() >= MIN_PAIRS]
    common = enough.dropna()  # means over unequal seeds would compare the seeds
    means = (common if len(common) >= MIN_PAIRS else enough).mean()
    if means.empty:
        return Best((), 0)
    top = str(means.idxmax() if table.study.metric.goal == "maximize" else means.idxmin())
    tests = _tests(values.loc[values[top].notna()], top, [str(arm_id) for arm_id in means.index.drop(top)])
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    tied = {top, *(arm_id for arm_id in tests if adjusted[arm_id] >= alpha)}
    tied_in_order = tuple(arm.id for arm in table.design.arms if arm.id in tied)
    others = means[[arm_id for arm_id in means.index if arm_id in tests and arm_id not in tied]]
    if others.empty:
        return Best(tied_in_order, 1 + len(tests))
    following = others.idxmax() if table.study.metric.goal == "maximize" else others.idxmin()
    return Best(tied_in_order, 1 + len(tests), str(following))


def _tests(values: pd.DataFrame, top: str, others: list[str]) -> dict[str, float]:
    """Return p of the paired t test of the best arm against each other with 3 pairs, those with the same seeds at once."""
    from scipy.stats import ttest_rel

    present = values.notna()
    groups: dict[bytes, list[str]] = {}
    for arm_id in others:
        groups.setdefault(present[arm_id].to_numpy().tobytes(), []).append(arm_id)
    found: dict[str, float] = {}
    for arms in groups.values():
        common = values.loc[present[arms[0]]]
        if len(common) >= MIN_PAIRS:
            best_values = common[top].to_numpy()
            tested = [arm_id for arm_id in arms if has_spread(common[arm_id].to_numpy(), best_values)]
            p_values = ttest_rel(common[tested].to_numpy(), best_values[:, None], axis=0).pvalue if tested else ()
            found |= {arm_id: _without_spread(common[arm_id].to_numpy(), best_values) for arm_id in arms}
            found |= dict(zip(tested, map(float, p_values), strict=True))
    return {arm_id: found[arm_id] for arm_id in others if arm_id in found}


def _without_spread(values: Array, best_values: Array) -> float:
    """Return the limit of p where all pairs differ by the same amount: 1 where that is rounding, else 0."""
    size = max(abs(values).max(), abs(best_values).max())
    return 1.0 if abs(values - best_values).max() <= ROUNDING * size else 0.0
