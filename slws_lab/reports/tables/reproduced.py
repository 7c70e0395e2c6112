"""Which published row an arm reproduces: found by its key and variant, and by what else tells rows apart."""

from __future__ import annotations

from slws_lab.errors import UserError, nearest
from slws_lab.reports.references import Published, published
from slws_lab.spec import Reproduced, Study

SAME = {"val/top1": "top1", "val/top5": "top5"}  # our metrics and what published figures call them


def reproduced(study: Study) -> list[Published]:
    """Return the published row of each entry of `report.reproduces`.

    Raises:
        UserError: There is no such row, or several with different values fit.
    """
    return [_row(study, one, number) for number, one in enumerate(study.spec.report.reproduces)]


def _row(study: Study, one: Reproduced, number: int) -> Published:
    def where(key: str) -> str:
        return study.source.where(("report", "reproduces", number, key))

    rows = published([one.key], where("key"))
    fitting = [row for row in rows if row.variant == one.variant]
    if not fitting:
        names = list(dict.fromkeys(row.variant for row in rows))
        raise UserError(f"'{one.key}' has no published variant '{one.variant}'", where=where("variant"),
                        allowed=", ".join(map(repr, names)), todo=nearest(one.variant, names))  # fmt: skip
    metric = SAME.get(study.spec.metric.name, study.spec.metric.name)
    same = [row for row in fitting if row.metric == metric]
    if not same:
        names = list(dict.fromkeys(row.metric for row in fitting))
        raise UserError(f"'{one.key}' {one.variant!r} has no published {metric}", where=where("variant"),
                        allowed=f"a study of {' or '.join(names)}")  # fmt: skip
    for key in ("system", "dataset", "resolution"):
        if (given := getattr(one, key)) is not None:
            known = list(dict.fromkeys(getattr(row, key) for row in same))
            same = [row for row in same if getattr(row, key) == given]
            if not same:
                raise UserError(f"no published figure of '{one.key}' {one.variant!r} has {key} '{given}'", where=where(key),
                                allowed=", ".join(map(repr, known)), todo=nearest(given, known))  # fmt: skip
    if len({row.value for row in same}) > 1:
        listed = "; ".join(
            f"{row.value} ({row.system}, {row.dataset}, resolution {row.resolution or 'unknown'})" for row in same
        )
        raise UserError(f"{len(same)} published figures of '{one.key}' {one.variant!r} fit", where=where("variant"),
                        allowed=listed, todo="give `system:`, `dataset:` or `resolution:` too")  # fmt: skip
    return same[0]
