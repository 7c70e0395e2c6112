"""A design: the arms and runs of a study, each arm with its role in each block. `expand` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from slws_lab.spec.identity import canonical, run_ids
from slws_lab.spec.kinds import AnyRecipe, AnyRun, run_of
from slws_lab.spec.levels import Settings

KINDS = {
    "baseline": "baseline",
    "variant": "variant",
    "pair": "pair",
    "all_on": "all on",
    "removed": "without {note}",
    "step": "step",
    "control": "control",  # has the mean shuffle rate of another arm of its block
    "controlled": "against its control",
}


@dataclass(frozen=True)
class Role:
    """What an arm is in one block of the design.

    Attributes:
        block: Number of the block, from 0.
        kind: One of `KINDS`.
        reference: Id of the arm it is compared to; None for the block's own reference.
        step: Number of the step of build_up, 0 with all off; None elsewhere.
        note: The factors that it is about (`f`, or `f x g`); empty where it is about none.
    """

    block: int
    kind: str
    reference: str | None
    step: int | None = None
    note: str = ""

    @property
    def text(self) -> str:
        """The role in words, without its block."""
        if self.kind == "step":
            return f"step {self.step}: {'adds ' + self.note if self.step else 'all off'}"
        return KINDS[self.kind].format(note=self.note)


@dataclass(frozen=True)
class Arm:
    """One setting of all factors.

    Attributes:
        id: Digest of the resolved recipe, 12 hex.
        label: The settings in short words, unique within the study.
        settings: Factor or dotted field to level (of a factor over sub-trees, the level's name); a factor that is off is
            absent.
        recipe: The resolved recipe.
        roles: Its role in each block that gave it.
        tags: What else a study says of it, for whoever browses the runs; of a search its trials and how these stand.
        wanted: Whether its runs are asked for; of a search's arm that is over a budget they are not.
        seeds: How many of the design's seeds, counted from the first, it is asked for; None for all.
    """

    id: str
    label: str
    settings: Settings
    recipe: AnyRecipe
    roles: tuple[Role, ...]
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)
    wanted: bool = field(default=True, compare=False)
    seeds: int | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it is a block's reference, compared with nothing there."""
        return any(role.reference is None for role in self.roles)

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of its recipe, of which its id is a digest."""
        return canonical(self.recipe)

    def run(self, seed: int) -> AnyRun:
        return run_of(self.recipe, seed)


@dataclass(frozen=True)
class Duplicate:
    """Settings that give the same recipe as an arm already there; they are reported and not run again."""

    settings: Settings
    arm: str


@dataclass(frozen=True)
class Design:
    """All arms of a study, in the order of its blocks; the first is the first block's reference.

    Attributes:
        arms: The arms.
        seeds: All seeds that an arm may be run with; `seeds_of` says with which an arm is.
        duplicates: Settings that are another arm's training.
        excluded: How many combinations `exclude` left out.
        first_seeds: The seeds that every arm is run with, where further ones are spent as needed; None where all are given.
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    duplicates: tuple[Duplicate, ...] = ()
    excluded: int = 0
    first_seeds: tuple[int, ...] | None = None

    @cached_property
    def runs(self) -> tuple[AnyRun, ...]:
        """All runs, breadth first (every arm at the first seed, then at the second), so that a whole table exists early."""
        return tuple(self.arm(arm_id).run(seed) for arm_id, seed in self.run_ids)

    @cached_property
    def run_ids(self) -> dict[tuple[str, int], str]:
        """Map (arm id, seed) to run id, breadth first; an arm has those of its own seeds."""
        found = {arm.id: run_ids(arm.recipe.title, arm.canonical, self.seeds_of(arm.id)) for arm in self.arms}
        return {(a.id, seed): found[a.id][seed] for seed in self.seeds for a in self.arms if seed in found[a.id]}

    @cached_property
    def ranks(self) -> int:
        """The processes of the run that needs most."""
        return max(arm.recipe.ranks for arm in self.arms)

    def seeds_of(self, *arm_ids: str) -> tuple[int, ...]:
        """Return the seeds that an arm is asked for; of several arms, those that all of them are."""
        return self.seeds[: min((self.arm(arm_id).seeds or len(self.seeds) for arm_id in arm_ids), default=None)]

    def arm(self, arm_id: str) -> Arm:
        return self._by_id[arm_id]

    @cached_property
    def _by_id(self) -> dict[str, Arm]:
        return {arm.id: arm for arm in self.arms}
