"""The data of dose and response: values and means at each dose, and the fit where there is one. No matplotlib here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from slws_lab.analysis import BestDose, DoseResponse, ResultTable
from slws_lab.analysis.statistics import t_interval
from slws_lab.errors import UserError
from slws_lab.reports import wording
from slws_lab.reports.tables.doses import Curve, dose_curves, others_text

FINE = 81  # places at which a parabola is drawn


@dataclass(frozen=True)
class DoseCurve:
    """The metric along one numeric factor, all else being equal.

    Attributes:
        factor: The factor, in short words.
        others: The levels of other factors that are not the baseline's; empty if all are.
        log: Whether the doses are spaced by ratios.
        points: Columns dose, seed, value, mean, low, high (of the t interval of the mean; empty under two seeds), the doses rising.
        fit: The fit at the seeds that all doses finished, to which points are then limited; None where none can be made.
    """

    factor: str
    others: str
    log: bool
    points: pd.DataFrame
    fit: DoseResponse | None

    @property
    def best(self) -> BestDose | None:
        return self.fit.best if self.fit else None

    def parabola(self) -> tuple[list[float], list[float]]:
        """Return doses, close to each other, and the fit at them; nothing without a fit."""
        if self.fit is None:
            return [], []
        x = np.log10(self.fit.doses) if self.log else np.array(self.fit.doses)
        middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
        through = np.polyfit((x - middle) / half, self.fit.quadratic, 2)  # three points or more of one parabola
        z = np.linspace(-1, 1, FINE)
        fine = middle + half * z
        return (10**fine if self.log else fine).tolist(), np.polyval(through, z).tolist()


def doses(table: ResultTable) -> list[DoseCurve]:
    """Return the curves of the table of dose and response, in its order; without a finished run there is none."""
    found = [_curve(table, curve) for name in table.study.factors for curve in dose_curves(table, name)]
    return [curve for curve in found if len(curve.points)]


def doses_frame(found: list[DoseCurve]) -> pd.DataFrame:
    """Return all curves as one frame: a row a run, with the fit at its dose and the best dose with its interval."""
    frames = [curve.points.assign(factor=curve.factor, others=curve.others, **_fitted(curve)) for curve in found]
    columns = [
        "factor",
        "others",
        "dose",
        "seed",
        "value",
        "mean",
        "low",
        "high",
        "fitted",
        "best",
        "best_low",
        "best_high",
    ]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def _fitted(curve: DoseCurve) -> dict[str, Any]:
    """Return the columns of a curve's fit: its value at each point's dose, the best dose and its interval."""
    places = dict(zip(curve.fit.doses, curve.fit.quadratic, strict=True)) if curve.fit else {}
    best = curve.best or BestDose(np.nan, None, None, at_border=False)
    low, high = (np.nan if end is None else end for end in (best.low, best.high))
    fitted = [places.get(dose, np.nan) for dose in curve.points["dose"]]
    return {"fitted": fitted, "best": best.dose, "best_low": low, "best_high": high}


def _curve(table: ResultTable, curve: Curve) -> DoseCurve:
    try:
        fit = curve.fit(table)
    except UserError:  # the table says why
        fit = None
    values = table.values[list(curve.arms.values())]
    values = values.loc[list(fit.seeds)] if fit else values
    rows = [row for dose, arm_id in curve.arms.items() for row in _at(table, dose, values[arm_id].dropna())]
    points = pd.DataFrame(rows, columns=["dose", "seed", "value", "mean", "low", "high"])
    points = points.astype({"seed": int, "dose": float, "low": float, "high": float})
    return DoseCurve(
        wording.factor_names(table.design)[curve.factor], others_text(table, curve), curve.log, points, fit
    )


def _at(table: ResultTable, dose: float, values: pd.Series) -> list[tuple[Any, ...]]:
    known = values.to_numpy()
    low, high = t_interval(known, table.study.comparisons.alpha) if len(known) > 1 else (None, None)
    return [(dose, seed, value, float(known.mean()), low, high) for seed, value in values.items()]
