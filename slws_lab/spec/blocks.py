"""The blocks of a design as written in a study. What arms each gives stands in `growth`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from slws_lab.spec.levels import Level, Pattern, Settings
from slws_lab.spec.recipe import Name, Spec

SettingsList = list[Settings]
Names = Annotated[list[str], Field(min_length=1)]


class Block(Spec):
    """One block of a design: what every kind takes. A subclass has one field more, of the name of its kind."""

    kind: ClassVar[str]

    name: Name | None = Field(None, description="What to call the block; null: its number.")
    when: Pattern = Field(
        default_factory=dict, description="Only arms of the block with these levels, and its reference."
    )
    exclude: list[Settings] = Field(default_factory=list, description="Combinations left out of this block.")
    set: Settings = Field(
        default_factory=dict,
        description="Fields, or factors' levels, changed for the block's arms and their reference alike.",
    )
    control: Literal["equal_mean_constant"] | None = Field(
        None,
        description="For each shuffle schedule in the block the constant one of the same mean rate, compared with it: "
        "so shape and amount are not confounded.",
    )
    seeds: int | None = Field(
        None,
        ge=1,
        description="A number n: the block's arms are run with the first n of the study's seeds; null: with all. An arm that "
        "several blocks give has the most that any of them asks for.",
    )

    @field_validator("seeds", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError("a block's seeds are one number n, for the first n of the study's seeds")
        return value

    @property
    def content(self) -> Any:
        """What is written under the block's kind."""
        return getattr(self, self.kind)

    @property
    def varies(self) -> list[str]:
        """The factors and fields that it varies."""
        parts = self.content if self.kind == "list" else [self.content]
        return list(dict.fromkeys(name for part in parts for name in part))


class GridBlock(Block):
    """All combinations of the factors' levels; the others stay at the baseline."""

    kind = "grid"
    grid: Names


class OneAtATimeBlock(Block):
    """The baseline, and each factor's other levels one at a time."""

    kind = "one_at_a_time"
    one_at_a_time: Names


class LeaveOneOutBlock(Block):
    """All components on, and each switched off in turn; each is compared with all on."""

    kind = "leave_one_out"
    leave_one_out: Names


class BuildUpBlock(Block):
    """All components off, then one more on at each step, in the order given; each step is compared with the one before."""

    kind = "build_up"
    build_up: Names


class PairwiseBlock(Block):
    """The baseline, each factor's other levels alone, and those of every two factors together: a whole grid of each pair."""

    kind = "pairwise"
    pairwise: Annotated[list[str], Field(min_length=2)]


class ZipBlock(Block):
    """Levels in parallel: the first of all, the second of all, and so on."""

    kind = "zip"
    zip: Annotated[
        dict[str, Annotated[list[Level], Field(min_length=1)]],
        Field(min_length=1, description="A list of factors, or fields and factors with their levels."),
    ] | Names  # fmt: skip

    @field_validator("zip", mode="before")
    @classmethod
    def _list_or_mapping(cls, value: Any) -> Any:
        if not isinstance(value, list | dict):
            raise ValueError("zip is a list of factors, or a mapping of fields to levels")
        return value


class ListBlock(Block):
    """Arms written out: what each changes of the baseline."""

    kind = "list"
    list: Annotated[SettingsList, Field(min_length=1)]


BLOCKS: dict[str, type[Block]] = {
    cls.kind: cls
    for cls in (GridBlock, OneAtATimeBlock, LeaveOneOutBlock, BuildUpBlock, PairwiseBlock, ZipBlock, ListBlock)
}


def _block_tag(value: Any) -> str | None:
    """Return the tag of a block: not its kind alone, since a tag that is also a key would lead an error's place astray."""
    keys = list(value) if isinstance(value, dict) else [getattr(value, "kind", "")]
    return next((f"{key} block" for key in keys if key in BLOCKS), None)


AnyBlock = Annotated[
    Annotated[GridBlock, Tag("grid block")]
    | Annotated[OneAtATimeBlock, Tag("one_at_a_time block")]
    | Annotated[LeaveOneOutBlock, Tag("leave_one_out block")]
    | Annotated[BuildUpBlock, Tag("build_up block")]
    | Annotated[PairwiseBlock, Tag("pairwise block")]
    | Annotated[ZipBlock, Tag("zip block")]
    | Annotated[ListBlock, Tag("list block")],
    Discriminator(
        _block_tag,
        custom_error_type="design",
        custom_error_message="a block of `designs` is one of: " + ", ".join(f"`{name}: [...]`" for name in BLOCKS),
    ),
]
