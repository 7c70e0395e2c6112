"""All figures of a study's report; which there are follows from its design. The drawing stands in the siblings."""

from __future__ import annotations

import pandas as pd

from slws_lab.analysis import ResultTable
from slws_lab.reports.figures import arms, costs, courses, doses, grids
from slws_lab.reports.figures import data as figure_data
from slws_lab.reports.figures.data_costs import cost_accuracy as cost_data
from slws_lab.reports.figures.data_doses import doses as dose_data
from slws_lab.reports.figures.data_grids import interactions, maps
from slws_lab.reports.figures.style import MOST, Drawn, looks, styled

__all__ = ["Drawn", "draw"]


def draw(table: ResultTable, curves: pd.DataFrame | None = None) -> list[Drawn]:
    """Draw the figures that a study's design allows; the same results give the same bytes.

    Args:
        table: The results.
        curves: What `figure_data.training_curves` gave when the journals were there, of a table without them; None reads them.
    """
    curves = figure_data.training_curves(table) if curves is None else curves
    few = figure_data.shown(table, figure_data.FEW)
    style = looks(table.design, figure_data.shown(table, MOST), first=few)
    with styled():
        found = [arms.effects(table)] if any(role.reference for arm in table.design.arms for role in arm.roles) else []
        found += [arms.accuracy(table, style)]
        found += [doses.dose_response(table, of_doses)] if (of_doses := dose_data(table)) else []
        found += [grids.interaction(table, crossings)] if (crossings := interactions(table)) else []
        found += [grids.heat_map(table, found_maps)] if (found_maps := maps(table)) else []
        found += [courses.training(table, {arm_id: look for arm_id, look in style.items() if arm_id in few}, curves)]
        found += [courses.shuffle(table, style, curves)] if figure_data.shuffles(table) else []
        found += [costs.cost_accuracy(table, style, by_cost)] if len(by_cost := cost_data(table)) else []
    return found
