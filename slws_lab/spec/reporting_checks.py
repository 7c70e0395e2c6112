"""Checks that the tables which a study asks for can be made of its design: names, levels, metrics, and one place an arm."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from slws_lab.errors import UserError, nearest
from slws_lab.spec import stages
from slws_lab.spec.command import CommandRecipe
from slws_lab.spec.design import Arm, Design
from slws_lab.spec.factors import matches
from slws_lab.spec.kinds import AnyRecipe
from slws_lab.spec.levels import Level, level_text
from slws_lab.spec.load import Study
from slws_lab.spec.reporting import PaperTable, ShownMetric
from slws_lab.spec.source import Loc

# Names of tables that a report has of its own; `ablation`, `sweep`, `grid`, `scaling` and `methods` give way to a study's.
RESERVED = re.compile(
    r"(effects|shapley|doses)(-\d+)?|contrasts|results|published|arms|runs|table|records|costs|commands"
)
EVALUATED = ("val/top1", "val/top5", "val/loss")
FITTED = ("train/top1", "train/top5")  # where the recipe has the training images evaluated too
TRAINED = (
    "train/loss", "train/lr", "train/shuffle_rate", "train/images_per_s", "train/peak_memory_mb", "train/seconds",
)  # fmt: skip
SIZES = ("model.name", "model.args.")  # fields that make a model larger or smaller


def check(study: Study, design: Design) -> None:
    """Check what a study says of its report against its design.

    Raises:
        UserError: An unknown factor, level or metric, a name that is taken, or two arms that would stand in one place.
    """
    for i, table in enumerate(study.spec.report.tables):
        _Check(study, design, ("report", "tables", i)).table(table)
    known: set[str] = set()
    for i, table in enumerate(study.spec.report.tables):
        where = study.source.where(("report", "tables", i, "name"))
        if RESERVED.fullmatch(table.name.lower()) or table.name.lower() == study.spec.name.lower():
            raise UserError(
                f"'{table.name}' is the name of another table of the report", where=where, todo="choose another name"
            )
        if table.name.lower() in known:
            raise UserError(f"two tables are called '{table.name}'", where=where, todo="choose another name")
        known.add(table.name.lower())
    for i, one in enumerate(study.spec.report.reproduces):
        loc: Loc = ("report", "reproduces", i)
        found = _Check(study, design, loc).arms({name: [level] for name, level in one.arm.items()}, "arm")
        if len(found) > 1:
            raise UserError(f"{len(found)} arms have these levels, and one reproduces a published row",
                            where=study.source.where((*loc, "arm")), todo="name more of its levels")  # fmt: skip


def journal_name(metric: ShownMetric, study_metric_weights: str, names: Collection[str]) -> str:
    """Return the name under which the journal holds a metric: of one of an evaluation that with the weights that are asked for.

    Args:
        metric: The metric.
        study_metric_weights: `raw` or `ema`, as of the study's metric.
        names: What the runs record. A command may average val/top1 and no train/top1, which then is shown as it is.
    """
    if not metric.name.startswith(("val/", *FITTED)) or metric.name.endswith("_ema"):
        return metric.name
    averaged = f"{metric.name}_ema"
    if metric.weights is None and metric.name in FITTED and averaged not in names:
        return metric.name
    return averaged if (metric.weights or study_metric_weights) == "ema" else metric.name


def recorded_by(design: Design) -> tuple[str, ...]:
    """Return the names of the metrics that runs of any arm record."""
    return tuple(dict.fromkeys(name for arm in design.arms for name in recorded(arm.recipe)))


def recorded(recipe: AnyRecipe) -> tuple[str, ...]:
    """Return the names of the metrics that runs of a recipe record."""
    if isinstance(recipe, CommandRecipe):
        return tuple(recipe.metrics.names)
    train = stages.resolve(recipe)[-1].train
    evaluated = (*EVALUATED, *(FITTED if train.eval_train else ()))
    return (*evaluated, *(f"{name}_ema" for name in evaluated if train.ema_decay is not None), *TRAINED)


def components(study_factors: Mapping[str, Any], arms: Iterable[Arm]) -> list[str]:
    """Return the factors that can be switched off and of which these arms have more than one level, in the study's order."""
    settings = [arm.settings for arm in arms]
    return [
        name
        for name, factor in study_factors.items()
        if len(factor.off_levels) == 1 and len({repr(one.get(name, ...)) for one in settings}) > 1
    ]


def sizing(study_factors: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return which of these factors and fields change the size of the model."""
    fields = {name: study_factors[name].fields(name) if name in study_factors else [name] for name in names}
    return [name for name, own in fields.items() if any(field.startswith(SIZES) for field in own)]


def varying(arms: Iterable[Arm]) -> list[str]:
    """Return the names of which these arms have more than one level (or of which one has none), in the order of their settings."""
    settings = [arm.settings for arm in arms]
    names = dict.fromkeys(name for one in settings for name in one)
    return [name for name in names if len({repr(one.get(name, ...)) for one in settings}) > 1]


class _Check:
    """The checks of one entry of the report, with its place in the file."""

    def __init__(self, study: Study, design: Design, loc: Loc) -> None:
        self.study, self.design, self.loc = study, design, loc
        self.names = list(dict.fromkeys(name for arm in design.arms for name in arm.settings))

    def table(self, table: PaperTable) -> None:
        arms = self.arms(table.where, "where")
        if isinstance(table.groups, list):
            for j, group in enumerate(table.groups):
                self.arms(group.where, "groups", j, "where")
        single = {"columns": table.columns, "groups": table.groups if isinstance(table.groups, str) else None}
        for name, at in [
            *((n, ("rows", j)) for j, n in enumerate(table.rows or ())),
            *((n, (k,)) for k, n in single.items()),
        ]:
            if name is not None:
                self._known(name, at)
        for j, metric in enumerate(table.metrics or ()):
            self._metric(metric, j)
        self._style(table, arms)

    def arms(self, pattern: Mapping[str, Sequence[Level]], *at: str | int) -> list[Arm]:
        """Return the arms with some levels.

        Raises:
            UserError: An unknown name or level, or there is no such arm.
        """
        for name, levels in pattern.items():
            self._known(name, (*at, name), of_key=True)
            known = list(
                {
                    repr(arm.settings[name]): arm.settings[name] for arm in self.design.arms if name in arm.settings
                }.values()
            )
            for level in levels:
                if level not in known:
                    raise UserError(f"no arm of this study has {name} at {level!r}", where=self._where((*at, name)),
                                    allowed=", ".join(map(repr, known)), todo=nearest(str(level), map(str, known)))  # fmt: skip
        found = [
            arm for arm in self.design.arms if matches(arm.settings, {n: list(levels) for n, levels in pattern.items()})
        ]
        if not found:
            raise UserError("no arm of this study has all of these levels", where=self._where(at),
                            todo="`slws study show` draws the arms")  # fmt: skip
        return found

    def _style(self, table: PaperTable, arms: list[Arm]) -> None:
        factors = self.study.spec.factors
        if table.style == "ablation" and not (table.rows or components(factors, arms)):
            raise UserError("none of these arms' factors can be switched off, so there is nothing to mark",
                            where=self._where(("style",)), todo="choose style plain, or give a factor `off:`")  # fmt: skip
        if table.style == "scaling" and not sizing(factors, varying(arms)):
            raise UserError("these arms' models are all of one size", where=self._where(("style",)),
                            allowed="scaling where model.name or model.args varies", todo="choose style plain")  # fmt: skip
        report = self.study.spec.report
        if table.style == "methods" and not (report.references or report.reproduces):
            raise UserError("no published rows to compare with", where=self._where(("style",)),
                            todo="name them under `references:`; `slws references` lists them")  # fmt: skip
        if table.style in ("plain", "sweep", "ablation"):
            self._apart(table, arms)

    def _apart(self, table: PaperTable, arms: list[Arm]) -> None:
        """Refuse a table in which two arms would stand in one place."""
        labels = [*(table.rows or varying(arms)), *([table.columns] if table.columns else [])]
        labels += [table.groups] if isinstance(table.groups, str) else []
        places: dict[str, Arm] = {}
        for arm in arms:
            place = repr([arm.settings.get(name, ...) for name in labels] + [self._group(table, arm)])
            other = places.setdefault(place, arm)
            if other is not arm:
                differ = [n for n in varying([arm, other]) if n not in labels]
                shown = ", ".join(f"{n}={level_text(arm.settings[n])}" for n in labels if n in arm.settings)
                raise UserError(f"two arms would stand in one place of this table ({shown})", where=self._where(("rows",)),
                                todo=f"add {' or '.join(differ)} to its rows, columns or groups, or narrow `where:`")  # fmt: skip

    @staticmethod
    def _group(table: PaperTable, arm: Arm) -> int:
        groups = table.groups if isinstance(table.groups, list) else []
        return next((i for i, group in enumerate(groups) if matches(arm.settings, dict(group.where))), -1)

    def _metric(self, metric: ShownMetric, number: int) -> None:
        names = recorded_by(self.design)
        if journal_name(metric, self.study.spec.metric.weights, names) not in names:
            averaged = "the moving average (ema) of " if metric.name in names else ""
            raise UserError(f"no run records {averaged}{metric.name!r}", where=self._where(("metrics", number, "name")),
                            allowed=", ".join(names), todo="" if averaged else nearest(metric.name, names))  # fmt: skip

    def _known(self, name: str, at: Loc, *, of_key: bool = False) -> None:
        if name not in self.names:
            raise UserError(f"no arm of this study varies or names '{name}'", where=self._where(at, of_key=of_key),
                            allowed=", ".join(self.names) or "nothing: all arms are the recipe as it is",
                            todo=nearest(name, self.names))  # fmt: skip

    def _where(self, at: Loc, *, of_key: bool = False) -> str:
        return self.study.source.where((*self.loc, *at), of_key=of_key)
