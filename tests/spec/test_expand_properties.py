"""Properties of expansion over drawn studies: no duplicates, nothing undeclared, the same whatever the order of keys."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

from conftest import RECIPE
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from slws_lab.errors import UserError
from slws_lab.spec import Arm, Design, Study, StudySpec, check_recipe, expand, flatten
from slws_lab.spec.source import Source

SHAPES = ["linear", "constant", "reverse", "cosine"]
FACTORS: dict[str, Any] = {
    "train.lr": {"logspace": [1e-3, 1e-2, 3]},
    "train.epochs": [3, 2],
    "train.smoothing": [0.1, 0.0],
    "train.clip_grad": [None, 3.0],
    "shuffle.schedule": ["none", *SHAPES],
    "shuffle.max_rate": {"linspace": [0.2, 0.6, 3], "when": {"shuffle.schedule": SHAPES}},
    "strength": {"linked": {"model.drop_path": [0, 0.1], "data.augment.flip": [0, 0.5]}},
    "augmentation": [{"name": "strong", "set": {"data.augment.erase": 0.3, "data.augment.mixup": 0.8}}, {"name": "plain"}],
    "data.label_fraction": {"levels": [1.0, 0.5], "when": {"augmentation": "plain"}},
}  # fmt: skip
COMPONENTS = (
    "train.smoothing",
    "train.clip_grad",
    "shuffle.schedule",
    "strength",
    "augmentation",
)  # have a level of off
CONTROL = {"shuffle.schedule", "shuffle.max_rate"}
KINDS = ("grid", "one_at_a_time", "leave_one_out", "build_up", "pairwise", "zip", "list")
FEW = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@cache
def recipe() -> Source:
    return Source(Path("recipe.yaml"), YAML(typ="safe").load(RECIPE), {}, {})


def study_of(data: dict[str, Any]) -> Study:
    spec = StudySpec.model_validate({"name": "s", "question": "q", "recipe": "r", **data})
    return Study(spec, Path(), Source(Path("study.yaml"), data, {}, {}), recipe())


def design_of(data: dict[str, Any]) -> Design | None:
    """Expand a study; None if it is refused."""
    try:
        return expand(study_of(data))
    except UserError:
        return None


@st.composite
def blocks(draw: st.DrawFn, names: list[str], levels: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Draw a block over some of the factors; it may be one that is refused."""
    kind = draw(st.sampled_from(KINDS))
    able = [name for name in names if name in COMPONENTS] if kind in ("leave_one_out", "build_up") else names
    some = draw(st.lists(st.sampled_from(able), min_size=1 + (kind == "pairwise"), max_size=3, unique=True))
    one = st.fixed_dictionaries({name: st.sampled_from(levels[name]) for name in some})
    content: Any = some
    if kind == "list":
        content = draw(st.lists(one, min_size=1, max_size=3))
    elif kind == "zip":
        content = {name: draw(st.lists(st.sampled_from(levels[name]), min_size=2, max_size=2)) for name in some}
    block: dict[str, Any] = {kind: content}
    others = [name for name in names if name not in some]
    if others and draw(st.booleans()):
        name = draw(st.sampled_from(others))
        block["set"] = {name: draw(st.sampled_from(levels[name])), "train.weight_decay": 0.1}
    for key in ("when", "exclude"):
        if draw(st.integers(0, 4)) == 0:
            name = draw(st.sampled_from(some))
            pattern = {name: draw(st.sampled_from(levels[name]))}
            block[key] = pattern if key == "when" else [pattern]
    if "shuffle.schedule" in some and draw(st.booleans()):
        block["control"] = "equal_mean_constant"
    return block


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a study of two to five factors in one to three blocks."""
    names = draw(st.lists(st.sampled_from(list(FACTORS)), min_size=2, max_size=5, unique=True))
    names += [name for name in ("shuffle.schedule", "augmentation") if name not in names]  # what `when` may need
    factors = {name: FACTORS[name] for name in names}
    spec = StudySpec.model_validate(
        {"name": "s", "question": "q", "recipe": "r", "seeds": 1, "factors": factors, "designs": [{"list": [{}]}]}
    )
    levels = {name: factor.values for name, factor in spec.factors.items()}
    moved = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    return {
        "factors": factors,
        "baseline": {name: draw(st.sampled_from(levels[name])) for name in moved},
        "designs": draw(st.lists(blocks(names, levels), min_size=1, max_size=3)),
        "seeds": draw(st.sampled_from([1, 3, [4, 2], {"min": 3, "max": 5}])),
        "set": {"train.batch_size": 32, "train.eps": 1e-7},
    }


def reordered(node: Any, order: random.Random) -> Any:
    """Return data with the keys of every mapping in another order; lists stay."""
    if isinstance(node, dict):
        return {key: reordered(node[key], order) for key in order.sample(list(node), len(node))}
    return [reordered(item, order) for item in node] if isinstance(node, list) else node


@FEW
@given(studies())
def test_no_arm_run_or_role_comes_twice(data: dict[str, Any]) -> None:
    design = design_of(data)
    if design is None:
        return
    for names in ([arm.id for arm in design.arms], [arm.label for arm in design.arms], list(design.run_ids.values())):
        assert len(set(names)) == len(names)
    assert len(design.runs) == len(design.arms) * len(design.seeds)
    for arm in design.arms:
        compared = [(role.block, role.reference) for role in arm.roles]
        assert len(set(compared)) == len(compared)


@FEW
@given(studies())
def test_every_reference_stands_in_its_block_and_each_block_has_one_of_its_own(data: dict[str, Any]) -> None:
    design = design_of(data)
    if design is None:
        return
    for number in range(len(data["designs"])):
        roles = {arm.id: [role for role in arm.roles if role.block == number] for arm in design.arms}
        assert sum(role.reference is None for own in roles.values() for role in own) == 1
        for arm_id, own in roles.items():
            assert all(role.reference is None or (role.reference != arm_id and roles[role.reference]) for role in own)


@FEW
@given(studies())
def test_an_arm_has_only_declared_levels_and_changes_only_declared_fields(data: dict[str, Any]) -> None:
    design = design_of(data)
    if design is None:
        return
    study = study_of(data)
    plain = flatten(check_recipe(study_of({**data, "factors": {}, "set": {}}), {}).model_dump(mode="json"))
    fields = {field for name, factor in study.spec.factors.items() for field in factor.fields(name)}
    fields |= {*data["set"], "train.weight_decay"} | (
        CONTROL if any("control" in block for block in data["designs"]) else set()
    )
    fields |= CONTROL if "shuffle.schedule" in fields else set()  # a rate without a schedule is dropped
    for arm in design.arms:
        assert _undeclared(arm, study) == []
        now = flatten(arm.recipe.model_dump(mode="json"))
        assert {name for name in now if now[name] != plain[name]} <= fields


def _undeclared(arm: Arm, study: Study) -> list[str]:
    free = CONTROL if any(role.kind == "control" for role in arm.roles) else set()
    factors = study.spec.factors
    return [
        name
        for name, level in arm.settings.items()
        if name not in free and (level not in factors[name].values if name in factors else name != "train.weight_decay")
    ]


@FEW
@given(studies(), st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_nothing(data: dict[str, Any], order: random.Random) -> None:
    first, second = design_of(data), design_of(reordered(data, order))
    assert (first is None) == (second is None)
    if first is None or second is None:
        return
    assert [(arm.id, arm.settings, arm.roles) for arm in first.arms] == [
        (arm.id, arm.settings, arm.roles) for arm in second.arms
    ]
    assert [sorted(arm.label.split(", ")) for arm in first.arms] == [
        sorted(arm.label.split(", ")) for arm in second.arms
    ]
    assert (first.runs, first.duplicates, first.excluded) == (second.runs, second.duplicates, second.excluded)


@FEW
@given(studies())
def test_a_dumped_study_expands_to_the_same_design(data: dict[str, Any]) -> None:
    dumped = study_of(data).spec.model_dump(mode="json")
    assert StudySpec.model_validate(dumped) == study_of(data).spec
    assert design_of(dumped) == design_of(data)


def test_enough_of_the_drawn_studies_are_good_ones() -> None:
    found: list[bool] = []

    @FEW
    @given(studies())
    def draw(data: dict[str, Any]) -> None:
        found.append(design_of(data) is not None)

    draw()
    assert sum(found) > len(found) / 3
