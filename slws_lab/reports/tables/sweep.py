"""Sweep tables: how the metric follows one factor, one at a time of several, or two that are crossed (one of them across)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from slws_lab.analysis import Contrast, ResultTable
from slws_lab.reports.tables.compared import difference
from slws_lab.reports.tables.components import block_title, switched
from slws_lab.reports.tables.grids import CROSSED
from slws_lab.reports.tables.layout import Layout, Place, headers, labels, laid_out, level_order, rank, short_headers
from slws_lab.reports.tables.measures import Measures
from slws_lab.reports.view import Column, TableView
from slws_lab.reports.wording import NOTHING
from slws_lab.spec import Arm, Role, brief
from slws_lab.spec.reporting_checks import varying

ACROSS = 8  # levels that fit side by side
CONTROLS = "Controls: a constant rate of the same mean"


def sweep_views(table: ResultTable, covered: Collection[str] = ()) -> list[TableView]:
    """Return a table for each block that sweeps one factor or crosses two or more, unless other tables show the same.

    Args:
        table: The results.
        covered: Ids of arms that another of the paper's tables holds already.
    """
    made = [view for number in range(len(table.study.designs)) for view in _block(table, number, set(covered))]
    counts: dict[str, int] = {}
    named = []
    for view in made:
        counts[view.name] = counts.get(view.name, 0) + 1
        named.append(replace(view, name=f"{view.name}-{counts[view.name]}") if counts[view.name] > 1 else view)
    return named


def _block(table: ResultTable, number: int, covered: set[str]) -> Iterator[TableView]:
    block, members = table.study.designs[number], _members(table, number)
    arms = [arm for arm, _ in members]
    if len(arms) < 2 or {arm.id for arm in arms} <= covered or len(switched(table, block)) > 1:
        return
    names = [name for name in block.varies if name in varying(arms)]
    compared = {arm.id: difference(table, arm.id, role.reference) for arm, role in members if role.reference}
    if block.kind == "grid" and len(names) > 1:
        yield from _grid(table, number, names, compared)
    elif block.kind == "one_at_a_time" and len(names) > 1:
        yield _one_at_a_time(table, number, names, compared)
    elif block.kind != "pairwise" and names and len(arms) < len(table.design.arms):  # else the result table is the same
        yield _sweep(table, number, names, compared)


def _members(table: ResultTable, number: int, kinds: Collection[str] = CROSSED) -> list[tuple[Arm, Role]]:
    """Return the arms that a block crosses, or those of other roles in it, each with its role there."""
    return [
        (arm, role) for arm in table.design.arms for role in arm.roles if role.block == number and role.kind in kinds
    ]


def _sweep(table: ResultTable, number: int, names: list[str], compared: dict[str, Contrast]) -> TableView:
    arms = [arm for arm, _ in _members(table, number)]
    order = {name: level_order(arm.settings[name] for arm in arms if name in arm.settings) for name in names}
    if table.study.designs[number].kind != "list":
        arms.sort(key=lambda arm: rank(arm.settings, names, order))
    shown = [(arm, "") for arm in arms] + [(arm, CONTROLS) for arm, _ in _members(table, number, ("control",))]
    controls = [(arm, role) for arm, role in _members(table, number, ("control", "controlled")) if role.reference]
    compared |= {
        arm.id: difference(table, arm.id, str(role.reference)) for arm, role in controls if role.kind == "control"
    }
    controlled = {arm.id: difference(table, arm.id, str(r.reference)) for arm, r in controls if r.kind == "controlled"}
    labelled = [*names, *(name for name in varying([arm for arm, _ in shown]) if name not in names and controlled)]
    places = tuple(Place(arm.id, labels(table, arm, labelled), group) for arm, group in shown)
    title = block_title(table, number, f"sweep of {' and '.join(short_headers(table, names).values())}")
    columns = tuple(replace(column, merges=False) for column in headers(table, labelled))
    return laid_out(Layout("sweep", title, columns, places), Measures(table, compared, controlled=controlled))


def _one_at_a_time(table: ResultTable, number: int, names: list[str], compared: dict[str, Contrast]) -> TableView:
    members, short = _members(table, number), short_headers(table, names)
    usual = next(arm for arm, role in members if role.reference is None)
    places = []
    for name in names:
        moved = [
            arm for arm, _ in members if arm is usual or arm.settings.get(name, ...) != usual.settings.get(name, ...)
        ]
        order = {name: level_order(arm.settings[name] for arm in moved if name in arm.settings)}
        moved.sort(key=lambda arm: rank(arm.settings, [name], order))
        places += [Place(arm.id, labels(table, arm, [name]), short[name]) for arm in moved]
    title = block_title(table, number, "one setting moved at a time")
    note = "The row without Δ in each group is the baseline, the same runs each time."
    layout = Layout("sweep", title, (Column("setting"),), tuple(places), notes=(note,))
    return laid_out(layout, Measures(table, compared))


def _grid(table: ResultTable, number: int, names: list[str], compared: dict[str, Contrast]) -> Iterator[TableView]:
    """Yield a grid with one factor across, the one of the fewest levels, and all but one of the others as groups."""
    arms = [arm for arm, _ in _members(table, number)]
    levels = {name: level_order(arm.settings[name] for arm in arms if name in arm.settings) for name in names}
    across = min(reversed(names), key=lambda name: len(levels[name]))
    if len(levels[across]) > ACROSS:
        return
    down, *further = [name for name in names if name != across]
    short = short_headers(table, names)
    everything = [*((arm.settings, arm) for arm in arms), *_repeated(table, arms, names)]
    everything.sort(key=lambda found: rank(found[0], [*further, down, across], levels))
    places = [
        Place(
            arm.id,
            labels(table, replace(arm, settings=settings), [down]),
            ", ".join(
                f"{short[name]} {brief(settings[name])}" if name in settings else f"no {short[name]}"
                for name in further
            ),
            brief(settings[across]) if across in settings else NOTHING,
        )
        for settings, arm in everything
    ]
    texts = [NOTHING] * any(place.across == NOTHING for place in places) + [brief(level) for level in levels[across]]
    title = block_title(table, number, f"grid of {' × '.join(short[name] for name in [down, across, *further])}")
    layout = Layout(
        "grid",
        title,
        headers(table, [down]),
        tuple(places),
        short[across],
        tuple(texts),
        _off_note(texts, short[across]),
    )
    yield laid_out(layout, Measures(table, compared, show=()))


def _repeated(table: ResultTable, arms: list[Arm], names: Sequence[str]) -> list[tuple[dict, Arm]]:  # type: ignore[type-arg]
    """Return the settings of a grid that are another of its arms' training, each with that arm."""
    others = {name: level for name, level in arms[0].settings.items() if name not in names}
    known = {arm.id: arm for arm in arms}
    return [
        (duplicate.settings, known[duplicate.arm])
        for duplicate in table.design.duplicates
        if duplicate.arm in known and all(others.get(n) == v for n, v in duplicate.settings.items() if n not in names)
    ]


def _off_note(texts: list[str], name: str) -> tuple[str, ...]:
    return (f"The column {NOTHING}: arms in which {name} has no meaning.",) if NOTHING in texts else ()
