"""The search of a study: where to look, how, for what, and how what it finds is confirmed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from slws_lab.spec.dimension import Dimension
from slws_lab.spec.levels import Settings
from slws_lab.spec.objectives import ARCHITECTURE, AnyObjective, Limited, Objective, Score, told_by_epochs
from slws_lab.spec.recipe import Spec, misplaced
from slws_lab.spec.samplers import Hyperband, Median, Patient, Pruner, Sampler, SuccessiveHalving, Tpe

Count = Annotated[int, Field(ge=1)]
Enqueued = Literal["baseline"] | Settings
ByEpochs = Median | SuccessiveHalving | Hyperband | Patient

MULTI = ("tpe", "gp", "nsgaii", "random", "qmc", "grid", "brute_force")  # samplers that take several objectives
CONSTRAINED = ("tpe", "gp", "nsgaii")  # and those that look at constraints


def baseline_first() -> list[Enqueued]:
    return ["baseline"]


def the_metric() -> list[AnyObjective]:
    return [Score()]


class Confirm(Spec):
    """What is run again with seeds that the search never saw."""

    top: int = Field(3, ge=1, le=100, description="So many of the best settings, beside the baseline.")
    seeds: int = Field(5, ge=3, le=50, description="So many fresh seeds each; a verdict needs 3.")


class SearchSpec(Spec):
    """Looks for settings that are good by one objective or several; a trial is an arm, and its runs are ordinary runs."""

    space: dict[str, Dimension] = Field(
        min_length=1, description="Field (or a word of yours, for sub-trees) to where it may lie."
    )
    trials: Count | None = Field(None, le=100_000, description="Stop after so many.")
    minutes: float | None = Field(None, gt=0, description="Begin none after so many, over all commands that searched.")
    sampler: Sampler = Tpe()
    pruner: Pruner | None = Field(None, description="Ends poor trials early; null: none.")
    seed: int = Field(0, ge=0, lt=2**31, description="Of the sampler's draws.")
    enqueue: list[Enqueued] = Field(
        default_factory=baseline_first, description="Trials to begin with; what one leaves out is the baseline's."
    )
    objectives: list[Objective] = Field(default_factory=the_metric, min_length=1, max_length=4)
    constraints: dict[Limited, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="Figure to the largest that is allowed."
    )
    parallel: Count | None = Field(None, description="Trials at a time; null: as many as there are slots.")
    storage: str = Field(
        "sqlite",
        min_length=1,
        description="sqlite or journal (a file of the workspace), or a database's address; variables are filled in.",
    )
    confirm: Confirm | None = None

    @field_validator("storage")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        if value not in ("sqlite", "journal") and not value.startswith(("postgresql", "mysql", "$")):
            raise ValueError(
                "storage is sqlite, journal, postgresql://..., mysql://..., or a variable ($NAME) that holds one"
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> SearchSpec:
        several = len(self.objectives) > 1
        if len({repr(objective) for objective in self.objectives}) < len(self.objectives):
            raise misplaced("an objective is given twice", "objectives")
        if several and self.sampler.name not in MULTI:
            raise misplaced(
                f"sampler {self.sampler.name} takes one objective; several are for {', '.join(MULTI)}", "sampler"
            )
        if self.pruner is not None and several:
            raise misplaced("a pruner goes with one objective", "pruner")
        if isinstance(self.pruner, ByEpochs) and not told_by_epochs(self.objectives[0]):
            raise misplaced(
                f"pruner {self.pruner.name} looks at epochs, and {self.objectives[0].name} is known at the end only",
                "pruner",
            )
        if self.constraints and self.sampler.name not in CONSTRAINED:
            raise misplaced(
                f"sampler {self.sampler.name} knows no constraints; these do: {', '.join(CONSTRAINED)}", "constraints"
            )
        if self.sampler.name == "gp" and any(name in ARCHITECTURE for name in self.constraints):
            raise misplaced(
                "sampler gp never learns of what is over a budget before it is trained: take tpe or nsgaii",
                "constraints",
            )
        if self.confirm is not None and several:
            raise misplaced("`confirm` needs one objective: of several nobody says which trial is best", "confirm")
        self._dimensions()
        return self

    def _dimensions(self) -> None:
        for name, dimension in self.space.items():
            countable = dimension.levels is not None or dimension.kind == "int" or dimension.step is not None
            if self.sampler.name in ("grid", "brute_force") and not countable:
                raise misplaced(
                    f"sampler {self.sampler.name} needs a finite space: give {name} a `step`, `int` or levels",
                    "space", name,
                )  # fmt: skip
            for other in dimension.when:
                at = ("space", name, "when", other)
                if other == name:
                    raise misplaced(f"'{name}' depends on itself by `when`", *at)
                if other in self.space and self.space[other].levels is None:
                    raise misplaced(f"`when` of {name} names {other}, which is a range: only levels can be named", *at)

    @property
    def finite(self) -> bool:
        """Whether the sampler ends by itself when every combination was tried."""
        return self.sampler.name in ("grid", "brute_force")
