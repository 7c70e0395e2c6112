"""The tables that a study asks for by `report: {tables: [...]}`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from slws_lab.analysis import ResultTable
from slws_lab.reports import wording
from slws_lab.reports.tables.compared import first_contrasts
from slws_lab.reports.tables.components import check_note, component_cell
from slws_lab.reports.tables.layout import Layout, Place, headers, labels, laid_out, level_order, rank, short_headers
from slws_lab.reports.tables.measures import Measures
from slws_lab.reports.tables.methods import method_view
from slws_lab.reports.tables.sizes import SHOW, size_view
from slws_lab.reports.view import Cell, TableView
from slws_lab.spec import Arm, PaperTable, Study, brief, matches
from slws_lab.spec.reporting_checks import varying


def declared_view(table: ResultTable, study: Study, asked: PaperTable) -> TableView:
    """Return a table that a study asks for; what stands in the file has been checked against the design.

    Raises:
        UserError: It shows published rows, and there is no such row.
    """
    arms = [arm for arm in table.design.arms if matches(arm.settings, dict(asked.where))]
    if asked.style == "scaling":
        show = SHOW if asked.show is None else asked.show
        made = size_view(table, arms, asked.metrics or (), show)
    elif asked.style == "methods":
        made = method_view(table, study, arms, ("params", "flops") if asked.show is None else asked.show)
    else:
        made = _plain(table, asked, arms)
    return replace(made, name=asked.name, title=asked.title or made.title)


def _plain(table: ResultTable, asked: PaperTable, arms: list[Arm]) -> TableView:
    across, group = asked.columns or "", asked.groups if isinstance(asked.groups, str) else ""
    rows = asked.rows or [name for name in varying(arms) if name not in (across, group)]
    names = [*([group] if group else []), *rows, *([across] if across else [])]
    order = {name: _order(table, asked, arms, name) for name in names}
    titles = [each.title for each in asked.groups] if isinstance(asked.groups, list) else []
    headed = {arm.id: _group(table, asked, arm) for arm in arms}
    if asked.style == "sweep":
        arms = sorted(arms, key=lambda arm: rank(arm.settings, names, order))
    if group:
        arms = sorted(arms, key=lambda arm: rank(arm.settings, [group], order))
    elif titles:
        arms = sorted(arms, key=lambda arm: titles.index(headed[arm.id]) if headed[arm.id] else -1)
    places = tuple(
        Place(arm.id, _labels(table, asked, arm, rows), headed[arm.id], _across(arm, across)) for arm in arms
    )
    show = (() if across else ("delta", "interval")) if asked.show is None else asked.show
    measures = Measures(table, first_contrasts(table), asked.metrics or (), show)
    note = check_note(table, rows) if asked.style == "ablation" else ""
    columns = headers(table, rows)
    if asked.style == "ablation":
        columns = tuple(replace(column, merges=False) for column in columns)
    short = short_headers(table, [across])[across] if across else ""
    found = {place.across for place in places}
    levels = (
        [text for text in [wording.NOTHING, *map(brief, order.get(across, []))] if text in found] if across else [""]
    )
    title = f"{table.study.name}: {asked.name}"
    return laid_out(Layout(asked.name, title, columns, places, short, tuple(levels), (note,) if note else ()), measures)


def _labels(table: ResultTable, asked: PaperTable, arm: Arm, names: Sequence[str]) -> tuple[Cell, ...]:
    if asked.style == "ablation":
        return tuple(component_cell(table, arm, name) for name in names)
    return labels(table, arm, names)


def _group(table: ResultTable, asked: PaperTable, arm: Arm) -> str:
    """Return the header that an arm stands under; empty where no group holds it."""
    if isinstance(asked.groups, list):
        return next((each.title for each in asked.groups if matches(arm.settings, dict(each.where))), "")
    if asked.groups is None:
        return ""
    short = short_headers(table, [asked.groups])[asked.groups]
    return f"{short} {brief(arm.settings[asked.groups])}" if asked.groups in arm.settings else f"no {short}"


def _across(arm: Arm, name: str) -> str:
    if not name:
        return ""
    return brief(arm.settings[name]) if name in arm.settings else wording.NOTHING


def _order(table: ResultTable, asked: PaperTable, arms: list[Arm], name: str):  # type: ignore[no-untyped-def]
    """Return the levels of a factor in the order of a table: of a sweep rising, else as the study has them."""
    found = [arm.settings[name] for arm in arms if name in arm.settings]
    if asked.style == "sweep" or name == asked.columns:
        return level_order(found)
    return list({repr(level): level for level in found}.values())
