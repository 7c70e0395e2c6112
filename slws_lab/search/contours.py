"""Contours: an objective over pairs of the dimensions that matter most, between the trials and never beyond them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slws_lab.analysis.searching import Axis, Contour, ContourPoint, Importance, Surface
from slws_lab.search.trial import Trial

TOP = 3  # dimensions, and so pairs
GRID = 40  # points along each side of a surface
FEW = 3  # trials in which both dimensions are on, under which there is nothing to see
ENOUGH = 8  # different places under which a surface would be mostly invented
Array = npt.NDArray[np.float64]


def contours(done: Sequence[Trial], axes: Sequence[Axis], objective: int, weighed: Importance) -> tuple[Contour, ...]:
    """Return the pairs of the most important dimensions, of the first ones where that is not known; those with few trials left out.

    Args:
        done: The completed trials.
        axes: The dimensions of the space.
        objective: Number of the objective.
        weighed: What each dimension is responsible for.
    """
    rank = list(weighed.shares)
    ordered = sorted(axes, key=lambda axis: rank.index(axis.name) if axis.name in rank else len(rank))
    pairs = list(itertools.combinations(ordered[:TOP], 2))
    found = [_contour(done, x, y, objective) for x, y in pairs]
    return tuple(contour for contour in found if len(contour.points) >= FEW)


def _contour(done: Sequence[Trial], x: Axis, y: Axis, objective: int) -> Contour:
    both = [t for t in done if x.name in t.settings and y.name in t.settings and math.isfinite(t.values[objective])]
    points = tuple(ContourPoint(t.settings[x.name], t.settings[y.name], t.values[objective], t.number) for t in both)
    surface, reason = _surface(points, x, y)
    return Contour(x, y, points, surface, reason)


def _surface(points: Sequence[ContourPoint], x: Axis, y: Axis) -> tuple[Surface | None, str]:
    """Interpolate linearly between the trials; those at the same place count by their mean."""
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import QhullError

    if x.levels or y.levels:
        return None, "there is nothing between levels"
    at: dict[tuple[float, float], list[float]] = {}
    for point in points:
        at.setdefault((x.share(point.x), y.share(point.y)), []).append(point.value)
    if len(at) < ENOUGH:
        return None, f"{ENOUGH} different places are needed, not {len(at)}"
    shares = np.linspace(0.0, 1.0, GRID)
    try:
        between = LinearNDInterpolator(np.array(list(at)), [float(np.mean(values)) for values in at.values()])
    except QhullError:
        return None, "all trials lie on a line"
    values = between(*np.meshgrid(shares, shares))
    return Surface(_places(x, shares), _places(y, shares), tuple(tuple(map(float, row)) for row in values)), ""


def _places(axis: Axis, shares: Array) -> tuple[float, ...]:
    if axis.log:
        return tuple(float(axis.low * (axis.high / axis.low) ** share) for share in shares)
    return tuple(float(axis.low + (axis.high - axis.low) * share) for share in shares)
