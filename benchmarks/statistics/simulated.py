"""Simulated studies, and the analysis' tests for all of them at once. `__main__` checks that these equal the analysis' own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from slws_lab.analysis.boundaries import last_level, share

Array = npt.NDArray[np.float64]
ALPHA = 0.05
SEEDS = (3, 4, 5, 8, 10)
ARMS = (3, 6, 12)
FIRST, LAST = 3, 10  # looks of the adaptive rule
NOISE = {
    "normal": "normal, the same spread in every arm",
    "unequal": "normal, the spread grows from 0.5 in the baseline to 3 in the last arm",
    "heavy": "Student's t with 3 degrees of freedom",
    "skewed": "normal in the baseline, exponential with the tail downwards in the other arms",
}
EXACT = ("normal", "unequal")  # noise for which the paired t test is exact: the promises are made for these
SHARED = 2.0  # standard deviation of what the arms of a seed share
EFFECT = 3.0  # of every second arm, where some have one; in standard deviations of a run


def deltas(
    rng: np.random.Generator, noise: str, shape: tuple[int, int, int], effects: Array | float = 0.0
) -> tuple[Array, Array]:
    """Return simulated deltas to the baseline, and the values of all arms.

    Args:
        rng: Where draws come from.
        noise: One of `NOISE`.
        shape: Studies, seeds, arms.
        effects: What each arm but the baseline adds, in standard deviations of a run; shape (arms - 1,).

    Returns:
        Shape (studies, seeds, arms - 1), and (studies, seeds, arms), the baseline first.
    """
    studies, seeds, arms = shape
    own = rng.standard_t(3, shape) / np.sqrt(3) if noise == "heavy" else rng.standard_normal(shape)
    if noise == "unequal":
        own *= np.linspace(0.5, 3.0, arms)
    if noise == "skewed":
        own[..., 1:] = 1 - rng.exponential(size=(studies, seeds, arms - 1))
    own[..., 1:] += effects
    values = own + SHARED * rng.standard_normal((studies, seeds, 1))
    return values[..., 1:] - values[..., :1], values


def t_p(d: Array, around: Array | float = 0.0) -> Array:
    """Return the two-sided p of the t test over seeds (the second axis) of a mean `around`."""
    n = d.shape[1]
    return 2 * stdtr(n - 1, -np.abs(d.mean(1) - around) / (d.std(1, ddof=1) / np.sqrt(n)))  # type: ignore[no-any-return]


def equivalence_t_p(d: Array, margin: float) -> Array:
    n = d.shape[1]
    error = d.std(1, ddof=1) / np.sqrt(n)
    return np.maximum(stdtr(n - 1, -(d.mean(1) + margin) / error), stdtr(n - 1, (d.mean(1) - margin) / error))  # type: ignore[no-any-return]


def corrected(p: Array, correction: str) -> Array:
    """Return p values corrected over the last axis."""
    m = p.shape[-1]
    order = np.argsort(p, axis=-1)
    ranked, rank = np.take_along_axis(p, order, -1), np.arange(1, m + 1)
    if correction == "holm":
        stepped = np.maximum.accumulate(ranked * (m - rank + 1), axis=-1)
    else:
        stepped = np.minimum.accumulate((ranked * m / rank)[..., ::-1], axis=-1)[..., ::-1]
    found = np.empty_like(p)
    np.put_along_axis(found, order, np.minimum(stepped, 1.0), -1)
    return found


@dataclass(frozen=True)
class Adaptive:
    """What the adaptive rule found, shape (studies, contrasts).

    Attributes:
        differs: Whether a difference was found.
        equal: Whether equivalence was found.
        seeds: Seeds spent on the contrast.
        covered: Whether its interval holds the true difference.
    """

    differs: npt.NDArray[np.bool_]
    equal: npt.NDArray[np.bool_]
    seeds: npt.NDArray[np.int64]
    covered: npt.NDArray[np.bool_]


def adaptive(
    d: Array, true: Array | float = 0.0, margin: float | None = None, wrong: dict[int, float] | None = None
) -> Adaptive:
    """Look after each seed from FIRST to LAST, Holm over the contrasts, a decided contrast ends.

    Args:
        d: Deltas, shape (studies, LAST, contrasts); NaN where a run is missing.
        true: The true differences, for the coverage.
        margin: Margin of equivalence; None tests none.
        wrong: Levels of the looks to use in place of the rule's, for comparison (a single contrast).
    """
    studies, _, m = d.shape
    levels = np.array([last_level(ALPHA / left, FIRST, LAST) if left else 0.0 for left in range(m + 1)])
    done, differs, equal = (np.zeros((studies, m), bool) for _ in range(3))
    seeds, covered = np.full((studies, m), LAST), np.zeros((studies, m), bool)
    for n in range(FIRST, LAST + 1):
        part = share(n, LAST)
        p, around, p_equal = _tests(d[:, :n], true, margin)
        for hits, tested in ((differs, p), (equal, p_equal)):
            free = np.where(done, np.inf, tested)
            rows = np.arange(studies)
            for column in np.argsort(free, axis=1).T:  # the smallest first; where one fails, so do the larger ones
                level = levels[m - hits.sum(1)] * part if wrong is None else wrong[n]
                hits[rows, column] |= free[rows, column] < level
        ends = (differs | equal | (n == LAST)) & ~done
        seeds[ends], covered[ends] = n, (around >= levels[1] * part)[ends]
        done |= ends
    return Adaptive(differs, equal, seeds, covered)


def _tests(d: Array, true: Array | float, margin: float | None) -> tuple[Array, Array, Array]:
    """Return p of no difference, of the true one, and of equivalence; of the seeds that are there."""
    known = (~np.isnan(d)).sum(1)
    enough = known >= 3
    n = np.maximum(known, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # contrasts with fewer than two pairs, masked below
        mean, error = np.nanmean(d, 1), np.nanstd(d, 1, ddof=1) / np.sqrt(n)
        p, around = (np.where(enough, 2 * stdtr(n - 1, -np.abs(mean - at) / error), 1.0) for at in (0.0, true))
        sides = (
            [stdtr(n - 1, (sign * mean - margin) / error) for sign in (-1, 1)] if margin is not None else [np.ones(1)]
        )
    return p, around, np.where(enough, np.maximum.reduce(sides), 1.0)
