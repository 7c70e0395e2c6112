"""The data of interaction plots and heat maps: the cells of whole grids. No matplotlib here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import pandas as pd

from slws_lab.analysis import Effect, ResultTable, effects, estimates
from slws_lab.analysis.cells import Cells, cells
from slws_lab.analysis.statistics import t_interval
from slws_lab.reports import wording
from slws_lab.reports.tables.grids import Grid, arms_of, crossed, obstacle
from slws_lab.spec import brief
from slws_lab.spec.levels import Level, Settings

MAX_PANELS, MAX_LINES = 6, 6  # more maps, or lines in a panel, cannot be read


@dataclass(frozen=True)
class Crossing:
    """Two factors crossed: the mean of each combination of their levels.

    Attributes:
        x: The factor along the axis, in short words.
        line: The factor whose levels are lines.
        points: Columns x, line (levels in words), mean, low, high (of the t interval over seeds), in the order of the grid.
        n: Seeds that all arms finished, over which the means are.
        others: The further factors, over whose levels each mean is taken alike; empty for none.
        interaction: The interaction, where each factor has two levels; None where there are more of them.
    """

    x: str
    line: str
    points: pd.DataFrame
    n: int
    others: str
    interaction: Effect | None


@dataclass(frozen=True)
class Map:
    """A grid of two factors as a map.

    Attributes:
        row: The factor down the side, in short words.
        column: The factor along the top.
        panel: The levels of the further factors; empty for none.
        cells: Columns row, column (levels in words), arm_id, n, mean, delta (to the baseline over the seeds of both); empty where no run
            finished.
    """

    row: str
    column: str
    panel: str
    cells: pd.DataFrame

    @property
    def shape(self) -> tuple[int, int]:
        return self.cells["row"].nunique(), self.cells["column"].nunique()

    def of(self, name: str) -> list[list[float]]:
        """Return one of the columns as rows of the map."""
        wide = self.shape[1]
        values = self.cells[name].tolist()
        return [values[i : i + wide] for i in range(0, len(values), wide)]


def interactions(table: ResultTable) -> list[Crossing]:
    """Return every two factors that a whole grid crosses; a grid that lacks arms or seeds, or would be too many lines, is left out."""
    grids = [grid for grid in _grids(table, in_pairs=True) if not obstacle(table, grid, "an interaction")]
    return [crossing for grid in grids for crossing in _crossings(table, grid)]


def interactions_frame(found: list[Crossing]) -> pd.DataFrame:
    """Return all of them as one frame, a row a point."""
    named = [c.points.set_axis(["x_level", "line_level", "mean", "low", "high"], axis=1) for c in found]
    frames = [
        frame.assign(panel=i, x=c.x, line=c.line, n=c.n)
        for i, (c, frame) in enumerate(zip(found, named, strict=True), 1)
    ]
    columns = ["panel", "x", "x_level", "line", "line_level", "n", "mean", "low", "high"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def maps(table: ResultTable) -> list[Map]:
    """Return a map for each grid of the design; of more than two factors one for each combination of the further ones' levels.

    Means and n are those of the results by arm, so seeds may differ from cell to cell; a difference to the baseline is over the
    seeds that both finished. A grid that would be more than six maps is left out.
    """
    return [one for grid in _grids(table, in_pairs=False) for one in _maps(table, grid)]


def maps_frame(found: list[Map]) -> pd.DataFrame:
    """Return all of them as one frame, a row a cell."""
    named = [one.cells.rename(columns={"row": "row_level", "column": "column_level"}) for one in found]
    frames = [
        frame.assign(panel=i, given=one.panel, row=one.row, column=one.column)
        for i, (one, frame) in enumerate(zip(found, named, strict=True), 1)
    ]
    columns = ["panel", "given", "row", "row_level", "column", "column_level", "arm_id", "n", "mean", "delta"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def _grids(table: ResultTable, *, in_pairs: bool) -> list[Grid]:
    """Return the grids of two factors or more that the blocks of a design hold, each once.

    Args:
        table: The results.
        in_pairs: Whether those of blocks that cross factors two by two are among them.
    """
    found: dict[str, Grid] = {}
    for number, block in enumerate(table.study.designs):
        names = [block.content] if block.kind == "grid" else []
        if block.kind == "pairwise" and in_pairs:
            names = list(combinations(block.content, 2))
        for grid in (grid for group in names for grid in crossed(table, number, group) if len(grid.levels) > 1):
            found.setdefault(repr((sorted(grid.levels.items()), grid.given)), grid)
    return list(found.values())


def _crossings(table: ResultTable, grid: Grid) -> Iterator[Crossing]:
    whole = cells(table, grid.levels, grid.given)
    switches = sum(len(levels) == 2 for levels in grid.levels.values()) > 1
    tested = {one.factors: one for one in (effects(table, grid.levels, given=grid.given) if switches else ())}
    alpha, levels = table.study.comparisons.alpha, list(grid.levels.values())
    for a, b in combinations(range(len(grid.levels)), 2):
        (first, ones), (second, others) = (list(grid.levels.items())[axis] for axis in (a, b))
        if min(len(ones), len(others)) > MAX_LINES:
            continue
        x, line = max((a, b), (b, a), key=lambda sides: _fits_axis(levels[sides[0]]))
        rest = [whole.names[axis] for axis in range(len(grid.levels)) if axis not in (a, b)]
        interaction = tested[first, second] if len(ones) == len(others) == 2 else None
        points = _points(whole, x, line, alpha)
        yield Crossing(whole.names[x], whole.names[line], points, len(whole.seeds), ", ".join(rest), interaction)


def _fits_axis(levels: list[Level]) -> tuple[int, bool]:
    """Return what is larger for the factor that is better off along the axis: the longer one, and of two as long the numbers."""
    return len(levels), all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels)


def _points(whole: Cells, x: int, line: int, alpha: float) -> pd.DataFrame:
    levels, rows = list(whole.levels.values()), []
    for (j, line_level), (i, x_level) in product(enumerate(levels[line]), enumerate(levels[x])):
        values = whole.mean({x: i, line: j})
        rows.append((brief(x_level), brief(line_level), float(values.mean()), *t_interval(values, alpha)))
    return pd.DataFrame(rows, columns=["x", "line", "mean", "low", "high"])


def _maps(table: ResultTable, grid: Grid) -> Iterator[Map]:
    """Yield a grid's maps; the factors of most levels are the sides, since few maps of many cells read best."""
    known = {e.arm_id: e for e in estimates(table)}
    usual = wording.baseline(table.design).id
    short = dict(zip(grid.levels, grid.names, strict=True))
    by_size = sorted(grid.levels, key=lambda name: -len(grid.levels[name]))
    column, row = (name for name in by_size[:2])
    rest = [name for name in grid.levels if name not in (row, column)]
    if math.prod(len(grid.levels[name]) for name in rest) > MAX_PANELS:
        return
    for fixed in product(*(grid.levels[name] for name in rest)):
        given = dict(zip(rest, fixed, strict=True))
        rows = []
        for row_level, column_level in product(grid.levels[row], grid.levels[column]):
            arm_id = _arm(table, grid, {**given, row: row_level, column: column_level})
            found = known.get(arm_id)
            mean, delta = (found.mean, _delta(table, arm_id, usual)) if found else (None, None)
            rows.append((brief(row_level), brief(column_level), arm_id, found.n if found else 0, mean, delta))
        frame = pd.DataFrame(rows, columns=["row", "column", "arm_id", "n", "mean", "delta"])
        panel = ", ".join(f"{short[name]}={brief(level)}" for name, level in given.items())
        yield Map(short[row], short[column], panel, frame.astype({"mean": float, "delta": float}))


def _delta(table: ResultTable, arm_id: str, usual: str) -> float | None:
    """Return how an arm's mean differs from the baseline's over the seeds that both finished; None without one."""
    both = table.values[[arm_id, usual]].dropna().to_numpy()
    return float(both[:, 0].mean() - both[:, 1].mean()) if len(both) else None


def _arm(table: ResultTable, grid: Grid, cell: Settings) -> str:
    """Return the id of a cell's arm; empty if the design has none."""
    arms = arms_of(table, Grid({name: [level] for name, level in cell.items()}, grid.given))
    return arms[0] if arms else ""
