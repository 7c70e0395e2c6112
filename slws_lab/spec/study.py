"""The study: one question, as the factors that vary around a recipe. `expand` turns it into arms and runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from slws_lab.spec.recipe import Name, Resources, Scalar, Spec

Level = Scalar | list[Scalar]
Settings = dict[str, Level]
SettingsList = list[Settings]


class Factor(Spec):
    """One thing varied: its levels, and the settings under which it exists at all."""

    levels: list[Level] = Field(min_length=1, description="Values of the factor; the first is the baseline's.")
    when: dict[str, list[Level]] = Field(
        default_factory=dict, description="Levels of other factors under which this one exists; else it is absent."
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_list(cls, value: Any) -> Any:
        """`[a, b]` is short for `{levels: [a, b]}`."""
        if not isinstance(value, list | dict | Factor):
            raise ValueError("a factor is a list of levels, or {levels: [...], when: {...}}")
        return {"levels": value} if isinstance(value, list) else value

    @field_validator("when", mode="before")
    @classmethod
    def _single_value(cls, value: Any) -> Any:
        """`when: {a: x}` is short for `when: {a: [x]}`."""
        if not isinstance(value, dict):
            return value
        return {key: item if isinstance(item, list) else [item] for key, item in value.items()}

    @field_validator("levels")
    @classmethod
    def _distinct(cls, levels: list[Level]) -> list[Level]:
        for i, level in enumerate(levels):
            if level in levels[:i]:
                raise ValueError(f"level {level!r} is given twice")
        return levels


class Block(Spec):
    """One block of a design. A subclass's first field is its tag; `expand` knows how each grows its arms."""


class GridBlock(Block):
    """All combinations of the factors' levels; the others stay at the baseline."""

    grid: list[str] = Field(min_length=1)


class OneAtATimeBlock(Block):
    """The baseline, and each factor's other levels one at a time."""

    one_at_a_time: list[str] = Field(min_length=1)


class ListBlock(Block):
    """Arms written out: what each changes of the baseline."""

    list: SettingsList = Field(min_length=1)


BLOCKS: dict[str, type[Block]] = {"grid": GridBlock, "one_at_a_time": OneAtATimeBlock, "list": ListBlock}


def _block_tag(value: Any) -> str | None:
    keys = list(value) if isinstance(value, dict) else [name for name, cls in BLOCKS.items() if type(value) is cls]
    return next((key for key in keys if key in BLOCKS), None)


AnyBlock = Annotated[
    Annotated[GridBlock, Tag("grid")]
    | Annotated[OneAtATimeBlock, Tag("one_at_a_time")]
    | Annotated[ListBlock, Tag("list")],
    Discriminator(
        _block_tag,
        custom_error_type="design",
        custom_error_message="a block of `designs` is one of: " + ", ".join(f"`{name}: [...]`" for name in BLOCKS),
    ),
]


class Metric(Spec):
    """The number that the study is about."""

    name: Literal["val/top1", "val/top5", "val/loss"] = "val/top1"
    goal: Literal["maximize", "minimize"] = "maximize"
    at: Literal["last", "best"] = Field(
        "last", description="Value of the last epoch, or the best one (marked in tables)."
    )
    weights: Literal["raw", "ema"] = Field("raw", description="Plain weights, or their moving average.")

    @property
    def key(self) -> str:
        """The name under which the journal holds it: `val/top1`, or `val/top1_ema` for the moving average."""
        return self.name if self.weights == "raw" else f"{self.name}_ema"

    @model_validator(mode="after")
    def _goal_fits(self) -> Metric:
        fitting = "minimize" if self.name.endswith("loss") else "maximize"
        if self.goal != fitting:
            raise ValueError(f"{self.name} goes with goal: {fitting}")
        return self


class Comparisons(Spec):
    """How contrasts are judged."""

    family: Literal["all", "block"] = Field("all", description="Contrasts corrected together: all, or each block's.")
    correction: Literal["holm"] = "holm"
    alpha: float = Field(0.05, gt=0, lt=0.5)
    margin: float | None = Field(
        None,
        gt=0,
        description="Largest difference that does not matter, in the metric's unit; null tests no equivalence.",
    )


class Report(Spec):
    """What the report shows beside our own runs."""

    references: list[str] = Field(default_factory=list, description="Keys of published results to show; never tested.")


class StudySpec(Spec):
    """One question (`studies/*.yaml`)."""

    name: Name
    question: str = Field(min_length=1)
    recipe: str = Field(min_length=1, description="Path of the recipe, relative to the study file.")
    set: Settings = Field(default_factory=dict, description="Fields of the recipe changed for every run.")
    factors: dict[str, Factor] = Field(default_factory=dict)
    baseline: Settings = Field(default_factory=dict, description="The baseline's levels, where not the first ones.")
    designs: list[AnyBlock] = Field(min_length=1)
    exclude: list[dict[str, Level]] = Field(default_factory=list, description="Combinations left out.")
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        min_length=1, description="A number n (for 0 to n-1), or a list of seeds; the same for every arm."
    )
    metric: Metric = Metric()
    comparisons: Comparisons = Comparisons()
    resources: Resources = Resources()
    report: Report = Report()
    search: None = Field(None, description="Not there yet: only null.")

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, value: Any) -> Any:
        """`seeds: 5` is short for `[0, 1, 2, 3, 4]`."""
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= 1_000_000:
                raise ValueError(f"a number of seeds lies between 1 and 1000000, not {value}")
            return list(range(value))
        if not isinstance(value, list):
            raise ValueError("seeds are a number of them, or a list")
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is given twice")
        return seeds
