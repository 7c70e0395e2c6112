"""Control arms: for a shuffle schedule the constant one of the same mean rate, so that shape and amount are not confounded.

The mean over layers is had in closed form, so a control is the very run that a hand-written constant arm would be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from slws_lab.errors import UserError
from slws_lab.spec.growth import Member
from slws_lab.spec.levels import Settings, tidy
from slws_lab.spec.load import Study
from slws_lab.spec.recipe import Recipe, ShuffleSpec

FREE = ("none", "constant")  # schedules that need no control
OWN = ("steps", "k", "rates")  # parameters of other schedules, which constant does not take
DEPTH = "model.args.depth"
MAX_DEPTH = 10_000


def controls(
    study: Study, number: int, members: Sequence[Member], recipe: Callable[[Settings], Recipe]
) -> Iterator[Member]:
    """Return the controls of a block, and its scheduled arms once more, as compared with them.

    Args:
        study: The study.
        number: Number of the block.
        members: The block's arms, its reference first.
        recipe: Resolves settings.

    Raises:
        UserError: No arm has a schedule to control, or its mean rate cannot be known.
    """
    place = study.source.where(("designs", number, "control"))
    scheduled = [member for member in members if recipe(member.settings).shuffle.schedule not in FREE]
    if not scheduled:
        raise UserError("`control` has nothing to control: no arm of the block has a shuffle schedule",
                        where=place, allowed="a block with an arm whose schedule is not none or constant",
                        todo="leave `control` out, or vary shuffle.schedule")  # fmt: skip
    reference = members[0].settings
    for member in scheduled:
        try:
            settings = _control(study, member.settings, recipe(member.settings))
        except UserError as error:
            raise error.at(place) from None
        yield Member(settings, "control", reference)
        if recipe(member.settings) != recipe(reference):  # of the reference it would be the same contrast, turned round
            yield Member(member.settings, "controlled", settings)


def mean_rate(spec: ShuffleSpec, depth: int | None) -> float:
    """Return the mean of the layers' rates.

    Args:
        spec: A schedule.
        depth: The number of layers; None where only the model knows, which suffices if it is 2 or more and the mean is the
            same at all of these.

    Raises:
        UserError: The mean depends on the depth, and it is None.
    """
    if spec.rates is not None:
        return tidy(math.fsum(spec.rates) / len(spec.rates))
    if spec.schedule in ("linear", "reverse", "cosine"):  # symmetric about half the depth
        return 0.0 if depth == 1 else spec.max_rate / 2
    if spec.schedule == "constant":
        return spec.max_rate
    if depth is None:
        raise UserError(f"the mean rate of schedule {spec.schedule} depends on the number of layers, which only the model knows",
                        todo=f"write {DEPTH} into the recipe or the study's `set:`")  # fmt: skip
    stairs = spec.steps or 2
    layers = {
        "constant_skip_first": depth - 1.0,
        "last_k": float(spec.k or 0),
        "step": sum(layer * stairs // depth for layer in range(depth)) / (stairs - 1),
    }[spec.schedule]
    return tidy(spec.max_rate * layers / depth)


def _control(study: Study, settings: Settings, recipe: Recipe) -> Settings:
    """Return the settings of the constant schedule of equal mean rate."""
    staged = {field for stage in recipe.stages for field in stage.set}
    if shown := sorted(field for field in staged if field == DEPTH or field.startswith("shuffle.")):
        raise UserError(f"a stage of the recipe sets {shown[0]}, so no single rate is the mean of this arm's",
                        todo="leave `control` out, or the stage's `set:`")  # fmt: skip
    given = recipe.model.args.get("depth")
    if isinstance(given, int) and not 1 <= given <= MAX_DEPTH:
        raise UserError(f"{DEPTH} is {given}, which no model has", allowed=f"1 to {MAX_DEPTH}")
    rate = mean_rate(recipe.shuffle, given if isinstance(given, int) else None)
    fields = [f"shuffle.{name}" for name in OWN if getattr(recipe.shuffle, name) is not None]
    own = [field for field in fields if field in settings and field in study.spec.factors]
    kept = {name: level for name, level in settings.items() if name not in own}
    taken_back: Settings = dict.fromkeys([field for field in fields if field not in own])
    return kept | {"shuffle.schedule": "constant", "shuffle.max_rate": rate} | taken_back
