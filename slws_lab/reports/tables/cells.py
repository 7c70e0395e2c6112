"""Cells that several tables share, each with the runs that it comes from."""

from __future__ import annotations

from slws_lab.analysis import Contrast, ResultTable, Undeclared, undeclared
from slws_lab.reports import looks, wording
from slws_lab.reports.view import Cell

FIELDS = 3  # undeclared fields named in a cell; a note names all


def cell(text: str, run_ids: tuple[str, ...], *, bold: bool = False) -> Cell:
    """Return a cell, faint if it says that there is nothing to say."""
    return Cell(text, run_ids, bold, faint=text == wording.NOTHING)


def pair_runs(table: ResultTable, contrast: Contrast) -> tuple[str, ...]:
    """Return the runs of a contrast's pairs: the arm's, then the reference's."""
    arms = (contrast.arm_id, contrast.reference)
    return tuple(table.design.run_ids[arm_id, seed] for arm_id in arms for seed in contrast.seeds)


def verdict_cell(contrast: Contrast, runs: tuple[str, ...]) -> Cell:
    """Return a contrast's verdict."""
    below = " (below margin)" if contrast.below_margin else ""
    so_far = " so far" if looks.is_open(contrast) and contrast.verdict != "withheld" else ""
    return Cell(contrast.verdict + so_far + below, runs, faint=contrast.verdict in ("inconclusive", "withheld"))


def beside_factors(table: ResultTable, contrast: Contrast) -> list[Undeclared]:
    """Return in what the runs of a contrast differ that the study does not declare."""
    pair = {contrast.arm_id, contrast.reference}
    return [found for found in undeclared(table) if {found.arm_id, found.reference} == pair]


def beside_text(found: list[Undeclared]) -> str:
    """Name the fields that differ, the first few; nothing if there are none."""
    fields = list(dict.fromkeys(one.field for one in found))
    more = [f"and {len(fields) - FIELDS} more"] if len(fields) > FIELDS else []
    return ", ".join([*fields[:FIELDS], *more])


def undeclared_cell(table: ResultTable, contrast: Contrast) -> Cell:
    """Name what differs beside the factors; its runs are those of the seeds at which it does."""
    found = beside_factors(table, contrast)
    seeds = sorted({seed for one in found for seed in one.seeds})
    pair = (contrast.arm_id, contrast.reference) if found else ()
    runs = tuple(table.design.run_ids[arm_id, seed] for arm_id in pair for seed in seeds)
    return cell(beside_text(found) or wording.NOTHING, runs)
