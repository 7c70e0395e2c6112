"""What stands below the result table: what its numbers are, and what they cannot say."""

from __future__ import annotations

from collections import Counter

from slws_lab.analysis import Best, Contrast, Estimate, ResultTable, Undeclared, confounded
from slws_lab.reports import looks, wording
from slws_lab.reports.tables.cells import DAGGER, beside_factors
from slws_lab.spec import CommandRecipe, Design, StudySpec


def main_notes(
    table: ResultTable, estimates: tuple[Estimate, ...], contrasts: tuple[Contrast, ...], best: Best
) -> tuple[str, ...]:
    """Return the notes of the result table, the most needed first."""
    study = table.study
    tested = any(c.p is not None for c in contrasts)
    notes = [
        _what(table),
        _asked(table.design),
        _unequal(estimates),
        _missing(table),
        _diverged(estimates),
        _differs(table),
        *_confounded(table),
        *_undeclared(table, contrasts),
    ]
    notes += (
        [_delta(table, contrasts), *looks.rule(table, contrasts), *_mirrored(table, contrasts)] if contrasts else []
    )
    notes += [_family(table, contrasts), _margin(study)] if tested else []
    notes += [*_open(table, contrasts), *_reasons(table, contrasts), *_signflip(contrasts)]
    notes += [bold_note(table, best)] if tested else []
    return tuple(note for note in notes if note)


def contrasts_notes(table: ResultTable, contrasts: tuple[Contrast, ...]) -> tuple[str, ...]:
    """Return the notes of the table of all contrasts."""
    own, covers = (
        "p, sign-flip is the exact test of the same pairs; neither it nor p is corrected",
        f" ({wording.level(table.study)})",
    )
    if table.design.first_seeds is not None:
        own, covers = f"{own}, and p is that of the look alone", ", which covers what its column says"
    return (
        "d: mean of the paired differences over their standard deviation. low, high: the ends of the paired t interval of the "
        f"contrast alone{covers}. p: paired t. {own}. "
        f"adjusted p (of a difference, and of equivalence): corrected {_corrected(table, contrasts)}.",
        *looks.rule(table, contrasts), *_undeclared(table, contrasts),
    )  # fmt: skip


def _what(table: ResultTable) -> str:
    metric = table.study.metric
    unit = " in percent" if metric.in_percent else ""
    mean = f"Mean ± standard deviation over the n finished runs (one a seed) of {metric.name}{unit}"
    if isinstance(table.design.arms[0].recipe, CommandRecipe):  # nobody here knows its data and weights
        at = "its last step" if metric.at == "last" else "each run's best step, which flatters every arm"
        return f"{mean}, as the command gave it at {at}."
    weights = "the weights' moving average (EMA)" if metric.weights == "ema" else "the plain weights"
    at = "at the last epoch" if metric.at == "last" else "at each run's best epoch, which flatters every arm"
    return f"{mean}, on the validation split, with {weights}, {at}."


def _asked(design: Design) -> str:
    """Say that n differs by the study's own plan, where blocks ask for different numbers of seeds."""
    few = [len(design.seeds_of(arm.id)) for arm in design.arms if arm.seeds is not None]
    numbers = " or ".join(map(str, sorted({*few})))
    arms, have = wording.plural(len(design.arms), "arm"), "has" if len(few) == 1 else "have"
    return (
        f"As the study asks, {len(few)} of {arms} {have} only the first {numbers} of the {len(design.seeds)} seeds."
        if few
        else ""
    )


def _unequal(estimates: tuple[Estimate, ...]) -> str:
    """Say that means of unequal n are over different seeds, which paired differences are not."""
    differ = len({estimate.n for estimate in estimates if estimate.n}) > 1
    return "The means are over different seeds where n differs: compare arms by Δ, which is paired." if differ else ""


def _missing(table: ResultTable) -> str:
    statuses = [record.status for record in looks.all_due(table)]
    waiting = sum(status in ("pending", "running") for status in statuses)
    return f"{wording.plural(waiting, 'run')} of {len(statuses)} not finished yet." if waiting else ""


def _confounded(table: ResultTable) -> list[str]:
    short = wording.factor_names(table.design)
    return [
        f"{' and '.join(short[name] for name in group)} change together over these arms: their effects cannot be told apart."
        for group in confounded(table.design)
    ]


def _diverged(estimates: tuple[Estimate, ...]) -> str:
    lost = any(e.failed or e.diverged for e in estimates)
    return "Failed and diverged runs are counted, never averaged; their seeds form no pair." if lost else ""


def _differs(table: ResultTable) -> str:
    runs = [record.run_id for record in table.records.values() if record.differs]
    if not runs:
        return ""
    return f"Another attempt ended with other numbers, and is not the one used here: {', '.join(runs)}."


def _undeclared(table: ResultTable, contrasts: tuple[Contrast, ...]) -> list[str]:
    """Name what differs beside the factors, a note for each pair of arms."""
    names, notes = wording.arm_names(table.design), dict[frozenset[str], str]()
    for contrast in contrasts:
        found = beside_factors(table, contrast)
        if found:
            said = "; ".join(f"{one.field}: {one.values[0]} against {one.values[1]} ({_seeds(one)})" for one in found)
            arm, reference = names[found[0].arm_id], names[found[0].reference]
            notes[frozenset((contrast.arm_id, contrast.reference))] = (
                f"{DAGGER} {arm} against {reference}: the runs also differ in what the study does not declare, which may explain Δ. {said}."
            )
    return list(notes.values())


def _seeds(found: Undeclared) -> str:
    return f"{'seed' if len(found.seeds) == 1 else 'seeds'} {', '.join(map(str, found.seeds))}"


def _mirrored(table: ResultTable, contrasts: tuple[Contrast, ...]) -> list[str]:
    """Name the comparisons that have no row, since another row is the same comparison the other way round."""
    names, shown = wording.arm_names(table.design), {(c.arm_id, c.reference) for c in contrasts}
    turned = {
        (arm.id, role.reference): None for arm in table.design.arms for role in arm.roles
        if role.reference and (arm.id, role.reference) not in shown and (role.reference, arm.id) in shown
    }  # fmt: skip
    return [
        f"{names[arm]} against {names[reference]} is the row of {names[reference]} with the sign turned, tested once."
        for arm, reference in turned
    ]


def _delta(table: ResultTable, contrasts: tuple[Contrast, ...]) -> str:
    better = "above" if table.study.metric.goal == "maximize" else "below"
    level = looks.one_level(table, contrasts)
    if table.design.first_seeds is not None:
        level = f"at the level of its look, {level}" if level else "at the level of its look"
    return (
        "Δ: mean difference to the reference over the seeds that both finished, with the paired t interval of this "
        f"contrast alone ({level}); {better} zero is better."
    )


def _family(table: ResultTable, contrasts: tuple[Contrast, ...]) -> str:
    alpha = table.study.comparisons.alpha
    return f"Adjusted p: paired t, corrected {_corrected(table, contrasts)}; a verdict needs p below {alpha:g}."


def _corrected(table: ResultTable, contrasts: tuple[Contrast, ...]) -> str:
    """Say how p is corrected: `by Holm within all contrasts (4 tested)`."""
    rules = table.study.comparisons
    counts: dict[tuple[int, ...] | None, int] = {}
    for contrast in contrasts:
        key = contrast.blocks if rules.family == "block" else None
        counts[key] = counts.get(key, 0) + (contrast.p is not None)
    within = "all contrasts" if rules.family == "all" else "each block"
    sizes = " and ".join(map(str, counts.values()))
    return looks.correction_text(table, f"within {within} ({sizes} tested)")


def _open(table: ResultTable, contrasts: tuple[Contrast, ...]) -> list[str]:
    """Say how many contrasts further seeds may still decide."""
    waiting = sum(map(looks.is_open, contrasts))
    return (
        [f"{waiting} of {wording.plural(len(contrasts), 'contrast')} not decided yet; further seeds are for these."]
        if waiting
        else []
    )


def _margin(study: StudySpec) -> str:
    margin = study.comparisons.margin
    if margin is None:
        return "The study declares no margin, so equivalence is not tested: inconclusive does not mean equal."
    return (
        f"Equivalent: both one-sided tests against ±{wording.sized(margin, study.metric)} pass, adjusted likewise; "
        "inconclusive does not mean equal."
    )


def _reasons(table: ResultTable, contrasts: tuple[Contrast, ...]) -> list[str]:
    names = wording.arm_names(table.design)
    times = Counter(c.arm_id for c in contrasts)
    grouped: dict[tuple[str, str], list[str]] = {}
    for c in contrasts:
        if c.reason:
            against = f" against {names[c.reference]}" if times[c.arm_id] > 1 else ""
            grouped.setdefault((c.verdict, c.reason), []).append(names[c.arm_id] + against)
    said = {key: "; ".join(arms) if len(arms) < len(contrasts) else "all" for key, arms in grouped.items()}
    return [f"{verdict.capitalize()} ({said[verdict, reason]}): {reason}." for verdict, reason in grouped]


def _signflip(contrasts: tuple[Contrast, ...]) -> list[str]:
    notes = dict.fromkeys(note for c in contrasts for note in c.notes)
    return [f"The exact {note}; the verdict rests on the t test alone." for note in notes]


def bold_note(table: ResultTable, best: Best) -> str:
    """Say what bold and underlined mean; or that none is bold, and why."""
    if best.bold:
        looked = "" if table.design.first_seeds is None else "; not corrected for looks"
        alpha = f"{table.study.comparisons.alpha:g}{looked}"
        second = " Underlined: the best mean of the others." if best.second else ""
        return f"Bold: the best mean and every arm not separable from it (paired t, Holm, {alpha}).{second}"
    if len(best.arms) > 1:
        return f"No bold: {len(best.arms)} of {best.judged} arms are not separable from the best mean."
    return ""
