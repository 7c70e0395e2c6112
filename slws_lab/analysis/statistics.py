"""The formulas: pure functions on arrays, by scipy and statsmodels. Pairs, families and verdicts: `contrasts`.

Everywhere `values` and `reference` are float arrays of shape (pairs,), paired by position, without NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# scipy and statsmodels are imported where they are used: they take over a second, which no command but `report` needs.
Array = npt.NDArray[np.float64]

# The corrections for several tests: the study's word -> its name, and what statsmodels calls it.
CORRECTIONS = {"holm": "Holm", "bh": "Benjamini-Hochberg"}
_METHODS = {"holm": "holm", "bh": "fdr_bh"}

MIN_PAIRS = 3
# Sign-flip is exact up to 2^16 flips (16 pairs), beyond that by this many random ones with a fixed generator.
FLIPS = 99_999
# Deltas that differ by less than this share of the values differ by rounding only.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Paired:
    """What pairs say about a difference.

    Attributes:
        n: Number of pairs.
        delta: Mean of values - reference, in the values' unit; None without pairs.
        low: Lower end of the paired t interval; None, as all below, under 3 pairs or without spread.
        high: Upper end.
        p: Two-sided p of the paired t test.
        p_signflip: Two-sided p of the exact sign-flip test.
        effect: Mean of the deltas over their standard deviation (Cohen's d_z).
        p_equivalence: The larger p of the two one-sided tests against the margin; None without a margin.
        spread: Whether the deltas differ by more than rounding.
    """

    n: int
    delta: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_signflip: float | None = None
    effect: float | None = None
    p_equivalence: float | None = None
    spread: bool = True


def paired(values: Array, reference: Array, alpha: float, margin: float | None = None) -> Paired:
    """Compare paired values.

    Args:
        values: Shape (pairs,).
        reference: Shape (pairs,), its partners.
        alpha: The interval covers 1 - alpha.
        margin: Largest difference that does not matter, in the values' unit; None tests no equivalence.
    """
    deltas = values - reference
    n = len(deltas)
    if n == 0:
        return Paired(0, None)
    delta, spread = float(deltas.mean()), has_spread(values, reference)
    if n < MIN_PAIRS or not spread:
        return Paired(n, delta, spread=spread)
    low, high = t_interval(deltas, alpha)
    return Paired(
        n, delta, low, high,
        p=paired_t_p(values, reference),
        p_signflip=signflip_p(deltas),
        effect=delta / float(deltas.std(ddof=1)),
        p_equivalence=None if margin is None else equivalence_p(values, reference, margin),
    )  # fmt: skip


def paired_t(values: Array, reference: Array, alpha: float) -> list[Paired]:
    """Compare many paired values at once, by the t test and its interval alone; at least 3 pairs.

    Args:
        values: Shape (pairs, comparisons).
        reference: The same shape, its partners.
        alpha: Each interval covers 1 - alpha.
    """
    from scipy.stats import ttest_rel

    n, deltas = len(values), (values - reference).mean(axis=0)
    found = [Paired(n, float(delta), spread=False) for delta in deltas]
    tested = [i for i in range(len(deltas)) if has_spread(values[:, i], reference[:, i])]
    if tested:
        test = ttest_rel(values[:, tested], reference[:, tested], axis=0)
        ends = test.confidence_interval(1 - alpha)
        for i, low, high, p in zip(tested, ends.low, ends.high, test.pvalue, strict=True):
            found[i] = Paired(n, float(deltas[i]), float(low), float(high), float(p))
    return found


def has_spread(values: Array, reference: Array) -> bool:
    """Say whether the deltas differ by more than rounding; without spread a t test would divide by zero."""
    size = max(np.abs(values).max(), np.abs(reference).max())
    return bool(np.ptp(values - reference) > ROUNDING * size)


def paired_t_p(values: Array, reference: Array) -> float:
    """Return the two-sided p of the paired t test."""
    from scipy.stats import ttest_rel

    return float(ttest_rel(values, reference).pvalue)


def equivalence_p(values: Array, reference: Array, margin: float) -> float:
    """Return the larger p of the two one-sided paired t tests against -margin and +margin."""
    from statsmodels.stats.weightstats import ttost_paired

    return float(ttost_paired(values, reference, -margin, margin)[0])


def t_interval(values: Array, alpha: float) -> tuple[float, float]:
    """Return the 1 - alpha interval of the mean by Student's t; needs two values."""
    from scipy.stats import sem, t

    half = t.ppf(1 - alpha / 2, len(values) - 1) * sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def signflip_p(deltas: Array) -> float:
    """Return the two-sided p of the sign-flip test of a zero mean: exact up to 16 deltas."""
    from scipy.stats import permutation_test

    done = permutation_test((deltas,), _mean, permutation_type="samples", n_resamples=FLIPS, rng=0)
    return float(done.pvalue)


def smallest_signflip_p(n: int) -> float:
    """Return the smallest two-sided p that the exact sign-flip test can give with n pairs."""
    return 2.0 / 2.0**n


def adjust(p_values: list[float], correction: str) -> list[float]:
    """Return p values adjusted for their number, in the order given.

    Args:
        p_values: The p values of a family.
        correction: `holm` bounds the chance of one false finding or more, `bh` the expected share of false ones.

    Raises:
        ValueError: Another correction.
    """
    if correction not in _METHODS:
        raise ValueError(f"correction {correction!r} is none of {', '.join(_METHODS)}")
    return list(_adjusted(tuple(p_values), correction))


@lru_cache(maxsize=64)  # each call of statsmodels' collects garbage, which takes longer than anything else here
def _adjusted(p_values: tuple[float, ...], correction: str) -> tuple[float, ...]:
    from statsmodels.stats.multitest import multipletests

    if len(p_values) <= 1:
        return p_values
    return tuple(float(p) for p in multipletests(p_values, method=_METHODS[correction])[1])


def adjust_known(p_values: list[float | None], correction: str) -> list[float | None]:
    """Adjust those p values that there are: a hypothesis without a test is not in the family."""
    adjusted = iter(adjust([p for p in p_values if p is not None], correction))
    return [None if p is None else next(adjusted) for p in p_values]


def holm(p_values: list[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down method, in the order given."""
    return adjust(p_values, "holm")


def _mean(deltas: Array, axis: int) -> Array:
    return np.mean(deltas, axis=axis)  # type: ignore[no-any-return]
