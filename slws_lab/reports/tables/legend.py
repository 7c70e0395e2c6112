"""What stands below a paper's table: what its numbers are, and a note for each mark in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slws_lab.analysis import Contrast, ResultTable, best
from slws_lab.reports import looks, wording
from slws_lab.reports.tables.cells import DAGGER, beside_factors, due
from slws_lab.reports.tables.compared import verdict_mark
from slws_lab.reports.tables.footnotes import bold_note
from slws_lab.reports.tables.measures import Measures


def legend(measures: Measures, arms: Sequence[str]) -> list[str]:
    """Return what a reader must know of the measures of some arms."""
    shown = list(dict.fromkeys(arms))
    return [note for note in _notes(measures, shown) if note]


def cost_notes(show: Sequence[str]) -> Iterator[str]:
    """Yield what a reader must know of the costs that are shown."""
    if "flops" in show:
        yield "FLOPs: of one image's forward, a multiply-add counted as two; many papers count it as one."
    if "device_hours" in show:
        yield "Device-hours: of all runs that ended with a result; attempts that failed are not in it."
    if "images_per_s" in show or "peak_memory" in show:
        yield "Images/s (mean) and peak memory (largest) are those of the training's last epoch, over the finished runs."


def _notes(measures: Measures, arms: list[str]) -> Iterator[str]:
    table = measures.table
    pairs = [measures.compared[arm_id] for arm_id in arms if arm_id in measures.compared]
    planned = sorted({len(due(table)[arm_id]) for arm_id in arms})
    between = " to ".join(map(str, dict.fromkeys((planned[0], planned[-1])))) if planned else "none"
    yield f"Mean ± standard deviation over the finished runs, one a seed ({between} planned)."
    own = any(map(measures.is_study_metric, measures.metrics))
    if own and table.study.metric.at == "best":
        yield "The value is each run's best epoch, which flatters every arm."
    if "delta" in measures.show and pairs:
        yield _delta_note(measures, pairs)
        yield from _verdict_notes(measures, [*pairs, *measures.controlled.values()])
    elif {"p", "verdict"} & set(measures.show) and pairs:
        yield from _judged_notes(measures, pairs)
    yield from cost_notes(measures.show)
    if own:
        chosen = best(table)
        yield bold_note(table, chosen) if {*chosen.bold, chosen.second} & set(arms) else ""
        if any(not measures.estimates[arm_id].n for arm_id in arms):
            yield f"{wording.NOTHING} for a mean: no run has finished."
        if "n" not in measures.show:
            yield _fewer(measures, arms)
            yield from sorted(
                {f"{short} seeds have finished there." for a in arms if (short := measures.below_plan(a))}
            )


def _fewer(measures: Measures, arms: list[str]) -> str:
    """Name the arms whose means are over fewer seeds than others', where no column says so and nothing is missing."""
    if measures.table.design.first_seeds is not None:
        return ""
    asked = {arm_id: len(due(measures.table)[arm_id]) for arm_id in arms}
    names = wording.arm_names(measures.table.design)
    few = [names[arm_id] for arm_id in arms if asked[arm_id] < max(asked.values())]
    return (
        f"Over fewer seeds than the others, as the study asks: {'; '.join(few)}. Compare by Δ, which is paired."
        if few
        else ""
    )


def _delta_note(measures: Measures, pairs: list[Contrast]) -> str:
    better = "above" if measures.table.study.metric.goal == "maximize" else "below"
    covers = f", with the paired t interval of this difference alone ({measures.level or 'as written'})"
    interval = covers if "interval" in measures.show else ""
    return f"Δ: mean difference to {_references(measures, pairs)}, paired by seed{interval}; {better} zero is better."


def _references(measures: Measures, pairs: list[Contrast]) -> str:
    """Say what the arms are compared with."""
    references = {contrast.reference for contrast in pairs}
    if measures.to or len(references) > 1:
        return measures.to or "the arm named beside it"
    (only,) = references
    name, label = measures.arm_names[only], measures.table.design.arm(only).label
    return f"{name} ({label})" if name != label else label


def _adjusted(table: ResultTable, pairs: list[Contrast]) -> str:
    sizes = sorted({contrast.family for contrast in pairs if contrast.verdict}) or [0]
    between = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1])))) + f" contrast{'s' * (sizes[-1] != 1)}"
    each = " within each block" if table.study.comparisons.family == "block" else ""
    return "adjusted " + looks.correction_text(table, f"over {between}{each}")


def _judged_notes(measures: Measures, pairs: list[Contrast]) -> Iterator[str]:
    """Yield what p and verdicts are where the differences themselves are not shown."""
    table, rules = measures.table, measures.table.study.comparisons
    judged = [contrast for contrast in pairs if contrast.verdict]
    if not judged:
        return
    what = {"p": "adjusted p", "verdict": "verdict"}
    shown = " and ".join(text for name, text in what.items() if name in measures.show)
    yield (
        f"{shown[0].upper()}{shown[1:]}: of the mean difference to {_references(measures, judged)}, paired by seed; paired t, "
        f"{_adjusted(table, judged)}."
    )
    verdicts = {contrast.verdict for contrast in judged}
    if "verdict" in measures.show:
        if {"helps", "hurts"} & verdicts:
            yield f"Helps, hurts: the difference is told from zero, adjusted p below {rules.alpha:g}."
        if "equivalent" in verdicts and rules.margin is not None:
            yield f"Equivalent: within ±{wording.sized(rules.margin, table.study.metric)} by two one-sided tests, adjusted likewise."
        if "inconclusive" in verdicts:
            yield "Inconclusive does not mean equal."
    if any(contrast.p_adjusted is None for contrast in judged):
        yield "No p: too few pairs for a test, or every pair differs by the same amount."
    if any(map(looks.is_open, judged)):
        yield "Some of these contrasts are not decided yet."
    if any(contrast.p_adjusted is not None for contrast in judged):
        yield from looks.rule(table, judged)
    yield _beside_note(table, judged, "the difference")


def _beside_note(table: ResultTable, pairs: list[Contrast], what: str) -> str:
    fields = dict.fromkeys(one.field for contrast in pairs for one in beside_factors(table, contrast))
    said = f"{DAGGER} The runs also differ in what the study does not declare, which may explain {what}: {', '.join(fields)}."
    return said if fields else ""


def _verdict_notes(measures: Measures, pairs: list[Contrast]) -> Iterator[str]:
    table, rules = measures.table, measures.table.study.comparisons
    marks = {verdict_mark(contrast) for contrast in pairs}
    adjusted = _adjusted(table, pairs)
    if "p" in measures.show and "*" not in marks:
        yield f"Adjusted p: paired t, {adjusted}."
    if "*" in marks:
        yield f"* The difference is told from zero: p below {rules.alpha:g}, {adjusted}."
    if "=" in marks and rules.margin is not None:
        yield f"= Equivalent: within ±{wording.sized(rules.margin, table.study.metric)} by two one-sided tests, p {adjusted}."
    if any(contrast.verdict == "inconclusive" for contrast in pairs):
        yield "No mark: inconclusive, which does not mean equal."
    if any(contrast.verdict == "withheld" and contrast.n for contrast in pairs):
        yield "No interval: too few pairs for a test."
    if any(contrast.verdict == "inconclusive" and contrast.low is None for contrast in pairs):
        yield "No interval: every pair differs by the same amount, so there is no spread to test against."
    if any(map(looks.is_open, pairs)):
        yield "Some of these contrasts are not decided yet; they have no mark."
    if any(contrast.verdict and contrast.low is not None for contrast in pairs):
        yield from looks.rule(table, [contrast for contrast in pairs if contrast.verdict])
    yield _beside_note(table, pairs, "Δ")
