"""What a study's runs cost, in all and by arm, as the page shows it."""

from __future__ import annotations

from slws_lab.analysis import ResultTable
from slws_lab.analysis.costs import Cost, costs
from slws_lab.reports import wording
from slws_lab.reports.page.facts import Fact
from slws_lab.reports.tables.cells import cell
from slws_lab.reports.view import Cell, Column, TableView

NOTE = (
    "Device-hours are of the runs with a result (a run on two devices counts twice). Seconds and images/s are means, peak memory the "
    "largest; images/s and memory are of finished runs. Attempts are lost that failed or were made once more."
)


def cost_facts(table: ResultTable) -> list[Fact]:
    """Return what all runs cost together."""
    found = costs(table)
    hours = [cost.device_hours for cost in found if cost.device_hours is not None]
    lost, lost_hours = sum(cost.lost_attempts for cost in found), sum(cost.lost_hours for cost in found)
    return [
        Fact("Device-hours", (_hours(sum(hours)) if hours else wording.NOTHING,)),
        Fact("Runs with a result", (str(sum(len(cost.run_ids) for cost in found)),)),
        Fact("Attempts lost", (f"{lost}, {_hours(lost_hours)} device-hours" if lost_hours else str(lost),)),
    ]


def costs_view(table: ResultTable) -> TableView:
    """Return what each arm cost; a column of which nothing is known is left out."""
    names, found = wording.arm_names(table.design), costs(table)
    columns = [Column("arm"), *(Column(name, True) for name in _shown(found[0]))]
    rows = [[cell(names[cost.arm_id], _runs(cost)), *_shown(cost).values()] for cost in found]
    kept = [i for i in range(len(columns)) if any(row[i].text != wording.NOTHING for row in rows)]
    return TableView(
        "costs",
        "Cost by arm",
        tuple(columns[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
        (NOTE,),
    )


def _shown(cost: Cost) -> dict[str, Cell]:
    done, failed = cost.run_ids, cost.failed_ids
    return {
        "runs with a result": cell(str(len(done)), done),
        "device-hours": cell(_hours(cost.device_hours), done),
        "s a run": cell(_number(cost.run_seconds, 1), done),
        "images/s": cell(_number(cost.images_per_s, 0), done),
        "peak memory (MB)": cell(_number(cost.peak_memory_mb, 0), done),
        "params": cell(_number(cost.params, 0), done),
        "GFLOPs an image": cell(_number(cost.flops and cost.flops / 1e9, 3), done),
        "attempts lost": Cell(str(cost.lost_attempts), failed or done),
        "device-hours lost": cell(_hours(cost.lost_hours or None), failed),
    }


def _runs(cost: Cost) -> tuple[str, ...]:
    return (*cost.run_ids, *cost.failed_ids)


def _hours(hours: float | None) -> str:
    """Print hours: `128.4`, from one hour on; two digits below that: `0.0021`."""
    if hours is None:
        return wording.NOTHING
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def _number(value: float | None, places: int) -> str:
    return wording.NOTHING if value is None else f"{value:,.{places}f}"
