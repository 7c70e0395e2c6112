"""The space of a study's settings around a baseline: what its blocks move in."""

from __future__ import annotations

from slws_lab.errors import UserError
from slws_lab.spec.levels import Level, Settings
from slws_lab.spec.load import Study


class Space:
    """The factors of a study that has been checked, as one block sees them.

    Args:
        study: The study.
        order: Its factors, each after those that its `when` names.
        fixed: What the block's `set` changes of the baseline and of every arm.
    """

    def __init__(self, study: Study, order: list[str], fixed: Settings) -> None:
        self.study, self.factors, self.order, self.fixed = study, study.spec.factors, order, fixed
        self.baseline = self.settle({})

    def levels(self, name: str) -> tuple[Level, ...]:
        """Return a factor's levels."""
        return self.factors[name].values

    def usual(self, name: str) -> Level:
        """Return a factor's level in the baseline (were it on)."""
        factor = self.factors[name]
        return self.fixed.get(name, self.study.spec.baseline.get(name, factor.values[0]))

    def others(self, name: str) -> list[Level]:
        """Return a factor's levels but for the baseline's."""
        return [level for level in self.levels(name) if level != self.usual(name)]

    def off(self, name: str) -> Level:
        """Return the level of a component that means off; it has one."""
        return self.factors[name].off_levels[0]

    def on(self, name: str) -> Level:
        """Return the level of a component that is on: the baseline's, or the first that is not off."""
        usual, off = self.usual(name), self.off(name)
        return usual if usual != off else next(level for level in self.levels(name) if level != off)

    def settle(self, changes: Settings) -> Settings:
        """Return the settings of an arm: changes over the baseline, factors that are off by `when` left out."""
        changes = {**self.fixed, **changes}
        settled: Settings = {}
        for name in self.order:
            factor = self.factors[name]
            if all(other in settled and settled[other] in levels for other, levels in factor.when.items()):
                settled[name] = changes.get(name, self.usual(name))
        in_order = {name: settled[name] for name in self.factors if name in settled}
        return in_order | {name: level for name, level in changes.items() if name not in self.factors}

    def must_be_on(self, name: str, settings: Settings, where: str, block: str) -> None:
        """Refuse to vary a factor where it is off by its `when`: it would silently change nothing.

        Raises:
            UserError: It is off in these settings.
        """
        if name in self.factors and name not in settings:
            needed = self.factors[name].when
            raise UserError(f"`{block}` varies '{name}', which is off by its `when` in {where}",
                            where=self.study.source.where(("factors", name, "when")), allowed=f"where {needed}",
                            todo="choose another `baseline:`, or give the levels that it needs too")  # fmt: skip
