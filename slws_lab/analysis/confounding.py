"""Confounded factors: whose effects a study's arms cannot tell apart, however many seeds they have."""

from __future__ import annotations

import itertools

import numpy as np

from slws_lab.analysis.results import varied
from slws_lab.analysis.statistics import Array
from slws_lab.spec import Arm, Design, level_text

LARGEST = 4  # factors of a group; larger ones are too many to try, and no design makes one


def confounded(design: Design) -> tuple[tuple[str, ...], ...]:
    """Return the smallest groups of factors whose main effects cannot be told apart over the arms of a design.

    They can be where the columns that stand for the factors' levels (each but a factor's first, over all arms) are linearly
    independent. A factor that is off in an arm has no effect there. Controls are left out: each is meant for one arm alone.

    Args:
        design: The study's arms.
    """
    arms = [arm for arm in design.arms if any(role.kind != "control" for role in arm.roles)]
    names = varied(design)
    columns = {name: _columns(arms, name) for name in names}
    found: list[tuple[str, ...]] = []
    for size in range(2, min(len(names), LARGEST) + 1):
        for group in itertools.combinations(names, size):
            known = any(set(smaller) <= set(group) for smaller in found)
            if not known and _dependent([columns[name] for name in group], len(arms)):
                found.append(group)
    return tuple(found)


def _columns(arms: list[Arm], name: str) -> Array:
    """Return 0 or 1 for each arm and each level of a factor but its first; shape (arms, levels - 1)."""
    levels = [level_text(arm.settings[name]) if name in arm.settings else None for arm in arms]
    others = [level for level in dict.fromkeys(levels) if level is not None][1:]
    return np.array([[float(level == other) for other in others] for level in levels]).reshape(len(arms), len(others))


def _dependent(columns: list[Array], arms: int) -> bool:
    """Say whether a constant and these columns are linearly dependent."""
    matrix = np.hstack([np.ones((arms, 1)), *columns])
    return bool(np.linalg.matrix_rank(matrix) < matrix.shape[1])
