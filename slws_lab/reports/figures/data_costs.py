"""The data of cost against accuracy: what an arm's run costs, what it reaches, and which arms no other one beats. No matplotlib here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from slws_lab.analysis import ResultTable, estimates
from slws_lab.analysis.costs import Cost, costs
from slws_lab.reports import wording


@dataclass(frozen=True)
class Scale:
    """A cost as an axis.

    Attributes:
        name: What files call it.
        title: What axes call it, with the unit.
        of: Returns an arm's; None if unknown.
        less: Whether less of it is better.
        fixed: Whether it is of the model rather than measured, so that it is worth a look only where arms differ in it.
    """

    name: str
    title: str
    of: Callable[[Cost], float | None]
    less: bool = True
    fixed: bool = False


def _in(unit: float, amount: float | None) -> float | None:
    return None if amount is None else amount / unit


SCALES = (
    Scale("params", "parameters (M)", lambda cost: _in(1e6, cost.params), fixed=True),
    Scale("flops", "FLOPs of an image (G)", lambda cost: _in(1e9, cost.flops), fixed=True),
    Scale("device_hours", "device-hours a run", lambda cost: _in(len(cost.run_ids) or 1, cost.device_hours)),
    Scale("images_per_s", "training images/s", lambda cost: cost.images_per_s, less=False),
)


def cost_accuracy(table: ResultTable) -> pd.DataFrame:
    """Return what each arm costs and reaches, for each cost that is known of two arms or more.

    Returns:
        Columns cost (a name of `SCALES`), arm, arm_id, value (in the unit of the title), mean (of the metric), front (whether no
        other arm is as good in both and better in one), in the order of the design.
    """
    frames = [(scale, _frame(table, scale)) for scale in SCALES]
    kept = [frame for scale, frame in frames if len(frame) > 1 and not (scale.fixed and frame["value"].nunique() == 1)]
    return pd.concat(kept, ignore_index=True) if kept else frames[0][1].iloc[:0]


def front(prices: list[float], gains: list[float]) -> list[bool]:
    """Say of each point whether none of the others costs no more and gains no less, and is better in one of these.

    Args:
        prices: Less is better.
        gains: More is better, one for each price.
    """
    points = list(zip(prices, gains, strict=True))
    return [not any(p <= price and g >= gain and (p < price or g > gain) for p, g in points) for price, gain in points]


def _frame(table: ResultTable, scale: Scale) -> pd.DataFrame:
    names = wording.arm_names(table.design)
    both = zip(costs(table), estimates(table), strict=True)
    rows = [
        (scale.name, names[reached.arm_id], reached.arm_id, value, reached.mean)
        for cost, reached in both
        if (value := scale.of(cost)) is not None and reached.mean is not None
    ]
    frame = pd.DataFrame(rows, columns=["cost", "arm", "arm_id", "value", "mean"]).astype(
        {"value": float, "mean": float}
    )
    price = frame["value"] if scale.less else -frame["value"]
    gain = frame["mean"] if table.study.metric.goal == "maximize" else -frame["mean"]
    return frame.assign(front=front(price.tolist(), gain.tolist()))
