"""What a study's runs cost, in all and by arm, as the page shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slws_lab.analysis import ResultTable
from slws_lab.analysis.costs import Cost, costs
from slws_lab.reports import wording
from slws_lab.reports.page.facts import Fact
from slws_lab.reports.tables.cells import cell
from slws_lab.reports.view import Cell, Column, TableView

NOTE = (
    "Device-hours are of the runs with a result (a run on two devices counts twice). Seconds and images/s (of the last epoch) are means, "
    "peak memory the largest; images/s and memory are of finished runs. Attempts are lost that failed or were made once more."
)


def cost_facts(table: ResultTable) -> list[Fact]:
    """Return what all runs cost together."""
    found = costs(table)
    hours = [cost.device_hours for cost in found if cost.device_hours is not None]
    lost, lost_hours = sum(cost.lost_attempts for cost in found), sum(cost.lost_hours for cost in found)
    lost_text = _hours(lost_hours, _decimals([lost_hours]))
    return [
        Fact("Device-hours", (_hours(sum(hours), _decimals([sum(hours)])) if hours else wording.NOTHING,)),
        Fact("Runs with a result", (str(sum(len(cost.run_ids) for cost in found)),)),
        Fact("Attempts lost", (f"{lost}, {lost_text} device-hours" if lost_hours else str(lost),)),
    ]


def costs_view(table: ResultTable) -> TableView:
    """Return what each arm cost; a column of which nothing is known is left out."""
    names, found = wording.arm_names(table.design), costs(table)
    places = _decimals([cost.device_hours for cost in found]), _decimals([cost.lost_hours for cost in found])
    columns = [Column("arm"), *(Column(name, True) for name in _shown(found[0], places))]
    rows = [[cell(names[cost.arm_id], _runs(cost)), *_shown(cost, places).values()] for cost in found]
    kept = [i for i in range(len(columns)) if any(row[i].text != wording.NOTHING for row in rows)]
    return TableView(
        "costs",
        "Cost by arm",
        tuple(columns[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
        (NOTE,),
    )


def _shown(cost: Cost, places: tuple[int, int]) -> dict[str, Cell]:
    """Return an arm's row by column; `places` are the decimals of device-hours and of those lost."""
    done, failed = cost.run_ids, cost.failed_ids
    return {
        "runs with a result": cell(str(len(done)), done),
        "device-hours": cell(_hours(cost.device_hours, places[0]), done),
        "s a run": cell(_number(cost.run_seconds, 1), done),
        "images/s": cell(_number(cost.images_per_s, 0), done),
        "peak memory (MB)": cell(_number(cost.peak_memory_mb, 0), done),
        "params": cell(_number(cost.params, 0), done),
        "GFLOPs an image": cell(_number(cost.flops and cost.flops / 1e9, 3), done),
        "attempts lost": Cell(str(cost.lost_attempts), failed or done),
        "device-hours lost": cell(_hours(cost.lost_hours or None, places[1]), failed),
    }


def _runs(cost: Cost) -> tuple[str, ...]:
    return (*cost.run_ids, *cost.failed_ids)


def _decimals(hours: Sequence[float | None]) -> int:
    """Return the decimals of a column of hours: as give the smallest two digits, but no more than give the largest four; at least one."""
    powers = [math.floor(math.log10(value)) for value in hours if value]
    return max(1, min(1 - min(powers), 3 - max(powers))) if powers else 1


def _hours(hours: float | None, places: int) -> str:
    """Print hours: `128.4`; what would be zero by rounding as `< 0.1`."""
    if hours is None:
        return wording.NOTHING
    least = 10.0**-places
    return f"< {least:.{places}f}" if 0 < hours < least / 2 else f"{hours:,.{places}f}"


def _number(value: float | None, places: int) -> str:
    return wording.NOTHING if value is None else f"{value:,.{places}f}"
