"""The data of a search's figures and its trials as tables, one file each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from slws_lab.analysis.searching import Aspect, Contour, SearchFindings
from slws_lab.reports.search import words as search_words
from slws_lab.spec import StudySpec

Rows = list[dict[str, Any]]


def trials_csv(found: SearchFindings, study: StudySpec, run_ids: Mapping[int, tuple[str, ...]]) -> bytes:
    """Return trials.csv: a trial a row, floats as they are.

    Args:
        found: What the search found.
        study: The study.
        run_ids: Trial's number to its runs.
    """
    keys = objective_keys(study)
    figures = sorted({name for trial in found.trials for name in trial.figures} - set(keys))
    rows = [
        {"trial": t.number, "state": t.state, "step": t.step}
        | {axis.name: t.settings.get(axis.name) for axis in found.axes}
        | dict(zip(keys, t.values or [None] * len(keys), strict=True))
        | {"feasible": t.feasible, "seconds": t.seconds}
        | {name: t.figures.get(name) for name in figures}
        | {"cause": t.cause, "run_ids": " ".join(run_ids.get(t.number, ()))}
        for t in found.trials
    ]
    names = ["trial", "state", "step", *(axis.name for axis in found.axes), *keys, "feasible", "seconds", *figures]
    return csv(rows, [*names, "cause", "run_ids"])


def objective_keys(study: StudySpec) -> list[str]:
    """Name each objective as files do, no two alike."""
    keys = [search_words.key(one, study.metric) for one in search_words.search_of(study).objectives]
    return [name if keys.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(keys, 1)]


def figures_csv(found: SearchFindings) -> dict[str, bytes]:
    """Return the data of each figure by its name; what has no rows is left out."""
    tables: dict[str, Rows] = {}
    for i, aspect in enumerate(found.aspects):
        for name, rows in _aspect(found, aspect).items():
            tables[numbered(name, i)] = rows
    tables["front"] = [
        {"first": front.first + 1, "second": front.second + 1, **vars(point)}
        for front in found.fronts for point in front.points
    ]  # fmt: skip
    tables["curves"] = [
        {"trial": curve.number, "state": curve.state, "step": step, "value": value}
        for curve in found.curves for step, value in zip(curve.steps, curve.values, strict=True)
    ]  # fmt: skip
    return {name: csv(rows, list(rows[0])) for name, rows in tables.items() if rows}


def numbered(name: str, objective: int) -> str:
    """Name a figure of an objective: the first's has the plain name."""
    return name if objective == 0 else f"{name}-{objective + 1}"


def csv(rows: Rows, columns: list[str]) -> bytes:
    """Return rows as CSV; floats read back as the same numbers, whole numbers stay whole."""
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in columns})
    return str(frame.to_csv(index=False, lineterminator="\n")).encode()


def _aspect(found: SearchFindings, aspect: Aspect) -> dict[str, Rows]:
    names = [axis.name for axis in found.axes]
    return {
        "history": [vars(point) for point in aspect.history],
        "importance": [
            {"method": one.method, "dimension": name, "share": one.shares.get(name), "trials": one.trials,
             "left_out": one.left_out.get(name) or one.reason}
            for one in aspect.importances for name in ([*one.shares, *one.left_out] if one.shares else names)
        ],
        "slices": [vars(point) for point in aspect.slices],
        "contour": [
            {"x_name": c.x.name, "y_name": c.y.name, **vars(point)} for c in aspect.contours for point in c.points
        ],
        "contour-surface": [row for contour in aspect.contours for row in _surface(contour)],
        "parallel": [
            {"trial": path.number, **dict(zip(names, path.places, strict=True)), "value": path.value}
            for path in aspect.paths
        ],
    }  # fmt: skip


def _surface(contour: Contour) -> Rows:
    surface = contour.surface
    if surface is None:
        return []
    return [
        {"x_name": contour.x.name, "y_name": contour.y.name, "x": x, "y": y, "value": surface.values[j][i]}
        for j, y in enumerate(surface.y) for i, x in enumerate(surface.x) if not math.isnan(surface.values[j][i])
    ]  # fmt: skip
