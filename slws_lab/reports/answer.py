"""The answer to a study's question in one or two sentences, made from the verdicts and nothing else."""

from __future__ import annotations

from slws_lab.analysis import VERDICTS, Contrast, ResultTable, contrasts, estimates
from slws_lab.reports import looks, wording
from slws_lab.reports.tables.cells import beside_factors, beside_text

NAMED = 3  # arms named for each verdict, the largest differences first
SAYS = {
    "helps": ("helps", "help"),
    "hurts": ("hurts", "hurt"),
    "equivalent": ("is equivalent", "are equivalent"),
    "inconclusive": ("is inconclusive", "are inconclusive"),
    "withheld": ("has too few pairs for a verdict", "have too few pairs for a verdict"),
}


def answer(table: ResultTable) -> str:
    """Return the answer, and how much of the study it rests on where that is not all."""
    texts = (_verdicts(table), _looked(table), _undeclared(table), _unfinished(table))
    return " ".join(text for text in texts if text)


def _verdicts(table: ResultTable) -> str:
    found = contrasts(table)
    if not any(e.n for e in estimates(table)):
        return "No run has finished, so there is no answer yet."
    if not found:
        return _single(table)
    arms = wording.plural(len({c.arm_id for c in found}), "arm")
    usual = wording.baseline(table.design)
    to = f"the baseline ({usual.label})" if {c.reference for c in found} == {usual.id} else "their references"
    groups = [_group(table, v, found) for v in VERDICTS if _of(found, v)]
    said = " and ".join(text for text in (", ".join(groups[:-1]), groups[-1]) if text)
    many = (
        f"{len(found)} comparisons of {arms} with"
        if len(found) > len({c.arm_id for c in found})
        else f"{arms} compared with"
    )
    return f"Of {many} {to}, {said}."


def _group(table: ResultTable, verdict: str, found: tuple[Contrast, ...]) -> str:
    group = _of(found, verdict)
    text = f"{len(group)} {SAYS[verdict][len(group) > 1]}"
    if verdict not in ("helps", "hurts", "equivalent"):
        return text
    largest = sorted(group, key=lambda c: -abs(c.delta or 0.0))[:NAMED]
    more = [f"and {len(group) - NAMED} more"] if len(group) > NAMED else []
    return f"{text} ({'; '.join([*(_named(table, c) for c in largest), *more])})"


def _named(table: ResultTable, contrast: Contrast) -> str:
    metric, names = table.study.metric, wording.arm_names(table.design)
    several = sum(c.arm_id == contrast.arm_id for c in contrasts(table)) > 1
    name = names[contrast.arm_id] + (f" against {names[contrast.reference]}" if several else "")
    size = f"{wording.signed(contrast.delta, wording.decimals(metric))} {wording.delta_unit(metric)}".strip()
    beside = beside_text(beside_factors(table, contrast))
    marks = [", below the margin" * contrast.below_margin, f", undeclared: {beside}" if beside else ""]
    return f"{name} by {size}" + "".join(marks)


def _single(table: ResultTable) -> str:
    only = next(e for e in estimates(table) if e.n)
    metric = table.study.metric
    mean, runs = wording.number(only.mean, wording.decimals(metric)), wording.plural(only.n, "run")
    return f"One arm, nothing to compare: {wording.metric_title(metric)} is {mean} over {runs}."


def _looked(table: ResultTable) -> str:
    """Say what p and verdicts are corrected for where seeds are spent as needed, and what is still open."""
    found = contrasts(table)
    if table.design.first_seeds is None or not any(c.look is not None and c.look.seeds for c in found):
        return ""
    waiting = sum(map(looks.is_open, found))
    left = f"; {waiting} of {wording.plural(len(found), 'comparison')} not decided yet" if waiting else ""
    corrected = looks.correction_text(table, f"over {', '.join(map(str, dict.fromkeys(c.family for c in found)))}")
    return f"Seeds were spent as needed, and p corrected {corrected}{left}."


def _undeclared(table: ResultTable) -> str:
    """Say how many comparisons an undeclared difference touches, named above or not."""
    found = contrasts(table)
    touched = [one for c in found for one in beside_factors(table, c)]
    pairs = {frozenset((one.arm_id, one.reference)) for one in touched}
    if not pairs:
        return ""
    runs = f"In {len(pairs)} of {wording.plural(len(found), 'comparison')} the runs also differ"
    return f"{runs} in what the study does not declare ({beside_text(touched)}), which may explain the difference."


def _unfinished(table: ResultTable) -> str:
    statuses = [record.status for record in looks.all_due(table)]
    done = statuses.count("finished")
    return "" if done == len(statuses) else f"{done} of {len(statuses)} runs finished."


def _of(found: tuple[Contrast, ...], verdict: str) -> list[Contrast]:
    return [c for c in found if c.verdict == verdict]
