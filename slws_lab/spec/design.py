"""A design: the arms and runs of a study, each arm with its role in each block. `expand` makes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from slws_lab.spec.identity import run_id
from slws_lab.spec.recipe import Recipe, RunSpec
from slws_lab.spec.study import Settings


@dataclass(frozen=True)
class Role:
    """What an arm is in one block of the design.

    Attributes:
        block: Number of the block, from 0.
        kind: `baseline`, or `variant` of it.
        reference: Id of the arm it is compared to; None for the reference itself.
    """

    block: int
    kind: str
    reference: str | None


@dataclass(frozen=True)
class Arm:
    """One setting of all factors.

    Attributes:
        id: Digest of the resolved recipe, 12 hex.
        label: The settings in short words, unique within the study.
        settings: Dotted field to level; a factor that is off is absent.
        recipe: The resolved recipe.
        roles: Its role in each block that gave it.
    """

    id: str
    label: str
    settings: Settings
    recipe: Recipe
    roles: tuple[Role, ...]

    @property
    def is_baseline(self) -> bool:
        return any(role.reference is None for role in self.roles)

    def run(self, seed: int) -> RunSpec:
        return RunSpec.of(self.recipe, seed)


@dataclass(frozen=True)
class Duplicate:
    """Settings that give the same recipe as an arm already there; they are reported and not run again."""

    settings: Settings
    arm: str


@dataclass(frozen=True)
class Design:
    """All arms of a study, in the order of its blocks."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    duplicates: tuple[Duplicate, ...] = ()
    excluded: int = 0

    @cached_property
    def runs(self) -> tuple[RunSpec, ...]:
        """All runs, breadth first (every arm at the first seed, then at the second), so that a whole table exists early."""
        return tuple(arm.run(seed) for seed in self.seeds for arm in self.arms)

    @cached_property
    def run_ids(self) -> dict[tuple[str, int], str]:
        """Map (arm id, seed) to run id."""
        return {(arm.id, seed): run_id(arm.run(seed)) for seed in self.seeds for arm in self.arms}

    @cached_property
    def ranks(self) -> int:
        """The processes of the run that needs most."""
        return max(arm.recipe.train.ranks for arm in self.arms)

    def arm(self, arm_id: str) -> Arm:
        return self._by_id[arm_id]

    @cached_property
    def _by_id(self) -> dict[str, Arm]:
        return {arm.id: arm for arm in self.arms}
