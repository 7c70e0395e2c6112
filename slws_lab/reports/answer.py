"""The answer to a study's question in one or two sentences, made from the verdicts and nothing else."""

from __future__ import annotations

from slws_lab.analysis import VERDICTS, Contrast, ResultTable, contrasts, estimates
from slws_lab.reports import wording

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
    return " ".join(text for text in (_verdicts(table), _unfinished(table)) if text)


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
    return f"Of {arms} compared with {to}, {said}."


def _group(table: ResultTable, verdict: str, found: tuple[Contrast, ...]) -> str:
    group = _of(found, verdict)
    text = f"{len(group)} {SAYS[verdict][len(group) > 1]}"
    if verdict not in ("helps", "hurts", "equivalent"):
        return text
    largest = sorted(group, key=lambda c: -abs(c.delta or 0.0))[:NAMED]
    more = [f"and {len(group) - NAMED} more"] if len(group) > NAMED else []
    return f"{text} ({'; '.join([*(_named(table, c) for c in largest), *more])})"


def _named(table: ResultTable, contrast: Contrast) -> str:
    metric, name = table.study.metric, wording.arm_names(table.design)[contrast.arm_id]
    size = f"{wording.signed(contrast.delta, wording.decimals(metric))} {wording.delta_unit(metric)}".strip()
    return f"{name} by {size}" + (", below the margin" if contrast.below_margin else "")


def _single(table: ResultTable) -> str:
    only = next(e for e in estimates(table) if e.n)
    metric = table.study.metric
    mean, runs = wording.number(only.mean, wording.decimals(metric)), wording.plural(only.n, "run")
    return f"One arm, nothing to compare: {wording.metric_title(metric)} is {mean} over {runs}."


def _unfinished(table: ResultTable) -> str:
    statuses = [record.status for record in table.records.values()]
    done = statuses.count("finished")
    return "" if done == len(statuses) else f"{done} of {len(statuses)} runs finished."


def _of(found: tuple[Contrast, ...], verdict: str) -> list[Contrast]:
    return [c for c in found if c.verdict == verdict]
