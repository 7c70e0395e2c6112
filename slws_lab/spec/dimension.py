"""A dimension of a search: the levels, or the ends of the range, that a field may take."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from slws_lab.spec.levels import AnyLevel, Factor, Level, Pattern
from slws_lab.spec.recipe import Spec

Number = int | float
Whole = int


def _number(value: Any) -> Any:
    """Refuse what is no number in one sentence, where a union would speak of whole numbers."""
    if isinstance(value, bool) or not isinstance(value, Number):
        raise ValueError("a number is expected here")
    return value


AnyNumber = Annotated[int | float, BeforeValidator(_number)]
Bounds = Annotated[list[AnyNumber], Field(min_length=2, max_length=2)]
WholeBounds = Annotated[list[int], Field(min_length=2, max_length=2)]
Step = Annotated[AnyNumber, Field(gt=0)]

RANGES = ("float", "log", "int", "log_int")
SOURCES = ("levels", *RANGES)


class Dimension(Spec):
    """One field, or one choice between sub-trees, that a search varies, and where it exists at all."""

    levels: list[AnyLevel] | None = Field(None, description="Values of the field, or {name, set} of whole sub-trees.")
    float: Bounds | None = Field(None, description="[lowest, highest]: any number between, all alike.")
    log: Bounds | None = Field(None, description="[lowest, highest]: any number between, all ratios alike.")
    int: WholeBounds | None = Field(None, description="[lowest, highest]: any whole number, all alike.")
    log_int: WholeBounds | None = Field(None, description="[lowest, highest]: any whole number, all ratios alike.")
    step: Step | None = Field(None, description="Of float and int: only lowest + a multiple of it.")
    when: Pattern = Field(
        default_factory=dict, description="Levels of other dimensions under which this one exists; else it is absent."
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_list(cls, value: Any) -> Any:
        """`[a, b]` is short for `{levels: [a, b]}`."""
        if not isinstance(value, list | dict | Dimension):
            raise ValueError(
                "a dimension is a list of levels, or {float: [low, high]}, {log: ...}, {int: ...}, {log_int: ...}"
            )
        return {"levels": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _is_one(self) -> Dimension:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a dimension is given by one of {', '.join(SOURCES)}, not by {' and '.join(given) or 'none'}"
            )
        if self.levels is not None:
            if len(self.levels) < 2:
                raise ValueError("a dimension has at least two levels; for a single one use `set:`")
            Factor(levels=self.levels)  # the rules of a factor's levels hold
        else:
            self._ordered()
        if self.step is not None:
            self._steps()
        return self

    @property
    def kind(self) -> str:
        """Which of `SOURCES` it is given by."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    @property
    def ends(self) -> tuple[Number, Number]:
        """Lowest and highest value of a range.

        Raises:
            ValueError: It has levels.
        """
        bounds = None if self.levels is not None else getattr(self, self.kind)
        if bounds is None:
            raise ValueError("a dimension of levels has no ends")
        return bounds[0], bounds[1]

    def holds(self, value: Level) -> bool:
        """Say whether it may take a value."""
        if self.levels is not None:
            return value in Factor(levels=self.levels).values
        if isinstance(value, bool) or not isinstance(value, Number):
            return False
        low, high = self.ends
        on_step = self.step is None or abs((value - low) / self.step - round((value - low) / self.step)) < 1e-8
        whole = self.kind in ("float", "log") or isinstance(value, Whole)
        return low <= value <= high and on_step and whole

    def _ordered(self) -> None:
        low, high = self.ends
        if low > high:
            raise ValueError(f"{self.kind}: the lowest value ({low:g}) is above the highest ({high:g})")
        if low == high:
            raise ValueError(f"{self.kind}: both ends are {low:g}; for a single value use `set:`")
        if self.kind.startswith("log") and low <= 0:
            raise ValueError(f"{self.kind}: both ends must be above 0, and the lowest is {low:g}")

    def _steps(self) -> None:
        if self.kind not in ("float", "int"):
            raise ValueError(f"`step` goes with float and int, not with {self.kind}")
        low, high = self.ends
        if self.step > high - low:  # type: ignore[operator]
            raise ValueError(f"step: {self.step:g} is more than there is between {low:g} and {high:g}")
        if self.kind == "int" and not isinstance(self.step, Whole):
            raise ValueError("step: of whole numbers it is one itself")
