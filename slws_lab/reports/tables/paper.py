"""The tables that a paper would print of a study: those it asks for, and those that follow from its design."""

from __future__ import annotations

from slws_lab.analysis import ResultTable
from slws_lab.reports.tables.components import component_views
from slws_lab.reports.tables.declared import declared_view
from slws_lab.reports.tables.methods import method_views
from slws_lab.reports.tables.sizes import size_views
from slws_lab.reports.tables.sweep import sweep_views
from slws_lab.reports.view import TableView
from slws_lab.spec import Study


def paper_views(table: ResultTable, study: Study) -> list[TableView]:
    """Return the tables of the study's `report: {tables: ...}`, then those of its design.

    An automatic table gives way to one that is asked for by its name; automatic ones of a style that is asked for are left out.

    Raises:
        UserError: The study names a published row that there is not.
    """
    asked = study.spec.report.tables
    names, styles = {one.name.lower() for one in asked}, {one.style for one in asked}
    sizes = size_views(table)
    covered = [arm.id for arm in table.design.arms] if sizes else []
    automatic = {
        "ablation": component_views(table), "scaling": sizes, "sweep": sweep_views(table, covered),
        "methods": method_views(table, study),
    }  # fmt: skip
    kept = [
        view for style, views in automatic.items() if style not in styles for view in views if view.name not in names
    ]
    return [*(declared_view(table, study, one) for one in asked), *kept]
