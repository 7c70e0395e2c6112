"""Two studies compared: in what they differ, the arms that both have, and what each says of these. Its tables: `tables.comparison`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slws_lab.analysis import Contrast, Estimate, ResultTable, comparable, contrasts, estimates, varied
from slws_lab.analysis.costs import Cost, costs
from slws_lab.analysis.statistics import Paired, paired
from slws_lab.reports import wording
from slws_lab.reports.page import facts
from slws_lab.spec import Arm, Design, dotted

LEVELS_APART = ", "
LISTS = ("Packages", "Machine")  # origins that say many things, few of which differ


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two studies.

    Attributes:
        name: What it is called beside the other one.
        table: Its results.
        place: The workspace of its runs.
    """

    name: str
    table: ResultTable
    place: Path

    @property
    def judges(self) -> bool:
        """Whether its arms are compared with each other: a search's are not."""
        return self.table.study.search is None


@dataclass(frozen=True)
class Setting:
    """Something in which the two studies differ, as text for each."""

    name: str
    texts: tuple[str, str]


@dataclass(frozen=True)
class Beside:
    """A difference between the runs of two arms that follows from no difference of their recipes.

    Attributes:
        field: What differs: device, a package, the code of a module, the data, ...
        values: The first study's value and the second's, as text.
        seeds: The seeds at which it does.
    """

    field: str
    values: tuple[str, str]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """An arm of each study, the two alike in every field that either study varies.

    Attributes:
        arms: The first study's arm and the second's.
        estimates: What each reached.
        training: Whether they are one training: their runs have the same ids.
        runs: Whether those are the same runs, at all seeds that both have; see `Comparison.same_run`.
        changed: The fields in which their recipes differ.
        seeds: The seeds at which both finished.
        test: Second minus first over these seeds; None where the metrics differ.
        beside: In what else the runs differ.
    """

    arms: tuple[Arm, Arm]
    estimates: tuple[Estimate, Estimate]
    training: bool
    runs: bool
    changed: tuple[str, ...]
    seeds: tuple[int, ...]
    test: Paired | None
    beside: tuple[Beside, ...]


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side; everything is computed when it is first asked for."""

    first: Side
    second: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.first, self.second

    @property
    def tables(self) -> tuple[ResultTable, ResultTable]:
        return self.first.table, self.second.table

    @property
    def comparable(self) -> bool:
        """Whether both are about the same metric, so that there are differences between their values."""
        return self.first.table.study.metric == self.second.table.study.metric

    def same_run(self, run_id: str) -> bool:
        """Say whether both stand on one and the same run: of one workspace, or copied, as a bundle does, with the same result."""
        one, other = (table.result_sha256(run_id) for table in self.tables)
        return self.first.place == self.second.place or (one is not None and one == other)

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """In what the designs differ: plan, factors, and the fields of the recipe that neither varies."""
        one, other = self.tables
        plans = [{"Question": t.study.question} | _facts(facts.design_facts(t)) for t in self.tables]
        factors = [{f"Factor {name}": _levels(t.design, name) for name in varied(t.design)} for t in self.tables]
        apart = (one for one in _apart(factors, "not varied") if not _reordered(*one.texts))
        moving = {*_varying(one.design), *_varying(other.design)}
        recipes = [dotted(wording.baseline(table.design).recipe) for table in self.tables]
        fixed = [{name: str(value) for name, value in recipe.items() if name not in moving} for recipe in recipes]
        return (*_apart(plans, ""), *apart, *_apart(fixed, "not in it"))

    @cached_property
    def made_by(self) -> tuple[Setting, ...]:
        """In what the origins of their runs differ that no study declares: code, packages, data, machine; only what differs of each."""
        origins = [_facts(facts.provenance_facts(table)) for table in self.tables]
        found = _apart(origins, comparable.NOT_RECORDED)
        return tuple(Setting(one.name, _only_other(*one.texts)) if one.name in LISTS else one for one in found)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The arms that both have, in the order of the first study: those of one training first found, then those alike."""
        return tuple(self._pair(one, other) for one, other in _matched(*(table.design for table in self.tables)))

    @cached_property
    def alone(self) -> tuple[tuple[Arm, ...], tuple[Arm, ...]]:
        """The arms that only the first study has, and only the second."""
        paired_ids = [{pair.arms[i].id for pair in self.pairs} for i in (0, 1)]
        one, other = (
            tuple(arm for arm in table.design.arms if arm.id not in known)
            for table, known in zip(self.tables, paired_ids, strict=True)
        )
        return one, other

    @cached_property
    def judged(self) -> tuple[tuple[Contrast, Contrast], ...]:
        """The contrasts that both studies make between arms that both have."""
        if not (self.first.judges and self.second.judges):
            return ()
        known_as = {pair.arms[0].id: pair.arms[1].id for pair in self.pairs}
        other: dict[tuple[str, str], list[Contrast]] = {}
        for contrast in contrasts(self.second.table):
            other.setdefault((contrast.arm_id, contrast.reference), []).append(contrast)
        return tuple(
            (contrast, left.pop(0))  # of one that several families judge, the first with the first
            for contrast in contrasts(self.first.table)
            if (left := other.get((known_as.get(contrast.arm_id, ""), known_as.get(contrast.reference, ""))))
        )

    @property
    def overturned(self) -> tuple[tuple[Contrast, Contrast], ...]:
        """Those of the contrasts on which the verdicts differ."""
        return tuple((one, other) for one, other in self.judged if one.verdict != other.verdict)

    @property
    def costs(self) -> tuple[tuple[Cost, ...], tuple[Cost, ...]]:
        """What the arms of each study cost."""
        return costs(self.first.table), costs(self.second.table)

    def estimate(self, side: int, arm: Arm) -> Estimate:
        """Return what an arm of the first study (0) or the second (1) reached."""
        return self._estimates[side][arm.id]

    @cached_property
    def _estimates(self) -> list[dict[str, Estimate]]:
        return [{found.arm_id: found for found in estimates(table)} for table in self.tables]

    def _pair(self, one: Arm, other: Arm) -> Pair:
        values = [table.values[arm.id] for table, arm in zip(self.tables, (one, other), strict=True)]
        seeds = tuple(int(seed) for seed in values[0].dropna().index if seed in values[1].dropna().index)
        alpha, training = self.first.table.study.comparisons.alpha, one.id == other.id
        test = (
            paired(values[1][list(seeds)].to_numpy(), values[0][list(seeds)].to_numpy(), alpha)
            if self.comparable
            else None
        )
        recipes = dotted(one.recipe), dotted(other.recipe)
        changed = tuple(name for name in {**recipes[0], **recipes[1]} if recipes[0].get(name) != recipes[1].get(name))
        runs = (
            training
            and bool(seeds)
            and all(self.same_run(self.first.table.design.run_ids[one.id, seed]) for seed in seeds)
        )
        return Pair(
            (one, other), (self.estimate(0, one), self.estimate(1, other)), training, runs, changed, seeds, test,
            () if runs else tuple(self._beside((one, other), seeds, {*changed})),
        )  # fmt: skip

    def _beside(self, arms: tuple[Arm, Arm], seeds: tuple[int, ...], declared: set[str]) -> Iterator[Beside]:
        found: dict[tuple[str, str, str], list[int]] = {}
        for seed in seeds:
            one, other = (table.record(arm.id, seed) for table, arm in zip(self.tables, arms, strict=True))
            for field, *values in comparable.recorded_differences(one, other):
                if not comparable.explained(field, declared):
                    found.setdefault((field, values[0], values[1]), []).append(seed)
        for (field, first, second), at in found.items():
            yield Beside(field, (first, second), tuple(at))


def _matched(one: Design, other: Design) -> list[tuple[Arm, Arm]]:
    """Return the arms of two designs that belong together, each once, in the order of the first."""
    fields = tuple(dict.fromkeys([*_varying(one), *_varying(other)]))
    same, own = {arm.id: arm for arm in other.arms}, {arm.id for arm in one.arms}
    alike = {_values(arm, fields): arm for arm in reversed(other.arms) if arm.id not in own}
    found = []
    for arm in one.arms:
        partner = same.get(arm.id) or alike.pop(_values(arm, fields), None)
        found += [(arm, partner)] if partner is not None else []
    return found


def _varying(design: Design) -> list[str]:
    """Return the fields of the recipe in which the arms of a design differ, whatever its factors are called."""
    recipes = [dotted(arm.recipe) for arm in design.arms]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    return [name for name in names if len({repr(recipe.get(name)) for recipe in recipes}) > 1]


def _values(arm: Arm, fields: tuple[str, ...]) -> tuple[str, ...]:
    recipe: dict[str, Any] = dotted(arm.recipe)
    return tuple(repr(recipe.get(field)) for field in fields)


def _levels(design: Design, name: str) -> str:
    return LEVELS_APART.join(
        dict.fromkeys(wording.level_text(arm, name) for arm in design.arms if name in arm.settings)
    )


def _reordered(one: str, other: str) -> bool:
    """Say whether two lists of levels are the same but for their order: which of them is the baseline's is a fact of its own."""
    return sorted(one.split(LEVELS_APART)) == sorted(other.split(LEVELS_APART))


def _facts(found: list[facts.Fact]) -> dict[str, str]:
    return {fact.name: "; ".join(fact.texts) for fact in found}


def _apart(known: list[dict[str, str]], absent: str) -> list[Setting]:
    """Return what is known of both studies under a name and is not the same; `absent` stands for what only one says."""
    one, other = known
    texts = {name: (one.get(name, absent), other.get(name, absent)) for name in {**one, **other}}
    return [Setting(name, pair) for name, pair in texts.items() if pair[0] != pair[1]]


def _only_other(one: str, other: str) -> tuple[str, str]:
    """Return two lists as text without what both hold: of many packages the few that differ are of interest."""
    items = one.split(", "), other.split(", ")
    own = [[item for item in items[i] if item not in items[1 - i]] for i in (0, 1)]
    return ", ".join(own[0]) or wording.NOTHING, ", ".join(own[1]) or wording.NOTHING
