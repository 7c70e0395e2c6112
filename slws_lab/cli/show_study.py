"""How a study's design looks on the terminal: a tree, from the question down to what each arm changes."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from rich.tree import Tree

from slws_lab.cli.terminal import line, out
from slws_lab.spec import Arm, Block, Design, Factor, Role, Study, dotted, level_text
from slws_lab.spec.levels import Level, Settings

ABSENT = "–"  # a factor that is off by `when`


def drafted(study: Study) -> None:
    """Say where a draft is and what to do with it."""
    line(f"written: {study.source.path}")
    shown = "" if study.spec.search else f"`slws study show {study.spec.name}` and "
    line(f"edit it; then look at it with {shown}`slws plan {study.spec.name}`")


def show(study: Study, design: Design) -> None:
    """Draw a study's design."""
    out.print(tree(study, design))


def tree(study: Study, design: Design) -> Tree:
    """Return the design as a tree; its lines wrap where the terminal is narrow.

    Args:
        study: The study.
        design: What it expands to.
    """
    spec = study.spec
    root = Tree(Text.assemble((spec.name, "bold"), f"  {spec.question}"))
    _leaf(root, "recipe", spec.recipe)
    if spec.set:
        _leaf(root, "set", _settings(spec.set))
    if spec.factors:
        factors = root.add(Text("factors", "bold"))
        for name, factor in spec.factors.items():
            _factor(factors, name, factor, factor.values[0] if name not in spec.baseline else spec.baseline[name])
    for number, block in enumerate(spec.designs):
        _block(root, number, block, study, design)
    _left_out(root, design)
    _leaf(root, "seeds", _seeds(study))
    metric = spec.metric
    _leaf(root, "metric", f"{metric.key}, {metric.goal}, {metric.at} epoch")
    _leaf(root, "comparisons", _comparisons(study))
    return root


def _leaf(parent: Tree, name: str, text: str) -> Tree:
    return parent.add(Text.assemble((name, "cyan"), f"  {text}"))


def _settings(settings: Settings) -> str:
    return ", ".join(f"{name}={level_text(level)}" for name, level in settings.items())


def _pattern(pattern: Mapping[str, list[Level]]) -> str:
    return "; ".join(f"{name}: {' | '.join(map(level_text, levels))}" for name, levels in pattern.items())


def _factor(parent: Tree, name: str, factor: Factor, baseline: Level) -> None:
    """Add a factor: its levels, the baseline's in bold, when it exists, and which of them is off."""
    levels = Text(" | ").join(Text(level_text(v), "bold" if v == baseline else "") for v in factor.values)
    node = parent.add(Text.assemble((name, "cyan"), "  ", levels))
    for level, fields in factor.subtrees.items():
        node.add(
            Text.assemble((level, "bold" if level == baseline else ""), f"  {_settings(fields) or 'sets nothing'}")
        )
    if factor.when:
        _leaf(node, "when", _pattern(factor.when))
    if len(factor.off_levels) == 1:
        _leaf(node, "off", level_text(factor.off_levels[0]))


def _block(parent: Tree, number: int, block: Block, study: Study, design: Design) -> None:
    """Add a block: what it varies and its arms, each with its role and what it changes of its reference."""
    node = parent.add(
        Text.assemble((f"block {block.name or number + 1}", "bold"), f"  {block.kind}: {', '.join(block.varies)}")
    )
    if block.set:
        _leaf(node, "set", _settings(block.set))
    if block.when:
        _leaf(node, "when", _pattern(block.when))
    for pattern in block.exclude:
        _leaf(node, "exclude", _settings(pattern))
    if block.control:
        _leaf(node, "control", block.control)
    if block.seeds:
        _leaf(node, "seeds", ", ".join(map(str, study.spec.all_seeds[: block.seeds])))
    for arm in design.arms:
        roles = [role for role in arm.roles if role.block == number]
        if roles:
            _arm(node, arm, roles, study, design)


def _arm(parent: Tree, arm: Arm, roles: list[Role], study: Study, design: Design) -> None:
    """Add an arm, and below it each role in the block with what it changes of the reference there."""
    if roles[0].reference is None:
        parent.add(Text.assemble(("reference", "green"), f"  {arm.label}  ", (roles[0].text, "dim")))
        return
    node = parent.add(Text(arm.label))
    for role in roles:
        reference = design.arm(role.reference or arm.id)
        node.add(Text.assemble((role.text, "dim"), f"  from {reference.label}: {_changes(study, reference, arm)}"))


def _changes(study: Study, reference: Arm, arm: Arm) -> str:
    """Return in words how an arm's settings differ from its reference's."""
    names = dict.fromkeys((*reference.settings, *arm.settings))
    pairs = ((name, _level(study, reference, name), _level(study, arm, name)) for name in names)
    return ", ".join(f"{name} {before} → {after}" for name, before, after in pairs if before != after)


def _level(study: Study, arm: Arm, name: str) -> str:
    """Return a factor's level, absent where it is off by `when`; a plain field has the value of the arm's recipe."""
    if name in arm.settings:
        return level_text(arm.settings[name])
    fields = {} if name in study.spec.factors else dotted(arm.recipe)
    return level_text(fields[name]) if name in fields else ABSENT


def _left_out(parent: Tree, design: Design) -> None:
    if design.excluded:
        _leaf(parent, "exclude", f"{design.excluded} combinations are left out")
    for duplicate in design.duplicates:
        same = design.arm(duplicate.arm).label
        _leaf(parent, "run once", f"{_settings(duplicate.settings)} is the same training as {same}")


def _seeds(study: Study) -> str:
    if study.spec.adaptive:
        return f"{study.spec.adaptive.min} to {study.spec.adaptive.max}, until decided"
    seeds = study.spec.all_seeds
    return ", ".join(map(str, seeds)) if len(seeds) <= 10 else f"{len(seeds)} of them"


def _comparisons(study: Study) -> str:
    given = study.spec.comparisons
    margin = "no margin" if given.margin is None else f"margin {given.margin:g}"
    return f"family {given.family}, {given.correction}, alpha {given.alpha:g}, {margin}"
