"""Plain facts of a search: its space, how it drew and pruned, how its trials ended, what it cost."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel

from slws_lab.analysis import ResultTable
from slws_lab.analysis.searching import Axis, SearchFindings, TrialRow
from slws_lab.reports import wording
from slws_lab.reports.page.facts import ENDED, Fact
from slws_lab.reports.search import words as search_words
from slws_lab.spec import StudySpec, level_text
from slws_lab.spec.search import SearchSpec


def search_facts(found: SearchFindings, study: StudySpec) -> list[Fact]:
    """Return how the search was set."""
    search = search_words.search_of(study)
    goals = [f"{title}, {aspect.goal}" for title, aspect in zip(search_words.titles(study), found.aspects, strict=True)]
    limits = [f"{search_words.figure_title(name)} up to {most:,g}" for name, most in search.constraints.items()]
    facts = [
        Fact("Space", tuple(_dimension(axis, search) for axis in found.axes)),
        Fact("Objective" if len(goals) == 1 else "Objectives", tuple(goals)),
        Fact("Constraints", tuple(limits)),
        Fact("Sampler", (f"{_named(search.sampler)}; seed {search.seed}",)),
        Fact("Pruner", (_named(search.pruner) if search.pruner else "none",)),
        Fact("Ends", tuple(_ends(study, search))),
        Fact("At a time", (f"{search.parallel} trials" if search.parallel else "as many trials as there are slots",)),
        Fact("Seeds of a trial", (", ".join(map(str, study.first_seeds)),)),
        Fact("Recipe", (study.recipe, *([f"changed for every run: {_settings(study)}"] if study.set else []))),
    ]
    return [fact for fact in facts if fact.texts]


def cost_facts(found: SearchFindings, table: ResultTable) -> list[Fact]:
    """Return what the trials cost in time and runs."""
    ended = [trial for trial in found.trials if trial.seconds is not None and trial.begun is not None]
    trained = [record.result.get("seconds") for record in table.records.values() if record.result]
    statuses = [record.status for record in table.records.values()]
    ends = [f"{statuses.count(status)} {status}" for status in ENDED if status in statuses]
    waiting = sum(status not in ENDED for status in statuses)
    pruned = ", those of pruned trials among them" if any(t.state == "pruned" for t in found.trials) else ""
    ends += [f"{waiting} not finished{pruned}"] if waiting else []
    saved = search_words.saved_text(found)
    facts = [
        Fact("Pruning", (saved,) if saved else ()),
        Fact("From the first to the last", (_span(ended),) if ended else ()),
        Fact("Trials added up", (duration(sum(t.seconds or 0.0 for t in ended)),) if ended else ()),
        Fact("Training of the runs that ended", (duration(sum(s for s in trained if s)),) if any(trained) else ()),
        Fact("Runs", (", ".join(ends),)),
    ]  # fmt: skip
    return [fact for fact in facts if fact.texts]


def pruned_text(found: SearchFindings, study: StudySpec) -> str:
    """Say after which steps trials were pruned; nothing where none was."""
    steps = Counter(trial.step for trial in found.trials if trial.state == "pruned")
    if not steps:
        return ""
    word = search_words.step_word(study)
    at = [
        f"{count} after {word} {step}" for step, count in sorted(steps.items(), key=lambda item: item[0] or 0) if step
    ]
    return f"{wording.plural(sum(steps.values()), 'trial')} pruned{': ' if at else ''}{', '.join(at)}."


def causes(found: SearchFindings) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the trials that have no value and were not pruned: state, cause and their numbers, grouped."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for trial in found.trials:
        if trial.state in ("failed", "infeasible"):
            grouped.setdefault((trial.state, trial.cause or "no cause recorded"), []).append(trial.number)
    return [(state, cause, tuple(numbers)) for (state, cause), numbers in grouped.items()]


def duration(seconds: float) -> str:
    """Print a time: `12.3 s`, `4 min 5 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _span(ended: list[TrialRow]) -> str:
    begun = [trial.begun or 0.0 for trial in ended]
    last = max((trial.begun or 0.0) + (trial.seconds or 0.0) for trial in ended)
    return f"{duration(last - min(begun))}, breaks included"


def _dimension(axis: Axis, search: SearchSpec) -> str:
    dimension = search.space[axis.name]
    if axis.levels:
        where = ", ".join(map(level_text, axis.levels))
    else:
        how = {"float": "", "log": ", by ratio", "int": ", whole", "log_int": ", whole, by ratio"}[dimension.kind]
        step = f", in steps of {dimension.step:g}" if dimension.step else ""
        where = f"{axis.low:g} to {axis.high:g}{how}{step}"
    on = [f"{name} is {' or '.join(map(level_text, levels))}" for name, levels in dimension.when.items()]
    return f"{axis.name}: {where}" + (f" (where {' and '.join(on)})" if on else "")


def _named(given: BaseModel) -> str:
    """Print a sampler or pruner with the options that are not its defaults."""
    told = {name: value for name, value in given.model_dump(exclude_defaults=True).items() if name != "name"}
    options = ", ".join(f"{name} {value}" for name, value in told.items())
    return str(given.name) + (f" ({options})" if options else "")  # type: ignore[attr-defined]


def _ends(study: StudySpec, search: SearchSpec) -> list[str]:
    found = [wording.plural(search.trials, "trial")] if search.trials else []
    found += [f"{search.minutes:g} minutes"] if search.minutes else []
    found += [f"{study.budget.device_hours:g} device-hours"] if study.budget else []
    return [f"after {' or '.join(found)}"] if found else []


def _settings(study: StudySpec) -> str:
    return ", ".join(f"{name}={level_text(value)}" for name, value in study.set.items())
