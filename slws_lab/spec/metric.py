"""The metric: the number that a study is about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, model_validator

from slws_lab.spec.command import MetricName
from slws_lab.spec.recipe import Spec


class Metric(Spec):
    """The number that the study is about."""

    name: Annotated[
        MetricName, WithJsonSchema({"anyOf": [{"enum": ["val/top1", "val/top5", "val/loss"]}, {"type": "string"}]})
    ] = Field(
        "val/top1", description="val/top1, val/top5 or val/loss of a training; of a command what its recipe names."
    )
    goal: Literal["maximize", "minimize"] = "maximize"
    at: Literal["last", "best"] = Field(
        "last", description="Value of the last epoch, or the best one (marked in tables)."
    )
    weights: Literal["raw", "ema"] = Field("raw", description="Plain weights, or their moving average.")

    @property
    def key(self) -> str:
        """The name under which the journal holds it: `val/top1`, or `val/top1_ema` for the moving average."""
        return self.name if self.weights == "raw" else f"{self.name}_ema"

    @property
    def in_percent(self) -> bool:
        """Whether it is a share in percent; of others than these two nobody knows the unit."""
        return self.name in ("val/top1", "val/top5")

    @classmethod
    def of(cls, key: str) -> Metric:
        """Return a metric that is named so in the journal, with the goal that fits its name."""
        return cls(name=key, goal="minimize" if key.endswith("loss") else "maximize")

    @model_validator(mode="after")
    def _goal_fits(self) -> Metric:
        fitting = "minimize" if self.name.endswith("loss") else "maximize"
        known = self.name.endswith("loss") or self.in_percent
        if known and self.goal != fitting:
            raise ValueError(f"{self.name} goes with goal: {fitting}")
        return self
