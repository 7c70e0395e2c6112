"""From a study to its design: pure, deterministic, no run twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from slws_lab.errors import UserError
from slws_lab.spec import checks, controls, factors, growth, paths, places, reporting_checks, stages, weights
from slws_lab.spec.blocks import Block
from slws_lab.spec.command import CommandRecipe
from slws_lab.spec.command_checks import given, missing_value, no_value
from slws_lab.spec.design import Arm, Design, Duplicate, Role
from slws_lab.spec.growth import Member
from slws_lab.spec.identity import digest
from slws_lab.spec.kinds import AnyRecipe
from slws_lab.spec.levels import Settings
from slws_lab.spec.load import Study
from slws_lab.spec.recipe import Recipe
from slws_lab.spec.space import Space

MAX_RUNS = 1_000_000
REFERENCES = {"baseline": "baseline", "all_on": "arm with all on", "step": "arm with all off"}


def expand(study: Study) -> Design:
    """Turn a study into its design.

    Raises:
        UserError: A factor, level, `when`, `exclude` or `baseline` that does not fit, or over 1,000,000 runs.
    """
    design = _Expansion(study).design()
    reporting_checks.check(study, design)
    return design


def check_recipe(study: Study, settings: Settings) -> AnyRecipe:
    """Resolve and validate the recipe of some settings; each value by its own field.

    Raises:
        UserError: With the place in the study or the recipe where the offending value stands.
    """
    changed = {**study.spec.set, **factors.changes(study, settings)}
    return (
        _training(study, settings, changed)
        if study.command is None
        else _command(study, study.command, settings, changed)
    )


def _command(study: Study, recipe: CommandRecipe, settings: Settings, changed: Settings) -> CommandRecipe:
    """Give the fields of a command their values; one of a factor that is off by `when` keeps the recipe's own."""
    off, fields = factors.unset(study, settings), dict(recipe.fields)
    for name in (name for name in changed if name not in off):
        value = given(recipe, name, changed[name], places.where_set(study, name, settings))
        fields[name] = fields[name].model_copy(update={"value": value})
    resolved = recipe.model_copy(update={"fields": fields})
    if name := missing_value(resolved):
        raise no_value(name, places.where_set(study, name, settings))
    return resolved


def _training(study: Study, settings: Settings, changed: Settings) -> Recipe:
    try:
        recipe = Recipe.model_validate(paths.assign(study.recipe.data, changed, factors.unset(study, settings)))
    except ValidationError as error:
        raise places.locate(error, study, settings) from None
    try:
        recipe = weights.fill_digest(recipe, study.root)
        stages.resolve(recipe)
    except UserError as error:
        raise error.at(places.where_set(study, error.where, settings)) from None
    for name in changed:
        if stages.hidden(recipe, name):
            raise UserError(f"'{name}' would change nothing: each stage of the recipe sets its own",
                            where=places.where_set(study, name, settings), todo="take it out of the stages' `set:`")  # fmt: skip
    if study.spec.metric.weights == "ema" and stages.resolve(recipe)[-1].train.ema_decay is None:
        raise UserError("the metric is of the moving average of the weights, and there is none",
                        where=study.source.where(("metric", "weights")), todo="set train.ema_decay, or weights: raw")  # fmt: skip
    return recipe


@dataclass
class _Sprout:
    """An arm while its design is being expanded: its roles come block by block."""

    settings: Settings
    recipe: AnyRecipe
    roles: list[Role] = field(default_factory=list)
    seeds: int = 0


class _Expansion:
    """One expansion at work: the study's factors, checked once, and the arms found so far."""

    def __init__(self, study: Study) -> None:
        self.study, self.spec = study, study.spec
        self.order = checks.check(study)
        self.resolved: dict[str, tuple[str, AnyRecipe]] = {}
        self.sprouts: dict[str, _Sprout] = {}
        self.duplicates: dict[str, Duplicate] = {}
        self.excluded: set[str] = set()

    def design(self) -> Design:
        spaces = [Space(self.study, self.order, block.set) for block in self.spec.designs]
        self._check_size(spaces)
        for number, (block, space) in enumerate(zip(self.spec.designs, spaces, strict=True)):
            members = self._kept(number, block, growth.members(space, block))
            if block.control:
                members += controls.controls(self.study, number, members, self._training)
            for member in members:
                self._add(number, block, member)
        labels = factors.labels([sprout.settings for sprout in self.sprouts.values()])
        every = len(self.spec.all_seeds)
        arms = tuple(
            Arm(
                arm_id,
                label,
                sprout.settings,
                sprout.recipe,
                tuple(sprout.roles),
                seeds=sprout.seeds if sprout.seeds < every else None,
            )
            for (arm_id, sprout), label in zip(self.sprouts.items(), labels, strict=True)
        )
        left_out = self.excluded - {_key(arm.settings) for arm in arms}
        first = self.spec.first_seeds if self.spec.adaptive else None
        return Design(arms, self.spec.all_seeds, tuple(self.duplicates.values()), len(left_out), first)

    def _kept(self, number: int, block: Block, members: Iterable[Member]) -> list[Member]:
        """Return the arms that neither `exclude` nor the block's `when` leaves out; a reference cannot be left out."""
        kept: list[Member] = []
        known: set[str] = set()
        for member in members:
            if self._is_excluded(number, block, member):
                self.excluded.add(_key(member.settings))
            elif member.reference is None or factors.matches(member.settings, block.when):
                if member.reference is not None and _key(member.reference) not in known:
                    raise UserError(f"{_role(number, member).text} has no reference: the arm it is compared to is left out",
                                    where=self.study.source.where(("designs", number)),
                                    todo="mend `when` or `exclude`, or take the factor out of the block")  # fmt: skip
                known.add(_key(member.settings))
                kept.append(member)
        return kept

    def _is_excluded(self, number: int, block: Block, member: Member) -> bool:
        for loc, patterns in ((("exclude",), self.spec.exclude), (("designs", number, "exclude"), block.exclude)):
            if any(factors.matches(member.settings, pattern) for pattern in patterns):
                if member.reference is None:
                    raise UserError(f"`exclude` takes out the {REFERENCES[member.kind]}, to which the other arms are compared",
                                    where=self.study.source.where(loc),
                                    todo="choose another `baseline:`, or narrow the pattern")  # fmt: skip
                return True
        return False

    def _add(self, number: int, block: Block, member: Member) -> None:
        arm_id, recipe = self._resolve(member.settings)
        sprout = self.sprouts.setdefault(arm_id, _Sprout(member.settings, recipe))
        sprout.seeds = max(sprout.seeds, block.seeds or len(self.spec.all_seeds))
        if sprout.settings != member.settings:
            self.duplicates.setdefault(_key(member.settings), Duplicate(member.settings, arm_id))
        reference = None if member.reference is None else self._resolve(member.reference)[0]
        if reference == arm_id:
            if member.kind in ("removed", "step"):
                raise UserError(f"switching '{member.note}' changes nothing here: both arms are the same training",
                                where=self.study.source.where(("designs", number, block.kind)),
                                todo=f"take '{member.note}' out of the block")  # fmt: skip
            return
        if all((role.block, role.reference) != (number, reference) for role in sprout.roles):
            sprout.roles.append(_role(number, member, reference))

    def _resolve(self, settings: Settings) -> tuple[str, AnyRecipe]:
        """Return the id and the recipe of settings."""
        key = _key(settings)
        if key not in self.resolved:
            recipe = check_recipe(self.study, settings)
            self.resolved[key] = digest(recipe), recipe
        return self.resolved[key]

    def _training(self, settings: Settings) -> Recipe:
        recipe = self._resolve(settings)[1]
        assert isinstance(recipe, Recipe)  # a block with `control` of a command's recipe is refused
        return recipe

    def _check_size(self, spaces: list[Space]) -> None:
        every, blocks = len(self.spec.all_seeds), zip(spaces, self.spec.designs, strict=True)
        runs = sum(growth.at_most(space, block) * (block.seeds or every) for space, block in blocks)
        if runs > MAX_RUNS:
            raise UserError(f"the design has up to {runs:,} runs", where=self.study.source.where(("designs",)),
                            allowed=f"at most {MAX_RUNS:,}", todo="vary fewer factors in one grid")  # fmt: skip


def _role(number: int, member: Member, reference: str | None = None) -> Role:
    return Role(number, member.kind, reference, member.step, member.note)


def _key(settings: Settings) -> str:
    return repr(sorted(settings.items()))
