"""How the arms of a paper's table are laid out: labels in front, measures behind, groups under headers, one factor across if asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.tables.cells import arm_runs, level_cell
from slws_lab.reports.tables.legend import legend
from slws_lab.reports.tables.measures import Measures
from slws_lab.reports.view import Cell, Column, Group, TableView
from slws_lab.spec import Arm
from slws_lab.spec.levels import Level, Settings


@dataclass(frozen=True)
class Place:
    """Where an arm stands.

    Attributes:
        arm_id: Id of the arm.
        labels: What stands in front of it.
        group: The header that it stands under; empty for none.
        across: The level of the factor that goes across; empty where none does.
    """

    arm_id: str
    labels: tuple[Cell, ...]
    group: str = ""
    across: str = ""


@dataclass(frozen=True)
class Layout:
    """A table to be laid out.

    Attributes:
        name: Short name.
        title: Caption.
        headers: Of the labels.
        places: The arms, in the order in which rows and groups follow each other.
        across: Name of the factor that goes across; empty for none.
        levels: Its levels, in order.
        notes: What to say before the notes of the measures.
    """

    name: str
    title: str
    headers: tuple[Column, ...]
    places: tuple[Place, ...]
    across: str = ""
    levels: tuple[str, ...] = ("",)
    notes: tuple[str, ...] = ()


def laid_out(layout: Layout, measures: Measures) -> TableView:
    """Return the table: a row for each set of labels in a group."""
    grouped: dict[str, dict[tuple[str, ...], list[Place]]] = {}
    for place in layout.places:
        rows = grouped.setdefault(place.group, {})
        rows.setdefault(tuple(cell.text for cell in place.labels), []).append(place)
    groups, made = [], list[tuple[Cell, ...]]()
    for title, rows in sorted(
        grouped.items(), key=lambda group: bool(group[0])
    ):  # what stands under no header comes first
        if title:
            groups.append(Group(len(made), title))
        made += [_row(layout, found, measures) for found in rows.values()]
    arms = [place.arm_id for place in layout.places]
    notes = (*layout.notes, *_across_note(layout, measures), *legend(measures, arms))
    return TableView(
        layout.name, layout.title, (*layout.headers, *_columns(layout, measures)), tuple(made), notes, tuple(groups)
    )


def labels(table: ResultTable, arm: Arm, names: Sequence[str]) -> tuple[Cell, ...]:
    """Return an arm's levels of some factors; its label where there are none."""
    runs = arm_runs(table, arm.id)
    return tuple(level_cell(table, arm, name, runs) for name in names) or (Cell(arm.label, runs),)


def headers(table: ResultTable, names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of labels; the first of several is not repeated from row to row."""
    short = short_headers(table, names)
    return tuple(Column(short[n], merges=i == 0 and len(names) > 1) for i, n in enumerate(names)) or (Column("arm"),)


def short_headers(table: ResultTable, names: Iterable[str]) -> dict[str, str]:
    """Return what each factor is called in headers."""
    known = wording.factor_names(table.design)
    return {name: known.get(name, name) for name in names}


def level_order(levels: Iterable[Level]) -> list[Level]:
    """Return levels in order: numbers rising, where all are numbers; else as they come."""
    distinct: dict[str, Level] = {repr(level): level for level in levels}
    found = list(distinct.values())
    if all(isinstance(level, int | float) and not isinstance(level, bool) for level in found):
        return sorted(found, key=float)  # type: ignore[arg-type]
    return found


def rank(settings: Settings, names: Sequence[str], order: dict[str, list[Level]]) -> tuple[int, ...]:
    """Return where settings stand in the order of the levels of some factors; one that is off comes first."""
    return tuple(order[name].index(settings[name]) if name in settings else -1 for name in names)


def _row(layout: Layout, found: list[Place], measures: Measures) -> tuple[Cell, ...]:
    runs = tuple(dict.fromkeys(run_id for place in found for cell in place.labels[:1] for run_id in cell.run_ids))
    lines = [tuple(cell.line for cell in place.labels) for place in found]
    front = [
        replace(cell, run_ids=runs, line=cell.line if all(line[i] == cell.line for line in lines) else ())
        for i, cell in enumerate(found[0].labels)
    ]
    at: dict[str, str] = {}
    for place in found:
        at.setdefault(place.across, place.arm_id)
    return (*front, *(cell for level in layout.levels for cell in measures.cells(at.get(level))))


def _columns(layout: Layout, measures: Measures) -> list[Column]:
    if not layout.across:
        return measures.columns()
    if len(measures.all) > 1:
        return [column for level in layout.levels for column in measures.columns(f"{layout.across} {level}")]
    only = measures.all[0].column
    return [replace(only, name=level, over=f"{only.name} at {layout.across}", better="") for level in layout.levels]


def _across_note(layout: Layout, measures: Measures) -> list[str]:
    """Say what is better where the headers, which are levels then, cannot."""
    if not layout.across or len(measures.all) > 1 or not (better := measures.all[0].column.better):
        return []
    return [f"{measures.all[0].column.name}: {'higher' if better == 'up' else 'lower'} is better."]
