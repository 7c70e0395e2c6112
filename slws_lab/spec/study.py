"""The study: one question, as the factors that vary around a recipe. `expand` turns it into arms and runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from slws_lab.spec.blocks import AnyBlock
from slws_lab.spec.levels import Factor, Level, Settings
from slws_lab.spec.metric import Metric
from slws_lab.spec.recipe import Name, Spec, misplaced
from slws_lab.spec.reporting import Report
from slws_lab.spec.resources import Resources
from slws_lab.spec.search import SearchSpec

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Comparisons(Spec):
    """How contrasts are judged."""

    family: Literal["all", "block"] = Field("all", description="Contrasts corrected together: all, or each block's.")
    correction: Literal["holm", "bh"] = Field(
        "holm",
        description="Holm bounds the chance of any false verdict, bh (Benjamini-Hochberg) the share of false ones.",
    )
    alpha: float = Field(0.05, gt=0, lt=0.5)
    margin: float | None = Field(
        None,
        gt=0,
        description="Largest difference that does not matter, in the metric's unit; null tests no equivalence.",
    )


class AdaptiveSeeds(Spec):
    """Seeds spent as needed: the first few for every arm, further ones only where a contrast is undecided."""

    min: int = Field(ge=3, le=50, description="Seeds that every arm gets; a verdict needs 3.")
    max: int = Field(ge=3, le=50, description="Most seeds of an arm.")
    until: Literal["decided"] = Field("decided", description="When an arm needs no further seed.")

    @model_validator(mode="after")
    def _in_order(self) -> AdaptiveSeeds:
        if self.min >= self.max:
            raise ValueError(f"min ({self.min}) must be below max ({self.max})")
        return self


class Budget(Spec):
    """What a study may cost."""

    device_hours: float = Field(
        gt=0, description="Hours of devices at work, over all runs; a run on 2 GPUs counts twice."
    )


class StudySpec(Spec):
    """One question (`studies/*.yaml`)."""

    name: Name
    question: str = Field(min_length=1)
    recipe: str = Field(min_length=1, description="Path of the recipe, relative to the study file.")
    set: Settings = Field(default_factory=dict, description="Fields of the recipe changed for every run.")
    factors: dict[str, Factor] = Field(default_factory=dict)
    baseline: Settings = Field(default_factory=dict, description="The baseline's levels, where not the first ones.")
    designs: list[AnyBlock] = Field(default_factory=list)
    exclude: list[dict[str, Level]] = Field(default_factory=list, description="Combinations left out.")
    seeds: Annotated[
        Annotated[list[Seed], Field(min_length=1), Tag("list")] | Annotated[AdaptiveSeeds, Tag("adaptive")],
        Discriminator(lambda given: "adaptive" if isinstance(given, dict | AdaptiveSeeds) else "list"),
    ] = Field(
        description="A number n (for 0 to n-1), a list of seeds, or {min, max, until: decided}; the same for every arm, but where "
        "blocks ask for fewer."
    )
    budget: Budget | None = Field(None, description="Where to stop, whatever is left to run; null: nowhere.")
    metric: Metric = Metric()
    comparisons: Comparisons = Comparisons()
    resources: Resources = Resources()
    report: Report = Report()
    search: SearchSpec | None = Field(None, description="Look for good settings, in place of factors and designs.")

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, value: Any) -> Any:
        """`seeds: 5` is short for `[0, 1, 2, 3, 4]`."""
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= 1_000_000:
                raise ValueError(f"a number of seeds lies between 1 and 1000000, not {value}")
            return list(range(value))
        if not isinstance(value, list | dict | AdaptiveSeeds):
            raise ValueError("seeds are a number of them, a list, or {min: 3, max: 10, until: decided}")
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: list[int] | AdaptiveSeeds) -> list[int] | AdaptiveSeeds:
        if isinstance(seeds, list) and len(set(seeds)) != len(seeds):
            raise ValueError("a seed is given twice")
        return seeds

    @model_validator(mode="after")
    def _asks_one_thing(self) -> StudySpec:
        if self.search is None and not self.designs:
            raise ValueError("a study needs `designs:` with at least one block, or `search:`")
        for name in ("factors", "designs", "exclude") if self.search else ():
            if getattr(self, name):
                raise misplaced(f"`search:` varies what its space says, so there is no `{name}:` beside it", name)
        if self.search and not isinstance(self.seeds, list):
            raise misplaced(
                "a search needs its seeds as a number or a list: each trial is run with all of them", "seeds"
            )
        for name in ("tables", "reproduces") if self.search else ():
            if getattr(self.report, name):
                raise misplaced(
                    f"a search's report has tables of its own, so there is no `{name}:` here", "report", name
                )
        if self.search and not (self.search.trials or self.search.minutes or self.search.finite or self.budget):
            raise misplaced("a search needs an end: `trials:` or `minutes:` under `search:`, or `budget:`", "search")
        return self

    @model_validator(mode="after")
    def _blocks_take_of_its_seeds(self) -> StudySpec:
        for i, block in enumerate(self.designs):
            place = ("designs", i, "seeds")
            if block.seeds is None:
                continue
            if isinstance(self.seeds, AdaptiveSeeds):
                raise misplaced(
                    "a block's `seeds:` goes with a number or a list of seeds, not with seeds as needed", *place
                )
            if block.seeds > len(self.seeds):
                raise misplaced(f"the block asks for {block.seeds} seeds, and the study has {len(self.seeds)}", *place)
        return self

    @property
    def adaptive(self) -> AdaptiveSeeds | None:
        """The rule by which further seeds are spent; None where all seeds are run for every arm."""
        return self.seeds if isinstance(self.seeds, AdaptiveSeeds) else None

    @property
    def first_seeds(self) -> tuple[int, ...]:
        """The seeds that every arm is run with, but where blocks ask for fewer."""
        return tuple(range(self.seeds.min) if isinstance(self.seeds, AdaptiveSeeds) else self.seeds)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds that an arm may be run with."""
        return tuple(range(self.seeds.max) if isinstance(self.seeds, AdaptiveSeeds) else self.seeds)
