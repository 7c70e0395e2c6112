"""What a study says of its report: published rows to show, tables to print beside the automatic ones, published arms that it reproduces."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from slws_lab.spec.command import MetricName
from slws_lab.spec.levels import Pattern, Settings
from slws_lab.spec.recipe import Name, Spec, misplaced

Style = Literal["plain", "ablation", "sweep", "scaling", "methods"]
Shown = Literal[
    "n", "delta", "interval", "verdict", "p", "params", "flops", "device_hours", "images_per_s", "peak_memory"
]
STYLES: tuple[str, ...] = get_args(Style)
# What a style arranges by itself, so that a study cannot.
ARRANGED = {
    "ablation": ("columns",),
    "scaling": ("rows", "groups"),
    "methods": ("rows", "columns", "groups", "metrics"),
}


class ShownMetric(Spec):
    """A recorded metric as a table shows it."""

    name: MetricName = Field(description="As the journal calls it: val/top1, val/loss, train/images_per_s, ...")
    title: str | None = Field(None, min_length=1, max_length=80, description="Its header; null: its name.")
    unit: str | None = Field(None, min_length=1, max_length=20, description="Printed in the header; null: if known.")
    better: Literal["up", "down", "none"] | None = Field(
        None, description="Which direction is better, an arrow in the header; null: what the name says, if anything."
    )
    weights: Literal["raw", "ema"] | None = Field(
        None, description="Plain weights or their moving average, of a name val/...; null: as the study's metric."
    )


def _named(value: Any) -> Any:
    """`val/loss` is short for `{name: val/loss}`."""
    return {"name": value} if isinstance(value, str) else value


AnyMetric = Annotated[ShownMetric, BeforeValidator(_named, json_schema_input_type=str | ShownMetric)]


class TableGroup(Spec):
    """Rows of a table that stand together under a header."""

    title: str = Field(min_length=1, max_length=200)
    where: Pattern = Field(description="The arms with these levels.")


class PaperTable(Spec):
    """A table that the study asks for."""

    name: Name = Field(description="Its name in files and labels; an automatic table of this name gives way to it.")
    title: str | None = Field(None, min_length=1, max_length=500, description="Its caption.")
    style: Style = Field(
        "plain",
        description="plain: levels as they are; ablation: a check mark for each component; sweep: levels in order; "
        "scaling: by the size of the model; methods: with the published rows of `references`.",
    )
    where: Pattern = Field(default_factory=dict, description="Only arms with these levels.")
    rows: list[str] | None = Field(None, min_length=1, description="Factors that label the rows; null: all that vary.")
    columns: str | None = Field(None, description="A factor whose levels stand side by side.")
    groups: Annotated[
        Annotated[str, Tag("factor")] | Annotated[Annotated[list[TableGroup], Field(min_length=1)], Tag("headers")],
        Discriminator(lambda given: "headers" if isinstance(given, list) else "factor"),
    ] | None = Field(None, description="A factor with a header for each level, or a list of {title, where}.")  # fmt: skip
    metrics: list[AnyMetric] | None = Field(
        None,
        min_length=1,
        description="Recorded metrics, by name or as {name, title, unit, better}; null: the study's.",
    )
    show: list[Shown] | None = Field(None, description="What else stands in a row; null: what the style is for.")

    @model_validator(mode="after")
    def _fits_together(self) -> PaperTable:
        for name in ARRANGED.get(self.style, ()):
            if getattr(self, name) is not None:
                raise misplaced(f"style {self.style} arranges its {name} by itself", name)
        shown = self.show or []
        if len(set(shown)) < len(shown):
            raise misplaced("something is to be shown twice", "show")
        if "interval" in shown and "delta" not in shown:
            raise misplaced("`interval` is that of a difference: show `delta` too", "show")
        names = [metric.name for metric in self.metrics or ()]
        if len({(m.name, m.weights) for m in self.metrics or ()}) < len(names):
            raise misplaced("a metric is given twice", "metrics")
        labels = [*(self.rows or ()), *([self.columns] if self.columns else [])]
        labels += [self.groups] if isinstance(self.groups, str) else []
        for name in labels:
            if labels.count(name) > 1:
                raise misplaced(
                    f"'{name}' is given twice over rows, columns and groups", "rows" if self.rows else "columns"
                )
        return self


class Reproduced(Spec):
    """A published row that one of the study's arms reproduces."""

    key: str = Field(min_length=1, description="Key of the published row; `slws references` lists them.")
    variant: str = Field(description="Its variant, as published.")
    arm: Settings = Field(description="Levels of the arm; {} where the study has one arm only.")
    system: str | None = Field(None, description="Its system, as published, where several rows fit.")
    dataset: str | None = Field(None, description="Its data set, where several rows fit.")
    resolution: str | None = Field(None, description="Its resolution, where several rows fit; in quotes.")


class Report(Spec):
    """What the report shows beside the tables that follow from the design."""

    references: list[str] = Field(default_factory=list, description="Keys of published results to show; never tested.")
    tables: list[PaperTable] = Field(default_factory=list, description="Tables to print beside the automatic ones.")
    reproduces: list[Reproduced] = Field(
        default_factory=list,
        description="Which published rows arms reproduce: shown with the gap between the two, which is never tested.",
    )
