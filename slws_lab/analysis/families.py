"""Families: which arms are compared with which, which comparisons are corrected together, and their pairs of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slws_lab.analysis.results import ResultTable, varied
from slws_lab.analysis.statistics import Array
from slws_lab.spec import Design, level_text


@dataclass(frozen=True)
class Hypothesis:
    """That an arm equals its reference.

    Attributes:
        arm_id: Id of the arm.
        reference: Id of the arm it is compared to.
        blocks: The blocks of the design in which this comparison stands.
    """

    arm_id: str
    reference: str
    blocks: tuple[int, ...]


def families(design: Design, family: str) -> list[list[Hypothesis]]:
    """Return the hypotheses that are corrected together: one list for `all`, or one a block.

    With `all`, a comparison and its mirror image (A with B, B with A) are one hypothesis, in the direction of the first block.
    """
    compared = [(role.block, arm.id, role.reference) for arm in design.arms for role in arm.roles if role.reference]
    blocks: dict[tuple[str, str], set[int]] = {}
    for block, *pair in sorted(compared, key=lambda found: found[0]):
        one, mirror = (pair[0], pair[1]), (pair[1], pair[0])
        blocks.setdefault(mirror if family == "all" and mirror in blocks else one, set()).add(block)
    if family == "all":
        return [[Hypothesis(*pair, tuple(sorted(found))) for pair, found in blocks.items()]]
    numbers = sorted(set().union(*blocks.values()))
    return [[Hypothesis(*pair, (n,)) for pair, found in blocks.items() if n in found] for n in numbers]


def pairs(table: ResultTable, hypothesis: Hypothesis, seeds: Sequence[int]) -> tuple[tuple[int, ...], Array, Array]:
    """Return those of the seeds at which arm and reference both finished, and the values of each, shape (pairs,)."""
    both = table.values.loc[list(seeds), [hypothesis.arm_id, hypothesis.reference]].dropna()
    arm, reference = both.to_numpy().T
    return tuple(map(int, both.index)), arm, reference


def arm_names(design: Design) -> dict[str, str]:
    """Name each arm as one speaks of it, `linear 0.5`; by its label where the levels alone would not be clear."""
    fields = varied(design)
    levels = {arm.id: [arm.settings[field] for field in fields if field in arm.settings] for arm in design.arms}
    names = {arm_id: " ".join(map(level_text, found)) for arm_id, found in levels.items()}
    clear = all(found and isinstance(found[0], str) for found in levels.values())
    return names if clear and len(set(names.values())) == len(names) else {arm.id: arm.label for arm in design.arms}
