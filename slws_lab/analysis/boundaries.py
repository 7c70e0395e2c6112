"""Looking again after every seed: how small p must be at each look, so that the error over all looks is the one declared.

A rule looks at a contrast after each seed from `first` to `last`, and rejects where the p of the paired t test is at most
`level * share(seeds)`. Levels grow with the square of the seeds: little is spent on early looks, where only a huge effect shows.

The error is exact, not simulated. Of n normal differences of mean zero only the direction matters, a uniform point on a sphere.
Its u = |sum| / root of the sum of squares gives the t statistic, and the next u depends on u and on one t-distributed number that is
independent of all before: so u is a Markov chain, whose law is carried from look to look on cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from slws_lab.analysis.statistics import MIN_PAIRS, Array

CELLS = 64  # with more of them the error moves by 0.3 % of itself
TINY = 1e-12  # below this p values are not told apart
KNOTS = 37  # levels at which the error is computed, from TINY to 1; interpolated between them, to 0.5 % of itself


def share(seeds: int, last: int) -> float:
    """Return how large the level of a look is, as a share of the last one's."""
    return (seeds / last) ** 2


def overall_error(level: float, first: int, last: int) -> float:
    """Return the chance that p is at most `level * share` at any look, where there is no difference.

    Args:
        level: Level of the last look.
        first: Seeds at the first look, at least 3.
        last: Seeds at the last look, not below `first`.
    """
    return float(np.exp(_curve(first, last)(np.log(min(max(level, TINY), 1.0)))))


@lru_cache(maxsize=256)
def last_level(alpha: float, first: int, last: int) -> float:
    """Return the level of the last look at which the overall error is alpha; that of a look is this times its `share`."""
    from scipy.optimize import brentq

    log_alpha, curve = np.log(alpha), _curve(first, last)
    return float(np.exp(brentq(lambda log_level: curve(log_level) - log_alpha, np.log(TINY), 0.0)))


@lru_cache(maxsize=16)
def _curve(first: int, last: int) -> Callable[[float], float]:
    """Return the logarithm of the overall error as a function of the logarithm of the level."""
    from scipy.interpolate import PchipInterpolator

    if not MIN_PAIRS <= first <= last:
        raise ValueError(f"looks lie between {MIN_PAIRS} seeds and the last, not from {first} to {last}")
    levels = np.geomspace(TINY, 1.0, KNOTS)
    return PchipInterpolator(np.log(levels), np.log([exact_error(x, first, last) for x in levels]))  # type: ignore[no-any-return]


def exact_error(level: float, first: int, last: int) -> float:
    """Return the same as `overall_error`, computed for this level and not interpolated."""
    from scipy.special import ndtr, ndtri

    error, mass, middle = 0.0, None, np.empty(0)
    for n in range(first, last + 1):
        end = -ndtri(level * share(n, last) / 2)
        p = 2 * ndtr(-np.linspace(0.0, end, 2 * CELLS + 1))  # cells alike on the normal scale: edges at even places
        beyond = p[::2] if mass is None else mass @ _beyond(middle[:, None], _reach(p[::2], n)[None, :], n - 1)
        error += float(beyond[-1])
        mass, middle = -np.diff(beyond), _reach(p[1::2], n)
    return error


def _reach(p: Array, n: int) -> Array:
    """Return the u of n differences at which the two-sided p of their t test is `p`."""
    from scipy.special import stdtrit

    t = -stdtrit(n - 1, p / 2)
    return np.sqrt(n) * t / np.hypot(t, np.sqrt(n - 1))  # type: ignore[no-any-return]


def _beyond(u: Array, v: Array, n: int) -> Array:
    """Return the chance that u after n + 1 differences is above `v`, given `u` after n of them.

    With tan(psi) the next difference over the root of the sum of squares, the next u is |u cos(psi) + sin(psi)|.
    """
    peak, half = np.arctan2(1.0, u), np.arccos(np.minimum(v / np.hypot(1.0, u), 1.0))
    return _below(peak + half, n) - _below(peak - half, n)


def _below(psi: Array, n: int) -> Array:
    """Return the chance that psi is below an angle, counted on over half a turn."""
    from scipy.special import stdtr

    turned = psi > np.pi / 2
    return stdtr(n, np.sqrt(n) * np.tan(psi - np.pi * turned)) + turned  # type: ignore[no-any-return]
