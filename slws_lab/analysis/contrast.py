"""A contrast: an arm against its reference, as numbers and as a verdict that reads like a sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass

from slws_lab.analysis.families import Hypothesis
from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import CORRECTIONS, MIN_PAIRS, Paired, smallest_signflip_p

VERDICTS = ("helps", "hurts", "equivalent", "inconclusive", "withheld")


@dataclass(frozen=True)
class Look:
    """At which look a study with seeds as needed judged a contrast.

    Attributes:
        seeds: How many whole seeds it saw; 0 before the first look.
        first: How many the first look has.
        last: How many the last look has.
        decided: Whether it ended there: no further seed is spent on it, and later ones do not change it.
    """

    seeds: int
    first: int
    last: int
    decided: bool


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
        p_adjusted: The same, corrected within the family (and for all looks, where there is a `look`).
        p_signflip: Two-sided p of the exact sign-flip test, not adjusted.
        effect: Mean of the deltas over their standard deviation.
        p_equivalence_adjusted: p of the two one-sided tests, corrected likewise; None also without a margin.
        verdict: One of `VERDICTS`.
        below_margin: Whether a difference was found, but its whole interval lies within the margin.
        reason: Why there is no clearer verdict; empty where the numbers say it.
        notes: What else a reader must know.
        names: The arm and its reference as one speaks of them.
        correction: `holm` or `bh`.
        family: How many contrasts are corrected together.
        level: The interval covers 1 - level; below alpha where there is a `look`.
        look: At which look it was judged; None in a study whose seeds are given.
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
    names: tuple[str, str] = ("", "")
    correction: str = "holm"
    family: int = 1
    level: float = 0.05
    look: Look | None = None

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.seeds)

    def __repr__(self) -> str:
        arm, reference = (
            name or arm_id for name, arm_id in zip(self.names, (self.arm_id, self.reference), strict=True)
        )
        below = " (below margin)" if self.below_margin else ""
        why = f": {self.reason}" if self.reason else ""
        facts = (
            [f"p {self.p_adjusted:.2g}", f"{CORRECTIONS[self.correction]} over {self.family}"]
            if self.p_adjusted is not None
            else []
        )
        facts.append(f"{self.n} {'pair' if self.n == 1 else 'pairs'}")
        if self.look is not None:
            facts.append(
                f"{100 - float(f'{100 * self.level:.2g}'):.8g} % interval, look at {self.look.seeds} of at most {self.look.last} seeds"
            )
        return f"{arm} - {reference}: {sized(self.delta, self.low, self.high)}, {self.verdict}{below}{why} ({', '.join(facts)})"


@dataclass(frozen=True)
class Tested:
    """A hypothesis with its tests, ready for a verdict.

    Attributes:
        hypothesis: What is tested.
        seeds: The seeds of its pairs.
        test: The paired test.
        p: The p of a difference, corrected; None without a test.
        p_equivalence: The p of equivalence, corrected; None without a test or a margin.
        family: How many hypotheses are corrected together.
        correction: `holm` or `bh`.
        level: The interval of `test` covers 1 - level.
        look: At which look; None in a study whose seeds are given.
    """

    hypothesis: Hypothesis
    seeds: tuple[int, ...]
    test: Paired
    p: float | None
    p_equivalence: float | None
    family: int
    correction: str
    level: float
    look: Look | None = None


def judge(table: ResultTable, tested: Tested, names: dict[str, str]) -> Contrast:
    """Return the contrast of a tested hypothesis.

    Args:
        table: The results.
        tested: The hypothesis with its corrected p values.
        names: Arm id -> what to call the arm.
    """
    verdict, reason = _verdict(table, tested)
    h, test = tested.hypothesis, tested.test
    return Contrast(
        h.arm_id, h.reference, h.blocks, tested.seeds, test.delta, test.low, test.high,
        p=test.p, p_adjusted=tested.p, p_signflip=test.p_signflip, effect=test.effect,
        p_equivalence_adjusted=tested.p_equivalence, verdict=verdict,
        below_margin=verdict in ("helps", "hurts") and _within(test, table.study.comparisons.margin),
        reason=reason, notes=_signflip_note(test, table.study.comparisons.alpha),
        names=(names[h.arm_id], names[h.reference]), correction=tested.correction, family=tested.family,
        level=tested.level, look=tested.look,
    )  # fmt: skip


def sized(delta: float | None, low: float | None, high: float | None) -> str:
    """Print a difference with its interval, to two digits of the interval's half width: `+1.20 [+0.31, +2.09]`."""
    if delta is None:
        return "no pair"
    scale = (high - low) / 2 if low is not None and high is not None else abs(delta)
    places = max(0, 1 - math.floor(math.log10(scale))) if scale > 0 else 2
    ends = "" if low is None or high is None else f" [{low:+.{places}f}, {high:+.{places}f}]"
    return f"{delta:+.{places}f}{ends}"


def _verdict(table: ResultTable, tested: Tested) -> tuple[str, str]:
    alpha, test = table.study.comparisons.alpha, tested.test
    if too_early := _too_early(tested):
        return "withheld", too_early
    if tested.p is None or test.delta is None:
        return "inconclusive", "every pair differs by the same amount, so there is no spread to test against"
    if tested.p < alpha:
        better = (test.delta > 0) == (table.study.metric.goal == "maximize")
        diverged = _more_diverged(table, tested) if better else ""
        return ("inconclusive", diverged) if diverged else ("helps" if better else "hurts", "")
    equivalent = tested.p_equivalence is not None and tested.p_equivalence < alpha
    return ("equivalent" if equivalent else "inconclusive"), ""


def _too_early(tested: Tested) -> str:
    """Say why there are too few seeds for a verdict; nothing if there are enough."""
    if tested.look is not None and not tested.look.seeds:
        return f"the first look is after {tested.look.first} whole seeds"
    n = tested.test.n
    return f"{n} {'pair' if n == 1 else 'pairs'}, {MIN_PAIRS} are needed" if n < MIN_PAIRS else ""


def _more_diverged(table: ResultTable, tested: Tested) -> str:
    """Say that an arm diverged more often than its reference, of the seeds that both are asked for; nothing if it did not."""
    h = tested.hypothesis
    within = tested.look.seeds if tested.look else len(table.design.seeds_of(h.arm_id, h.reference))
    more = _diverged(table, h.arm_id, within) - _diverged(table, h.reference, within)
    runs = f"{more} more {'run' if more == 1 else 'runs'}"
    return f"better where it finished, but it diverged in {runs} than its reference" if more > 0 else ""


def _diverged(table: ResultTable, arm_id: str, within: int) -> int:
    """Count the runs that diverged, of the first few seeds."""
    return sum(record.status == "diverged" for record in table.arm_records(arm_id)[:within])


def _within(test: Paired, margin: float | None) -> bool:
    if margin is None or test.low is None or test.high is None:
        return False
    return -margin <= test.low and test.high <= margin


def _signflip_note(test: Paired, alpha: float) -> tuple[str, ...]:
    smallest = smallest_signflip_p(test.n)
    if test.p is None or smallest <= alpha:
        return ()
    return (f"sign-flip cannot reach {alpha:g} with {test.n} pairs: its smallest p is {smallest:.3g}",)
