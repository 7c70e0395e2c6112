"""Contrasts: each arm against its reference, paired by seed, corrected within the declared family, with a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import MIN_PAIRS, Paired, holm, paired, smallest_signflip_p
from slws_lab.spec import Comparisons, Design

VERDICTS = ("helps", "hurts", "equivalent", "inconclusive", "withheld")


@dataclass(frozen=True)
class Contrast:
    """An arm against its reference.

    Attributes:
        arm_id: Id of the arm.
        reference: Id of the arm it is compared to.
        blocks: The blocks of the design in which this comparison stands.
        seeds: The seeds at which both finished: the pairs.
        delta: Mean of arm - reference over the pairs, in the metric's unit; None without pairs.
        low: Lower end of the paired t interval of this contrast alone; None where there is no test.
        high: Upper end.
        p: Two-sided p of the paired t test, not adjusted; None under 3 pairs or without spread.
        p_adjusted: The same, Holm-adjusted within the family.
        p_signflip: Two-sided p of the exact sign-flip test, not adjusted.
        effect: Mean of the deltas over their standard deviation.
        p_equivalence_adjusted: Holm-adjusted p of the two one-sided tests; None also without a margin.
        verdict: One of `VERDICTS`.
        below_margin: Whether a difference was found, but its whole interval lies within the margin.
        reason: Why there is no clearer verdict; empty where the numbers say it.
        notes: What else a reader must know.
    """

    arm_id: str
    reference: str
    blocks: tuple[int, ...]
    seeds: tuple[int, ...]
    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    p_signflip: float | None
    effect: float | None
    p_equivalence_adjusted: float | None
    verdict: str
    below_margin: bool = False
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.seeds)


@dataclass(frozen=True)
class _Hypothesis:
    arm_id: str
    reference: str
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class _Adjusted:
    """One hypothesis of a family, tested."""

    seeds: tuple[int, ...]
    test: Paired
    p: float | None
    p_equivalence: float | None


@lru_cache(maxsize=4)  # a report asks for them in many places, and each of statsmodels' corrections collects garbage
def contrasts(table: ResultTable) -> tuple[Contrast, ...]:
    """Return the contrasts of a study in the order of its arms.

    With family `all` a pair of arms that several blocks compare is one hypothesis; with `block` it is one in each.
    """
    found: list[Contrast] = []
    for family in _families(table.design, table.study.comparisons.family):
        adjusted = _test(table, family)
        found += [_judge(table, h, a) for h, a in zip(family, adjusted, strict=True)]
    order = [arm.id for arm in table.design.arms]
    return tuple(sorted(found, key=lambda contrast: (order.index(contrast.arm_id), contrast.blocks)))


def _families(design: Design, family: str) -> list[list[_Hypothesis]]:
    """Return the hypotheses that are corrected together: one list, or one a block."""
    blocks: dict[tuple[str, str], list[int]] = {}
    for arm in design.arms:
        for role in arm.roles:
            if role.reference is not None:
                blocks.setdefault((arm.id, role.reference), []).append(role.block)
    if family == "all":
        return [[_Hypothesis(*pair, tuple(sorted(found))) for pair, found in blocks.items()]]
    numbers = sorted({number for found in blocks.values() for number in found})
    return [[_Hypothesis(*pair, (n,)) for pair, found in blocks.items() if n in found] for n in numbers]


def _test(table: ResultTable, family: list[_Hypothesis]) -> list[_Adjusted]:
    tested = [_pairs(table, hypothesis) for hypothesis in family]
    p = _holm([test.p for _, test in tested])
    p_equivalence = _holm([test.p_equivalence for _, test in tested])
    return [_Adjusted(*pair, p[i], p_equivalence[i]) for i, pair in enumerate(tested)]


def _pairs(table: ResultTable, hypothesis: _Hypothesis) -> tuple[tuple[int, ...], Paired]:
    both = table.values[[hypothesis.arm_id, hypothesis.reference]].dropna()
    rules = table.study.comparisons
    arm, reference = both.to_numpy().T
    return tuple(map(int, both.index)), paired(arm, reference, rules.alpha, rules.margin)


def _holm(p_values: list[float | None]) -> list[float | None]:
    """Adjust those that there are; a hypothesis without a test is not in the family."""
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(adjusted) for p in p_values]


def _judge(table: ResultTable, hypothesis: _Hypothesis, found: _Adjusted) -> Contrast:
    verdict, reason = _verdict(table, hypothesis, found)
    test, rules = found.test, table.study.comparisons
    return Contrast(
        hypothesis.arm_id, hypothesis.reference, hypothesis.blocks, found.seeds, test.delta, test.low, test.high,
        p=test.p, p_adjusted=found.p, p_signflip=test.p_signflip, effect=test.effect,
        p_equivalence_adjusted=found.p_equivalence, verdict=verdict,
        below_margin=verdict in ("helps", "hurts") and _within(test, rules),
        reason=reason, notes=_signflip_note(test, rules),
    )  # fmt: skip


def _verdict(table: ResultTable, hypothesis: _Hypothesis, found: _Adjusted) -> tuple[str, str]:
    rules, test = table.study.comparisons, found.test
    if test.n < MIN_PAIRS:
        return "withheld", f"{test.n} {'pair' if test.n == 1 else 'pairs'}, {MIN_PAIRS} are needed"
    if found.p is None or test.delta is None:
        return "inconclusive", "every pair differs by the same amount, so there is no spread to test against"
    if found.p < rules.alpha:
        better = (test.delta > 0) == (table.study.metric.goal == "maximize")
        more = _diverged(table, hypothesis.arm_id) - _diverged(table, hypothesis.reference)
        if better and more > 0:
            runs = f"{more} more {'run' if more == 1 else 'runs'}"
            return "inconclusive", f"better where it finished, but it diverged in {runs} than its reference"
        return ("helps" if better else "hurts"), ""
    if found.p_equivalence is not None and found.p_equivalence < rules.alpha:
        return "equivalent", ""
    return "inconclusive", ""


def _diverged(table: ResultTable, arm_id: str) -> int:
    return sum(record.status == "diverged" for record in table.arm_records(arm_id))


def _within(test: Paired, rules: Comparisons) -> bool:
    if rules.margin is None or test.low is None or test.high is None:
        return False
    return -rules.margin <= test.low and test.high <= rules.margin


def _signflip_note(test: Paired, rules: Comparisons) -> tuple[str, ...]:
    smallest = smallest_signflip_p(test.n)
    if test.p is None or smallest <= rules.alpha:
        return ()
    return (f"sign-flip cannot reach {rules.alpha:g} with {test.n} pairs: its smallest p is {smallest:.3g}",)
