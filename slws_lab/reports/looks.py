"""Seeds as needed in words: which runs count, at which look a contrast was judged, and what its interval covers then."""

from __future__ import annotations

from collections.abc import Iterable

from slws_lab.analysis import CORRECTIONS, Contrast, ResultTable, allotment
from slws_lab.reports import wording
from slws_lab.tracking import RunRecord


def due(table: ResultTable, arm_id: str) -> list[RunRecord]:
    """Return the records of an arm that count: of the runs wanted so far, and of those that have begun all the same."""
    return _due(table, arm_id, allotment(table)[arm_id])


def _due(table: ResultTable, arm_id: str, wanted: int) -> list[RunRecord]:
    return [r for i, r in enumerate(table.arm_records(arm_id)) if i < wanted or r.status != "pending"]


def all_due(table: ResultTable) -> list[RunRecord]:
    """Return the records that count, of all arms; of a study whose seeds are given these are all."""
    wanted = allotment(table)
    return [record for arm in table.design.arms for record in _due(table, arm.id, wanted[arm.id])]


def one_level(table: ResultTable, contrasts: Iterable[Contrast]) -> str:
    """Return what all intervals cover, `95 %`; empty if they do not all cover the same."""
    levels = {wording.coverage(c.level) for c in contrasts if c.low is not None}
    if not levels:
        return wording.level(table.study)
    return levels.pop() if len(levels) == 1 else ""


def is_open(contrast: Contrast) -> bool:
    """Say whether further seeds may still change a contrast's verdict."""
    look = contrast.look
    return look is not None and not look.decided and look.seeds < look.last


def look_text(contrast: Contrast) -> str:
    """Say after how many seeds a contrast was judged, `5 of 10`; an en dash where there was no look."""
    look = contrast.look
    return f"{look.seeds} of {look.last}" if look is not None and look.seeds else wording.NOTHING


def correction_text(table: ResultTable, sizes: str) -> str:
    """Say how p is corrected: `by Holm over 4`, or `for all looks and by Holm over 4`.

    Args:
        table: The results.
        sizes: Over how many contrasts, in words.
    """
    name = CORRECTIONS[table.study.comparisons.correction]
    looks = "for all looks and " if table.design.first_seeds is not None else ""
    return f"{looks}by {name} {sizes}"


def rule(table: ResultTable, contrasts: Iterable[Contrast]) -> list[str]:
    """Say by which rule seeds were spent and what that makes of the intervals; nothing where the seeds are given."""
    first, last = table.design.first_seeds, len(table.design.seeds)
    if first is None:
        return []
    level = one_level(table, contrasts)
    now = f"here all have {level}" if level else "they differ here, so each is written beside its interval"
    return [
        f"Seeds were spent as needed: a contrast is tested after each seed from {len(first)} to {last} (its looks) until it is "
        "decided, and stays as its last look found it. "
        f"Each look has a level of its own, such that a contrast's intervals of all looks together miss the truth with a chance of "
        f"at most {100 * table.study.comparisons.alpha:g} %; {now}."
    ]


def caution(table: ResultTable) -> list[str]:
    """Say what a table that knows nothing of looks leaves out; nothing where the seeds are given."""
    if table.design.first_seeds is None:
        return []
    return ["Seeds were spent as needed, for the contrasts; intervals and p of this table are not corrected for that."]
