"""The tables of a search's report: its best trials, all trials, and the best again with fresh seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from slws_lab.analysis import ResultTable
from slws_lab.analysis.searching import Gap, SearchFindings, TrialRow
from slws_lab.reports import wording
from slws_lab.reports.search import words as search_words
from slws_lab.reports.tables.cells import cell
from slws_lab.reports.view import Cell, Column, TableView
from slws_lab.spec.levels import Settings

BEST = 20  # trials in the table of the best
LISTED = 200  # trials in the page's table of all; trials.csv has every one
RunIds = Mapping[int, tuple[str, ...]]


def runs_of(found: SearchFindings, table: ResultTable) -> dict[int, tuple[str, ...]]:
    """Return the runs of each trial that was tried, by its number."""
    arms = {_key(arm.settings): arm.id for arm in table.design.arms}
    arms = {_key(duplicate.settings): duplicate.arm for duplicate in table.design.duplicates} | arms
    tried = [(trial.number, arms.get(_key(trial.settings))) for trial in found.trials if trial.settings]
    seeds = table.design.seeds
    return {number: tuple(table.design.run_ids[arm, s] for s in seeds) for number, arm in tried if arm is not None}


def best_view(found: SearchFindings, table: ResultTable) -> TableView:
    """Return the best trials, of several objectives the Pareto front, and the baseline whatever its place."""
    shown = list(found.best[:BEST])
    if found.baseline is not None and found.baseline not in shown:
        shown.append(found.baseline)
    view = _TrialTable(found, table)
    trials = [found.trial(number) for number in shown]
    what = "the Pareto front" if len(found.aspects) > 1 else "the best trials"
    title = f"{table.study.name}: {what} of {len(found.trials)}, by their values in the search"
    notes = [_value_note(table), _shown_note(found), search_words.BIAS if found.best else ""]
    return TableView(table.study.name, title, view.columns(), view.rows(trials), tuple(note for note in notes if note))


def trials_view(found: SearchFindings, table: ResultTable) -> TableView:
    """Return all trials with their states; of very many the last ones."""
    view, shown = _TrialTable(found, table, whole=True), found.trials[-LISTED:]
    more = len(found.trials) - len(shown)
    notes = (f"The first {more} trials are not shown; trials.csv has all.",) if more else ()
    return TableView("trials", "Every trial", view.columns(), view.rows(shown), notes)


def gap_view(gaps: Sequence[Gap], table: ResultTable) -> TableView:
    """Return what the best trials and the baseline had in the search, and with seeds that it never saw."""
    study = table.study
    objective = search_words.search_of(study).objectives[0]
    value, of = search_words.title(objective, study.metric), search_words.unit(study)
    unit = f" ({of})" if of else ""
    columns = (
        Column("setting"), Column("trial", True), Column(f"{value}, in the search", True), Column("fresh seeds", True),
        Column(f"{value}, fresh mean [{wording.level(study)} interval]", True),
        *(Column(f"{name}{unit}", True) for name in ("looked better by", "beyond the baseline")),
    )  # fmt: skip
    baseline = next((gap for gap in gaps if gap.trial is None), None)
    rows = tuple(_gap_row(gap, baseline, table) for gap in gaps)
    notes = (
        "Looked better by: value in the search less the mean over fresh seeds, with the sign turned where small is good. It also holds "
        "what the search's own seeds do to every setting. Beyond the baseline: the same less the baseline's own; above zero for what the "
        "search chose, it is the winner's curse. The intervals are of each mean alone (Student's t).",
    )
    return TableView("confirmation", "The best again, with seeds that the search never saw", columns, rows, notes)


def _gap_row(gap: Gap, baseline: Gap | None, table: ResultTable) -> tuple[Cell, ...]:
    study = table.study
    objective = search_words.search_of(study).objectives[0]

    def text(number: float | None) -> str:
        return search_words.number(math.nan if number is None else number, objective, study.metric)

    mean = text(gap.confirmed) + (f" [{text(gap.low)}, {text(gap.high)}]" if gap.low is not None else "")
    trial = "baseline" if gap.trial is None else str(gap.trial)
    looked = search_words.difference(search_words.looked_better(gap, study), study)
    texts = (gap.label, trial, text(gap.searched), str(gap.n), mean, looked)
    beyond, both = wording.NOTHING, gap.run_ids
    if baseline is not None and baseline is not gap:
        beyond = search_words.difference(search_words.beyond_baseline(gap, baseline, study), study)
        both += baseline.run_ids
    return (*(cell(one, gap.run_ids) for one in texts), cell(beyond, both))


class _TrialTable:
    """A table of trials while it is made.

    Args:
        found: What the search found.
        table: The results of all trials.
        whole: Whether it shows how each trial ended.
    """

    def __init__(self, found: SearchFindings, table: ResultTable, *, whole: bool = False) -> None:
        self.found, self.study, self.whole = found, table.study, whole
        self.run_ids = runs_of(found, table)
        self.search = search_words.search_of(table.study)
        costs = {objective.name for objective in self.search.objectives}
        self.figures = [name for name in self.search.constraints if name not in costs]

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("trial"),
            *([Column("state")] if self.whole else []),
            *(Column(axis.label, not axis.levels) for axis in self.found.axes),
            *(Column(title, True) for title in search_words.titles(self.study)),
            *(Column(search_words.figure_title(name), True) for name in self.figures),
            *([Column("seconds", True), Column("cause")] if self.whole else []),
        )

    def rows(self, trials: Sequence[TrialRow]) -> tuple[tuple[Cell, ...], ...]:
        return tuple(tuple(cell(text, self.run_ids.get(t.number, ())) for text in self.texts(t)) for t in trials)

    def texts(self, trial: TrialRow) -> list[str]:
        nothing = [wording.NOTHING] * len(self.search.objectives)
        named = zip(trial.values, self.search.objectives, strict=False)
        values = [search_words.number(value, objective, self.study.metric) for value, objective in named]
        settings = [(axis, axis.name in trial.settings) for axis in self.found.axes]
        figures = [trial.figures.get(name) for name in self.figures]
        seconds = wording.number(trial.seconds, 1)
        return [
            f"{trial.number} (baseline)" if trial.number == self.found.baseline else str(trial.number),
            *([search_words.state_text(trial)] if self.whole else []),
            *(axis.text(trial.settings[axis.name]) if on else wording.NOTHING for axis, on in settings),
            *(values or nothing),
            *(wording.NOTHING if figure is None else search_words.short(figure) for figure in figures),
            *([seconds, trial.cause.splitlines()[0] if trial.cause else wording.NOTHING] if self.whole else []),
        ]


def _value_note(table: ResultTable) -> str:
    seeds = len(table.design.seeds)
    over = "of one seed" if seeds == 1 else f"the mean over {seeds} seeds"
    return f"Values are {over}, in each trial's own run{'' if seeds == 1 else 's'}; – is a dimension that is off."


def _shown_note(found: SearchFindings) -> str:
    left = len(found.best) - BEST
    more = f"{left} further settings are in trials.csv." if left > 0 else ""
    none = (
        ""
        if found.baseline is not None or not found.trials
        else "The baseline was no trial, so the search has no value of it."
    )
    return " ".join(text for text in (more, none) if text)


def _key(settings: Settings) -> str:
    return json.dumps(settings, sort_keys=True)
