"""Cells that several tables share, each with the runs that it comes from."""

from __future__ import annotations

from functools import lru_cache

from slws_lab.analysis import Contrast, ResultTable, Undeclared, undeclared, varied
from slws_lab.analysis.comparable import between
from slws_lab.analysis.families import Hypothesis, families
from slws_lab.reports import looks, wording
from slws_lab.reports.view import Cell
from slws_lab.spec import Arm
from slws_lab.tracking import RunRecord

FIELDS = 3  # undeclared fields named in a cell; a note names all
DAGGER = "†"  # at a difference whose runs also differ in what the study does not declare
SCHEDULE = "shuffle.schedule"


def cell(text: str, run_ids: tuple[str, ...], *, bold: bool = False) -> Cell:
    """Return a cell, faint if it says that there is nothing to say."""
    return Cell(text, run_ids, bold, faint=text == wording.NOTHING)


@lru_cache(maxsize=4)
def due(table: ResultTable) -> dict[str, list[RunRecord]]:
    """Return the records that count of each arm, by arm id; see `looks.due`."""
    return {arm.id: looks.due(table, arm.id) for arm in table.design.arms}


def arm_runs(table: ResultTable, arm_id: str) -> tuple[str, ...]:
    """Return the runs of an arm that count."""
    return tuple(record.run_id for record in due(table)[arm_id])


def level_cell(table: ResultTable, arm: Arm, name: str, run_ids: tuple[str, ...]) -> Cell:
    """Return the level of a factor, an en dash where it is off; that of the schedule with the course of its rate over depth."""
    text = wording.level_text(arm, name)
    line = rates_over_depth(table, arm.id) if name == _schedule(table) else ()
    return Cell(text, run_ids, faint=text == wording.NOTHING, line=line)


@lru_cache(maxsize=4)
def _schedule(table: ResultTable) -> str:
    """Return which factor is the schedule's: the one that sets it, else the first of the shuffle; empty if there is none."""
    factors = table.study.factors
    fields = {name: factors[name].fields(name) if name in factors else [name] for name in varied(table.design)}
    setting = (name for name, own in fields.items() if SCHEDULE in own)
    return next(setting, next((n for n, own in fields.items() if any(f.startswith("shuffle.") for f in own)), ""))


def rates_over_depth(table: ResultTable, arm_id: str) -> tuple[float, ...]:
    """Return the rate of each layer as the arm's runs recorded it; empty where it does not shuffle or no run has a result."""
    recorded = (record.result.get("shuffle_rates") for record in table.arm_records(arm_id))
    rates = tuple(float(rate) for rate in next((found for found in recorded if found), ()))
    return rates if any(rates) else ()


def delta_text(table: ResultTable, contrast: Contrast, level: str, *, interval: bool = True) -> str:
    """Print a difference with its interval, and what that covers where the header does not say it.

    Args:
        table: The results.
        contrast: The difference.
        level: What the header says that intervals cover; empty for nothing.
        interval: Whether to print it.
    """
    places = wording.decimals(table.study.metric)
    if contrast.low is None or not interval:
        return wording.signed(contrast.delta, places)
    covers = "" if level else f" at {wording.coverage(contrast.level)}"
    ends = f"[{wording.signed(contrast.low, places)}, {wording.signed(contrast.high, places)}]"
    return f"{wording.signed(contrast.delta, places)} {ends}{covers}"


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
    """Return in what the runs of a contrast differ that the study does not declare, also of one that it does not test."""
    known, pair = _by_pair(table), frozenset((contrast.arm_id, contrast.reference))
    if pair not in known:
        hypothesis = Hypothesis(contrast.arm_id, contrast.reference, ())
        known[pair] = list(between(table, hypothesis, wording.arm_names(table.design)))
    return known[pair]


@lru_cache(maxsize=4)
def _by_pair(table: ResultTable) -> dict[frozenset[str], list[Undeclared]]:
    """Return what differs between the arms that the study compares; `beside_factors` adds the further pairs it is asked for."""
    compared = (hypothesis for family in families(table.design, "all") for hypothesis in family)
    found: dict[frozenset[str], list[Undeclared]] = {frozenset((h.arm_id, h.reference)): [] for h in compared}
    for one in undeclared(table):
        found[frozenset((one.arm_id, one.reference))].append(one)
    return found


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
