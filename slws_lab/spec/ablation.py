"""The ablation between a search's baseline and a setting that it found, as a study file: each change alone, each taken back, and a path."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from slws_lab.errors import UserError
from slws_lab.spec.differences import Differences, differences
from slws_lab.spec.expand import check_recipe
from slws_lab.spec.handoff import CONFIRM, SEEDS, arm_ids, fresh_seeds, judged_by
from slws_lab.spec.identity import digest
from slws_lab.spec.levels import Factor, Settings
from slws_lab.spec.load import Study
from slws_lab.spec.source import Source
from slws_lab.spec.study import StudySpec
from slws_lab.spec.trials import space_of

HEADER = """\
# What the search '{search}' found, taken apart: trial {trial}, {values}.
# A value picked out of {among} flatters, so the seeds here are fresh.{shared}
{blocks}# written by: slws study from-search {search} {name} --trial {trial} --seeds {seeds}
# command: slws run {run}
"""
BLOCKS = {
    "alone": "each found value on the default",
    "without": "the found configuration, one value taken back",
    "path": "from the default to the found configuration, step by step",
}


@dataclass(frozen=True)
class Origin:
    """Where an ablation comes from: what its file says about itself.

    Attributes:
        name: Name of the ablation.
        trial: Number of the trial.
        settings: The trial's: dimension to value.
        values: Objective to the trial's value, in words.
        among: How many trials it was chosen among.
        order: Dimensions as the path takes them up; what is missing comes last.
        by: What the path takes up first, in words; empty for no order.
        recipe: Path of the recipe, relative to the ablation's file.
        run: What `slws run` takes for the ablation.
    """

    name: str
    trial: int
    settings: Settings
    values: Mapping[str, float]
    among: int
    order: Sequence[str]
    by: str
    recipe: str
    run: str


def ablation_yaml(study: Study, origin: Origin, seeds: int = SEEDS) -> str:
    """Return the file of the ablation between a search's baseline and what it found, in both directions and step by step.

    The seeds are the confirmation's: the search chose by its own, which would favour what it found. Arms that the search or
    its confirmation have are the very same ones, so runs that there are already are not run again.

    Args:
        study: A study with `search:`, as loaded.
        origin: The found setting, and where it comes from.
        seeds: How many.

    Raises:
        UserError: The found setting is the baseline, or the study language cannot hold what lies between.
    """
    found = differences(study, origin.settings)
    made = _content(study, origin, found, fresh_seeds(study, seeds))
    blocks = _Ablation(study, found, made).blocks(origin.order)
    if not blocks:
        raise UserError(f"trial {origin.trial} is the baseline: there is nothing to take apart", where=study.source.where(("search",)),
                        todo="name another trial with --trial")  # fmt: skip
    return _header(study, origin, seeds, [block["name"] for block in blocks]) + _text({**made, "designs": blocks})


def _content(study: Study, origin: Origin, found: Differences, seeds: list[int]) -> dict[str, Any]:
    """Return the ablation as a study file has it, its blocks in place of which stands the baseline alone."""
    spec = study.spec
    kept = spec.model_dump(mode="json", exclude_unset=True, include={"comparisons", "resources", "report"})
    made = {
        "name": origin.name,
        "question": f"Which of its changes does trial {origin.trial} of the search '{spec.name}' owe its value to?",
        "recipe": origin.recipe,
        "set": found.set,
        "factors": {name: _short(factor) for name, factor in found.factors.items()},
        "designs": [{"list": [{}]}],
        "seeds": seeds,
        "metric": judged_by(study).model_dump(mode="json"),
        **kept,
    }
    return {key: value for key, value in made.items() if key != "set" or value}


def _short(factor: dict[str, Any]) -> Any:
    """Write a factor as a person would: `[a, b]` where it has levels alone, and no `off` where it goes without saying."""
    levels, off = factor["levels"], factor.get("off")
    when = {name: given[0] if len(given) == 1 else given for name, given in factor.get("when", {}).items()}
    told = {"when": when} if when else {}
    if off is not None and Factor(levels=levels).off_levels != [off]:
        told["off"] = off
    return {"levels": levels, **told} if told else levels


class _Ablation:
    """The blocks of an ablation: of each step what can be trained and changes something.

    Args:
        study: The search.
        found: Its two ends.
        made: The ablation as a file has it.
    """

    def __init__(self, study: Study, found: Differences, made: dict[str, Any]) -> None:
        source = Source(study.source.path, made, {}, {(): (1, 1)})
        self._study = replace(study, spec=StudySpec.model_validate(made), source=source)
        self._space, self._steps = space_of(self._study), found.steps
        self._levels = {name: self._space.levels(name)[1] for name in found.steps}
        self._training = cache(self._try)
        for names, end in zip(((), found.steps), arm_ids(study, [found.default, found.found]), strict=True):
            if self._training(frozenset(names)) != end:
                raise UserError("the study language cannot hold what lies between the default and this trial: a field of the recipe, "
                                "off in the search, would be on", where=study.source.where(("search", "space")),
                                todo="take fields that the space turns off out of the recipe")  # fmt: skip

    def blocks(self, order: Sequence[str]) -> list[dict[str, Any]]:
        """Return the blocks; none where nothing lies between."""
        alone = [name for name in self._steps if self._changes(frozenset(), {name})]
        whole = frozenset(self._steps)
        without = [name for name in self._steps if self._changes(whole, {name})]
        stay = {name: self._levels[name] for name in self._steps if name not in without}
        path = self._path(order)
        blocks: list[dict[str, Any]] = [{"name": "alone", "one_at_a_time": alone}] if alone else []
        if len(self._steps) > 1 and without:
            blocks.append({"name": "without", "leave_one_out": without} | ({"set": stay} if stay else {}))
        if len(self._steps) > 1 and path:
            blocks.append({"name": "path", "build_up": path})
        return blocks

    def _path(self, order: Sequence[str]) -> list[str]:
        """Return the steps in their order; one that would change nothing, or could not be trained, waits for those that it needs."""
        left = sorted(self._steps, key=lambda name: order.index(name) if name in order else len(order))
        path: list[str] = []
        while fitting := [name for name in left if self._changes(frozenset(path), {name})]:
            path.append(fitting[0])
            left.remove(fitting[0])
        ends = self._training(frozenset(path)) == self._training(frozenset(self._steps))
        return path if ends else []

    def _changes(self, on: frozenset[str], names: set[str]) -> bool:
        """Say whether turning steps over changes the training, to one that there is."""
        other = self._training(on ^ names)
        return other is not None and other != self._training(on)

    def _try(self, on: frozenset[str]) -> str | None:
        """Return the id of the arm with these steps taken; None where that is no recipe."""
        try:
            return digest(check_recipe(self._study, self._space.settle({name: self._levels[name] for name in on})))
        except UserError:
            return None


def _header(study: Study, origin: Origin, seeds: int, blocks: list[str]) -> str:
    search, order = study.spec.search, f", {origin.by} first" if origin.by else ""
    lines = [f"# {name}: {BLOCKS[name]}{order if name == 'path' else ''}.\n" for name in blocks]
    return HEADER.format(
        search=study.spec.name, trial=origin.trial, seeds=seeds, name=origin.name, run=origin.run, among=f"{origin.among} trials",
        values=", ".join(f"{name} {value!r}" for name, value in origin.values.items()), blocks="".join(lines),
        shared=f" Runs of {study.spec.name}{CONFIRM} are used." if search and search.confirm else "",
    )  # fmt: skip


def _text(content: dict[str, Any]) -> str:
    """Return a study file's content as YAML: a line a key, a factor, a block."""
    yaml, out = YAML(), io.StringIO()
    yaml.width = 140
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(_node(content, depth=0), out)
    return out.getvalue()


def _node(value: Any, depth: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    items = ((key, _node(item, depth + 1)) for key, item in value.items()) if isinstance(value, dict) else None
    node = CommentedMap(items) if items is not None else CommentedSeq(_node(item, depth + 1) for item in value)
    if depth > 1 or (depth == 1 and _is_plain(value)):
        node.fa.set_flow_style()
    return node


def _is_plain(value: Any) -> bool:
    """Say whether a value of a key fits on the key's line: no factors, no blocks."""
    items = value.values() if isinstance(value, dict) else value
    return not any(isinstance(item, dict | list) for item in items)
