"""What each design gives: arms, roles and references; and what `when`, `exclude` and `set` of a block do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slws_lab.spec import Arm, Design

if TYPE_CHECKING:
    from collections.abc import Callable

    DesignOf = Callable[..., Design]

COMPONENTS: dict[str, Any] = {
    "train.clip_grad": [3.0, None],
    "train.smoothing": [0.0, 0.1],
    "shuffle.schedule": ["linear", "none"],
}
NAMES = list(COMPONENTS)


def values(arm: Arm) -> tuple[Any, ...]:
    recipe = arm.recipe
    return recipe.train.clip_grad, recipe.train.smoothing, recipe.shuffle.schedule


def roles(design: Design) -> list[tuple[str, str]]:
    """Return the role of each arm of a design of one block, and where among the arms its reference stands."""
    order = [arm.id for arm in design.arms]
    return [
        (role.text, "-" if role.reference is None else str(order.index(role.reference)))
        for arm in design.arms
        for role in arm.roles
    ]


def test_leave_one_out_takes_each_component_from_the_arm_with_all_on(design_of: DesignOf) -> None:
    design = design_of(factors=COMPONENTS, designs=[{"leave_one_out": NAMES}])
    assert [values(arm) for arm in design.arms] == [
        (3.0, 0.1, "linear"), (None, 0.1, "linear"), (3.0, 0.0, "linear"), (3.0, 0.1, "none"),
    ]  # fmt: skip
    assert roles(design) == [
        ("all on", "-"), ("without train.clip_grad", "0"), ("without train.smoothing", "0"),
        ("without shuffle.schedule", "0"),
    ]  # fmt: skip


def test_build_up_adds_in_the_order_given_and_compares_with_the_step_before(design_of: DesignOf) -> None:
    design = design_of(factors=COMPONENTS, designs=[{"build_up": ["shuffle.schedule", *NAMES[:2]]}])
    assert [values(arm) for arm in design.arms] == [
        (None, 0.0, "none"), (None, 0.0, "linear"), (3.0, 0.0, "linear"), (3.0, 0.1, "linear"),
    ]  # fmt: skip
    assert roles(design) == [
        ("step 0: all off", "-"), ("step 1: adds shuffle.schedule", "0"), ("step 2: adds train.clip_grad", "1"),
        ("step 3: adds train.smoothing", "2"),
    ]  # fmt: skip
    assert [role.step for arm in design.arms for role in arm.roles] == [0, 1, 2, 3]


def test_what_is_on_is_the_baselines_level_unless_that_is_off(design_of: DesignOf) -> None:
    rates = {"shuffle.max_rate": [0.0, 0.3, 0.6]}
    first = design_of(factors=rates, designs=[{"build_up": ["shuffle.max_rate"]}])
    chosen = design_of(factors=rates, designs=[{"build_up": ["shuffle.max_rate"]}], baseline={"shuffle.max_rate": 0.6})
    assert [design.arms[1].recipe.shuffle.max_rate for design in (first, chosen)] == [0.3, 0.6]


def test_off_may_name_any_level(design_of: DesignOf) -> None:
    factors = {"train.weight_decay": {"levels": [0.05, 0.3], "off": 0.3}}
    design = design_of(factors=factors, designs=[{"leave_one_out": ["train.weight_decay"]}])
    assert [arm.recipe.train.weight_decay for arm in design.arms] == [0.05, 0.3]


def test_a_component_that_goes_takes_what_hangs_on_it_along(design_of: DesignOf) -> None:
    factors = {**COMPONENTS, "shuffle.max_rate": {"levels": [0.4], "when": {"shuffle.schedule": "linear"}}}
    design = design_of(factors=factors, designs=[{"leave_one_out": NAMES}])
    assert [arm.settings.get("shuffle.max_rate") for arm in design.arms] == [0.4, 0.4, 0.4, None]


def test_pairwise_is_the_whole_grid_of_each_pair(design_of: DesignOf) -> None:
    factors = {"train.lr": [0.1, 0.2, 0.3], "train.epochs": [5, 6], "train.smoothing": [0.0, 0.1]}
    design = design_of(factors=factors, designs=[{"pairwise": list(factors)}])
    cells = [(a.recipe.train.lr, a.recipe.train.epochs, a.recipe.train.smoothing) for a in design.arms]
    assert cells == [
        (0.1, 5, 0.0), (0.2, 5, 0.0), (0.3, 5, 0.0), (0.1, 6, 0.0), (0.1, 5, 0.1),
        (0.2, 6, 0.0), (0.3, 6, 0.0), (0.2, 5, 0.1), (0.3, 5, 0.1), (0.1, 6, 0.1),
    ]  # fmt: skip
    assert [arm.roles[0].kind for arm in design.arms] == ["baseline"] + ["variant"] * 4 + ["pair"] * 5
    assert {arm.roles[0].reference for arm in design.arms[1:]} == {design.arms[0].id}
    assert design.arms[5].roles[0].note == "train.lr x train.epochs"


def test_zip_takes_levels_in_parallel(design_of: DesignOf) -> None:
    design = design_of(
        factors={"train.lr": [0.1, 0.2], "train.epochs": [5, 6]}, designs=[{"zip": ["train.lr", "train.epochs"]}]
    )
    assert [(a.recipe.train.lr, a.recipe.train.epochs) for a in design.arms] == [(0.1, 5), (0.2, 6)]
    assert roles(design) == [("baseline", "-"), ("variant", "0")]


def test_zip_may_give_its_own_levels_and_any_field(design_of: DesignOf) -> None:
    levels = {"train.lr": [0.2, 0.4], "model.drop_path": [0.2, 0.3]}
    design = design_of(factors={"train.lr": [0.1, 0.2]}, designs=[{"zip": levels}])
    assert [(a.recipe.train.lr, a.recipe.model.drop_path) for a in design.arms] == [(0.1, 0.1), (0.2, 0.2), (0.4, 0.3)]


def test_a_blocks_set_moves_its_arms_and_their_reference_alike(design_of: DesignOf) -> None:
    design = design_of(
        factors={"train.lr": [0.1, 0.2], "train.epochs": [5, 6]},
        designs=[{"grid": ["train.lr"]}, {"grid": ["train.lr"], "set": {"train.epochs": 6, "train.smoothing": 0.0}}],
    )
    assert [(a.recipe.train.lr, a.recipe.train.epochs, a.recipe.train.smoothing) for a in design.arms] == [
        (0.1, 5, 0.1), (0.2, 5, 0.1), (0.1, 6, 0.0), (0.2, 6, 0.0),
    ]  # fmt: skip
    assert roles(design) == [("baseline", "-"), ("variant", "0"), ("baseline", "-"), ("variant", "2")]
    assert len({arm.label for arm in design.arms}) == 4


def test_a_blocks_when_keeps_matching_arms_and_the_reference(design_of: DesignOf) -> None:
    factors = {"train.lr": [0.1, 0.2], "train.epochs": [5, 6]}
    design = design_of(factors=factors, designs=[{"grid": list(factors), "when": {"train.epochs": 6}}])
    assert [(a.recipe.train.lr, a.recipe.train.epochs) for a in design.arms] == [(0.1, 5), (0.1, 6), (0.2, 6)]


def test_a_blocks_exclude_leaves_other_blocks_alone(design_of: DesignOf) -> None:
    factors = {"train.lr": [0.1, 0.2], "train.epochs": [5, 6]}
    narrowed = {"grid": list(factors), "exclude": [{"train.lr": 0.2, "train.epochs": 6}]}
    assert design_of(factors=factors, designs=[narrowed]).excluded == 1
    both = design_of(factors=factors, designs=[narrowed, {"grid": list(factors)}])
    assert [[role.block for role in arm.roles] for arm in both.arms] == [[0, 1], [0, 1], [0, 1], [1]]
    assert both.excluded == 0


def test_an_arm_of_two_designs_has_a_role_and_a_reference_in_each(design_of: DesignOf) -> None:
    design = design_of(factors=COMPONENTS, designs=[{"leave_one_out": NAMES}, {"build_up": NAMES}])
    whole = design.arms[0]
    assert [(role.block, role.text) for role in whole.roles] == [(0, "all on"), (1, "step 3: adds shuffle.schedule")]
    assert design.arm(whole.roles[1].reference or "").roles[0].text == "without shuffle.schedule"


def test_adaptive_seeds_say_which_come_first(design_of: DesignOf) -> None:
    design = design_of(seeds={"min": 3, "max": 5, "until": "decided"}, designs=[{"list": [{"train.lr": 0.1}]}])
    assert (design.first_seeds, design.seeds) == ((0, 1, 2), (0, 1, 2, 3, 4))
    assert [run.seed for run in design.runs] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert design_of(designs=[{"list": [{}]}]).first_seeds is None
