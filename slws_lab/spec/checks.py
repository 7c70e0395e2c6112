"""Checks that every name and level which a study gives is one, before anything is expanded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from slws_lab.errors import UserError, nearest
from slws_lab.spec.blocks import Block
from slws_lab.spec.command_checks import COLUMNS, names_seed
from slws_lab.spec.levels import Level, Settings
from slws_lab.spec.load import Study
from slws_lab.spec.source import Loc

SWITCHING = ("leave_one_out", "build_up")
TRAINING_METRICS: tuple[str, ...] = ("val/top1", "val/top5", "val/loss")


def check(study: Study) -> list[str]:
    """Check every name and level that a study gives, and return its factors in the order in which `when` settles them.

    Raises:
        UserError: An unknown field, factor or level, a cycle of `when`, or rules that do not go together.
    """
    spec = study.spec
    if spec.adaptive is not None and spec.comparisons.correction != "holm":
        raise UserError(f"seeds as needed go with Holm's correction, not with {spec.comparisons.correction}",
                        where=study.source.where(("comparisons", "correction")),
                        todo="set `correction: holm`, or give the number of seeds")  # fmt: skip
    _metric(study)
    _seeds(study)
    _known_fields(study, spec.set, ("set",))
    for name, factor in spec.factors.items():
        _factor(study, name)
        _known_levels(study, factor.when, ("factors", name, "when"))
    _known_levels(study, {name: [level] for name, level in spec.baseline.items()}, ("baseline",))
    _exclude(study, spec.exclude, ("exclude",))
    for i, block in enumerate(spec.designs):
        _block(study, block, ("designs", i))
    return _order(study)


def _metric(study: Study) -> None:
    """Check that the runs give the study's metric; a training always gives the same three."""
    metric, command = study.spec.metric, study.command
    given, names, todo = metric.name, TRAINING_METRICS, ""
    what = f"{given!r} is not allowed here"
    if command is not None:
        given, names, todo = (
            metric.key,
            tuple(command.metrics.names),
            f"name it under `metrics:` of {study.recipe.path.name}",
        )
        what = f"the command gives no metric {given!r}"
    if given not in names:
        raise UserError(what, where=study.source.where(("metric", "name")), allowed=", ".join(map(repr, names)),
                        todo=nearest(given, names) or todo)  # fmt: skip


def _seeds(study: Study) -> None:
    """Refuse several seeds of a command that gets none: its runs would be one and the same."""
    if study.command is not None and len(study.spec.all_seeds) > 1 and not names_seed(study.command):
        raise UserError("the study has several seeds, and the command gets none of them", where=study.source.where(("seeds",)),
                        todo="write {seed} into the recipe's `command:` or `env:`, or give one seed")  # fmt: skip


def _factor(study: Study, name: str) -> None:
    """Check that a factor over one field is called by it, that one over several is not, and the fields it sets."""
    factor, loc = study.spec.factors[name], ("factors", name)
    if not factor.subtrees:
        _known_fields(study, [name], ("factors",))
    elif study.has_field(name) or name in COLUMNS:
        why = "is a field" if study.has_field(name) else "has a meaning of its own"
        raise UserError(f"'{name}' {why}: a factor over whole sub-trees needs another name",
                        where=study.source.where(loc, of_key=True), todo="choose a word of yours, e.g. augmentation")  # fmt: skip
    for level, fields in factor.subtrees.items():
        for field in fields:
            _known_fields(study, [field], (*loc, *factor.place(level, field)[: -2 if factor.linked else -1]))
    if factor.off is not None:
        _known_levels(study, {name: [factor.off]}, loc, key="off")


def _block(study: Study, block: Block, loc: Loc) -> None:
    inner = (*loc, block.kind)
    if block.control and study.command:
        raise UserError("`control` is made of the shuffle's rates, and a command's recipe has none of its own",
                        where=study.source.where((*loc, "control")), todo="leave it out")  # fmt: skip
    if isinstance(block.content, dict):
        _known_settings(study, block.content, inner)
        _equal_counts(study, {name: len(levels) for name, levels in block.content.items()}, inner)
    elif block.kind == "list":
        for j, settings in enumerate(block.content):
            _known_settings(study, {name: [level] for name, level in settings.items()}, (*inner, j))
    else:
        _known_factors(study, block.content, inner)
        if block.kind == "zip":
            _equal_counts(study, {name: len(study.spec.factors[name].values) for name in block.content}, inner)
    for i, name in enumerate(block.content if block.kind in SWITCHING else ()):
        _has_off(study, name, (*inner, i))
    _known_levels(study, block.when, (*loc, "when"))
    _exclude(study, block.exclude, (*loc, "exclude"))
    _known_settings(study, {name: [level] for name, level in block.set.items()}, (*loc, "set"))
    _nothing_varied(study, block, (*loc, "set"))


def _nothing_varied(study: Study, block: Block, loc: Loc) -> None:
    """Refuse a block's `set` of what the block varies: one of the two would silently win."""
    known = study.spec.factors
    varied = {field for name in block.varies for field in (known[name].fields(name) if name in known else [name])}
    for name in block.set:
        if varied & set(known[name].fields(name) if name in known else [name]):
            raise UserError(f"the block both varies and sets '{name}'", where=study.source.where((*loc, name), of_key=True),
                            todo="leave it out of the block's `set:`")  # fmt: skip


def _exclude(study: Study, patterns: Sequence[Settings], loc: Loc) -> None:
    for i, pattern in enumerate(patterns):
        wanted = {name: level if isinstance(level, list) else [level] for name, level in pattern.items()}
        _known_levels(study, wanted, (*loc, i))


def _known_fields(study: Study, names: Iterable[str], loc: Loc) -> None:
    for name in names:
        if not study.has_field(name):
            todo = "give `seeds:` for seeds" if name == "seed" else nearest(name, study.fields)
            if study.command:
                todo = todo or f"declare it under `fields:` of {study.recipe.path.name}"
            raise UserError(f"'{name}' is no field of {'this' if study.command else 'a'} recipe",
                            where=study.source.where((*loc, name), of_key=True), allowed=study.allowed_fields, todo=todo)  # fmt: skip


def _known_settings(study: Study, wanted: Mapping[str, Sequence[Level]], loc: Loc) -> None:
    """Check what a block writes out: any value of a field, but of a factor over sub-trees only its levels."""
    trees = {
        name: levels
        for name, levels in wanted.items()
        if name in study.spec.factors and study.spec.factors[name].subtrees
    }
    _known_fields(study, [name for name in wanted if name not in trees], loc)
    _known_levels(study, trees, loc)


def _known_factors(study: Study, names: list[str], loc: Loc) -> None:
    for i, name in enumerate(names):
        if name not in study.spec.factors:
            raise _no_factor(study, name, (*loc, i))
        if name in names[:i]:
            raise UserError(f"factor '{name}' is given twice", where=study.source.where((*loc, i)))


def _known_levels(study: Study, wanted: Mapping[str, Sequence[Level]], loc: Loc, key: str = "") -> None:
    for name, levels in wanted.items():
        if name not in study.spec.factors:
            raise _no_factor(study, name, (*loc, name))
        known = study.spec.factors[name].values
        for level in levels:
            if level not in known:
                raise UserError(f"{level!r} is no level of {_kind(study)} '{name}'", where=study.source.where((*loc, key or name)),
                                allowed=", ".join(map(repr, known)), todo=nearest(str(level), map(str, known)))  # fmt: skip


def _equal_counts(study: Study, counts: dict[str, int], loc: Loc) -> None:
    if len(set(counts.values())) > 1:
        raise UserError("zip needs as many levels of each: " + ", ".join(f"{n} of {name}" for name, n in counts.items()),
                        where=study.source.where(loc), todo="give each as many, or use `grid`")  # fmt: skip


def _has_off(study: Study, name: str, loc: Loc) -> None:
    found = study.spec.factors[name].off_levels
    if len(found) != 1 or len(study.spec.factors[name].values) < 2:
        what = f"{len(found)} levels that mean off" if len(found) > 1 else "no level that means off beside another"
        raise UserError(f"factor '{name}' has {what}, so it cannot be switched off", where=study.source.where(loc),
                        allowed="one level that is false, 0, null, none or an empty `set`, or `off:` with a level",
                        todo=f"add `off:` to the factor '{name}'")  # fmt: skip


def _no_factor(study: Study, name: str, loc: Loc) -> UserError:
    known = list(study.spec.factors)
    what = "dimension of this search" if study.spec.search else "factor of this study"
    return UserError(f"'{name}' is no {what}", where=study.source.where(loc),
                     allowed=", ".join(known) or "none: the study has no `factors:`", todo=nearest(name, known))  # fmt: skip


def _kind(study: Study) -> str:
    """Return what the study's author calls a factor: a search is checked as an ordinary study, with a factor for each dimension."""
    return "dimension" if study.spec.search else "factor"


def _order(study: Study) -> list[str]:
    graph = {name: set(factor.when) for name, factor in study.spec.factors.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        around = " -> ".join(error.args[1])
        raise UserError(f"{_kind(study)}s depend on each other in a circle by `when`: {around}",
                        where=study.source.where(("factors", error.args[1][0], "when"))) from None  # fmt: skip
