"""What follows a search: its confirmation, and the ablation between its baseline and what it found, as studies that load and expand."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from conftest import RECIPE, REPOSITORY

from slws_lab.errors import UserError
from slws_lab.spec import Design, Study, digest, expand, load_study
from slws_lab.spec.ablation import Origin, ablation_yaml
from slws_lab.spec.differences import differences
from slws_lab.spec.dimension import Dimension
from slws_lab.spec.handoff import arm_ids, confirmation, fresh_seeds
from slws_lab.spec.levels import Factor, Settings
from slws_lab.spec.search_checks import check_search
from slws_lab.spec.trials import space_of, with_trials

SPACE: dict[str, Any] = {
    "shuffle.schedule": ["none", "linear", "last_k"],
    "shuffle.max_rate": {"float": [0.1, 0.7], "when": {"shuffle.schedule": ["linear", "last_k"]}},
    "shuffle.k": {"int": [1, 2], "when": {"shuffle.schedule": "last_k"}},
    "model.drop_path": {"float": [0.0, 0.3]},
    "train.weight_decay": {"log": [1e-3, 0.3]},
}
FOUND: Settings = {
    "shuffle.schedule": "linear", "shuffle.max_rate": 0.31234567890123456, "model.drop_path": 0.1 + 0.2, "train.weight_decay": 1 / 300,
}  # fmt: skip
COMMAND = """\
kind: command
name: mine
command: "{python} main.py {lr:--lr} {drop:--drop} {amp:--amp} {beta:--beta} --seed {seed}"
fields:
  lr: {type: float, value: 0.1}
  drop: {type: float, value: null}
  amp: {type: bool, value: false}
  beta: {type: float, value: 0.9}
  idle: {type: int, value: 1}
metrics: {names: [val/top1]}
"""

SearchOf = Callable[..., Study]
Written = tuple[Study, Design]


@pytest.fixture
def search_of(study_of: Callable[..., Study]) -> SearchOf:
    """Return a function that loads a search over a space; `set` makes the baseline one without the shuffle."""

    def load(
        space: dict[str, Any] = SPACE, recipe: str | None = None, search: dict[str, Any] | None = None, **keys: Any
    ) -> Study:
        keys = {"set": {} if recipe else {"shuffle.schedule": "none"}, "seeds": [0, 3], **keys}
        return study_of(recipe, search={"space": space, "trials": 5, **(search or {})}, **keys)

    return load


def written(study: Study, found: Settings, order: tuple[str, ...] = (), seeds: int = 5) -> Written:
    """Write the ablation beside the search's file, and return it loaded and expanded."""
    origin = Origin(
        "s-ablation", 7, found, {"val/top1": 91.25}, 12, order, "what matters most", study.spec.recipe, "s-ablation"
    )
    path = study.source.path.parent / "s-ablation.yaml"
    path.write_text(ablation_yaml(study, origin, seeds))
    loaded = load_study(path)
    return loaded, expand(loaded)


def roles(design: Design, block: int) -> list[tuple[str, Settings]]:
    return [(role.text, arm.settings) for arm in design.arms for role in arm.roles if role.block == block]


def ids(design: Design, kinds: tuple[str, ...]) -> list[str]:
    return [arm.id for arm in design.arms for role in arm.roles if role.kind in kinds]


def test_the_confirmation_is_an_ordinary_study_with_seeds_that_the_search_never_saw(search_of: SearchOf) -> None:
    study = search_of(
        search={"confirm": {"top": 2, "seeds": 3}}, budget={"device_hours": 1.0}, comparisons={"margin": 0.5}
    )
    other = {**FOUND, "shuffle.max_rate": 0.5}
    again = confirmation(study, [FOUND, other])
    design = expand(again)
    assert (again.spec.name, again.spec.seeds, again.spec.search, again.spec.budget) == (
        "s-confirm",
        [4, 5, 6],
        None,
        None,
    )
    assert again.spec.comparisons == study.spec.comparisons
    assert [arm.id for arm in design.arms] == arm_ids(study, [{}, FOUND, other])
    assert [arm.is_baseline for arm in design.arms] == [True, False, False]
    assert {arm.roles[0].reference for arm in design.arms[1:]} == {design.arms[0].id}
    searched = expand(with_trials(study, [FOUND, other]))
    assert [arm.id for arm in searched.arms] == [arm.id for arm in design.arms]
    assert not set(searched.run_ids.values()) & set(design.run_ids.values())
    assert again.source.where(("factors", "shuffle.k")).endswith("(search.space.shuffle.k)")
    assert again.source.where(("designs", 0, "list")).startswith(str(study.source.path))


def test_fresh_seeds_end_where_seeds_end_and_a_long_name_is_refused(search_of: SearchOf) -> None:
    last = search_of(seeds=[2**31 - 3])
    assert fresh_seeds(last, 2) == [2**31 - 2, 2**31 - 1]
    with pytest.raises(UserError, match="no 3 fresh seeds above"):
        fresh_seeds(last, 3)
    with pytest.raises(UserError, match="too long for its confirmation"):
        confirmation(search_of(name="n" * 73), [FOUND])
    assert len(confirmation(search_of(name="n" * 72), [FOUND]).spec.name) == 80


@pytest.mark.parametrize(
    ("keys", "says"),
    [({"name": "n" * 73}, "too long for its confirmation"), ({"seeds": [2**31 - 3]}, "no 3 fresh seeds")],
)
def test_what_leaves_no_room_for_a_confirmation_is_refused_before_the_search(
    search_of: SearchOf, keys: dict[str, Any], says: str
) -> None:
    space = {"train.lr": {"log": [1e-3, 1e-1]}}
    with pytest.raises(UserError, match=says):
        check_search(search_of(space, search={"confirm": {"top": 2, "seeds": 3}}, **keys))
    assert check_search(search_of(space, **keys))  # without one there is nothing to make room for


def test_settings_that_train_the_same_share_an_id(search_of: SearchOf) -> None:
    space = {"shuffle.schedule": ["none", "linear"], "shuffle.max_rate": {"float": [0.1, 0.7]}}
    one, other, third = arm_ids(
        search_of(space),
        [
            {"shuffle.schedule": "none", "shuffle.max_rate": 0.2},
            {"shuffle.schedule": "none", "shuffle.max_rate": 0.3},
            {"shuffle.schedule": "linear", "shuffle.max_rate": 0.3},
        ],
    )
    assert one == other != third


def test_the_ablation_goes_both_ways_and_along_the_path_and_its_ends_are_the_searchs_own_arms(
    search_of: SearchOf,
) -> None:
    study = search_of()
    order = ("train.weight_decay", "shuffle.schedule")
    loaded, design = written(study, FOUND, order)
    default, found = arm_ids(study, [{}, FOUND])
    steps = ["shuffle.schedule", "model.drop_path", "train.weight_decay"]
    assert [(block.kind, block.content) for block in loaded.spec.designs] == [
        ("one_at_a_time", steps),
        ("leave_one_out", steps),
        ("build_up", [*order, "model.drop_path"]),
    ]
    assert (design.arms[0].id, ids(design, ("all_on",)), design.seeds) == (default, [found], (4, 5, 6, 7, 8))
    base, whole = design.arms[0].settings, design.arm(found).settings
    assert whole == FOUND
    assert base == {"shuffle.schedule": "none", "model.drop_path": 0.1, "train.weight_decay": 0.05}
    assert [s for role, s in roles(design, 0)] == [
        base,
        {**base, "shuffle.schedule": "linear", "shuffle.max_rate": FOUND["shuffle.max_rate"]},
        {**base, "model.drop_path": 0.1 + 0.2},
        {**base, "train.weight_decay": 1 / 300},
    ]
    without = {role: settings for role, settings in roles(design, 1)}
    assert without["without shuffle.schedule"] == {
        key: value for key, value in {**FOUND, "shuffle.schedule": "none"}.items() if key != "shuffle.max_rate"
    }
    assert without["without model.drop_path"] == {**FOUND, "model.drop_path": 0.1}
    last = next(arm for arm in design.arms for role in arm.roles if role.step == 3)
    assert last.id == found
    steps_of = {role.step: role.reference for arm in design.arms for role in arm.roles if role.kind == "step"}
    assert (steps_of[0], steps_of[1]) == (None, default)


def test_its_runs_are_those_of_the_confirmation_and_for_the_same_seeds_those_of_the_search(search_of: SearchOf) -> None:
    study = search_of()
    loaded, design = written(study, FOUND)
    again = expand(confirmation(study, [FOUND]))
    shared = set(design.run_ids.values()) & set(again.run_ids.values())
    assert shared == set(again.run_ids.values()) and len(shared) == 10
    path = loaded.source.path
    path.write_text(path.read_text().replace("seeds: [4, 5, 6, 7, 8]", "seeds: [0, 3]"))
    searched = expand(with_trials(study, [FOUND]))
    assert set(searched.run_ids.values()) <= set(expand(load_study(path)).run_ids.values())


def test_a_dimension_that_only_the_default_has_goes_with_its_parent(search_of: SearchOf) -> None:
    recipe = RECIPE.replace("schedule: linear, max_rate: 0.5", "schedule: last_k, max_rate: 0.5, k: 1")
    study = search_of(recipe=recipe)
    loaded, design = written(study, {"shuffle.schedule": "none", "model.drop_path": 0.1, "train.weight_decay": 0.2})
    assert loaded.spec.factors["shuffle.k"].when == {"shuffle.schedule": ["last_k"]}
    assert [block.content for block in loaded.spec.designs] == [["shuffle.schedule", "train.weight_decay"]] * 3
    without = {role: settings for role, settings in roles(design, 1)}
    kept = without["without shuffle.schedule"]
    assert (kept["shuffle.k"], kept["shuffle.max_rate"]) == (1, 0.5)
    assert "shuffle.k" not in without["all on"] and "model.drop_path" not in loaded.spec.factors
    assert ids(design, ("all_on",)) == arm_ids(study, [{"shuffle.schedule": "none", "train.weight_decay": 0.2}])


def test_a_rate_that_both_schedules_have_is_a_step_of_its_own(search_of: SearchOf) -> None:
    study = search_of(set={})
    loaded, design = written(study, {**FOUND, "shuffle.schedule": "last_k", "shuffle.k": 2, "model.drop_path": 0.1})
    assert loaded.spec.designs[0].content == ["shuffle.schedule", "shuffle.max_rate", "train.weight_decay"]
    assert loaded.spec.factors["shuffle.k"].when == {"shuffle.schedule": ["last_k"]}
    assert loaded.spec.factors["shuffle.schedule"].off == "linear"
    both = [arm.recipe.shuffle for arm in design.arms if arm.recipe.shuffle.schedule == "last_k"]  # type: ignore[union-attr]
    assert {shuffle.max_rate for shuffle in both} == {0.5, FOUND["shuffle.max_rate"]} and {
        shuffle.k for shuffle in both
    } == {2}


def test_what_the_space_turns_off_in_every_arm_is_off_in_the_ablation_too(search_of: SearchOf) -> None:
    recipe = RECIPE.replace("schedule: linear, max_rate: 0.5", "schedule: last_k, max_rate: 0.5, k: 1")
    study = search_of(recipe=recipe, set={"shuffle.schedule": "none", "train.weight_decay": 0.05})
    loaded, design = written(study, FOUND)
    assert loaded.spec.set == {"shuffle.schedule": "none", "train.weight_decay": 0.05, "shuffle.k": None}
    assert [design.arms[0].id, *ids(design, ("all_on",))] == arm_ids(study, [{}, FOUND])


def test_an_argument_that_no_study_can_take_out_of_the_recipe_is_one_clear_message(search_of: SearchOf) -> None:
    recipe = RECIPE.replace("depth: 2", "depth: 2, patch_size: 2")
    space = {**SPACE, "model.args.patch_size": {"levels": [1, 2], "when": {"shuffle.schedule": "last_k"}}}
    study = search_of(space, recipe=recipe, set={"shuffle.schedule": "none"})
    with pytest.raises(UserError, match="a field of the recipe, off in the search, would be on"):
        written(study, FOUND)


def test_sub_trees_lists_and_dimensions_that_meet_halfway(search_of: SearchOf) -> None:
    space = {
        "augmentation": [
            {"name": "plain", "set": {"data.augment.crop": 0, "data.augment.erase": 0.0}},
            {"name": "crop", "set": {"data.augment.crop": 2}},
            {"name": "erase", "set": {"data.augment.erase": 0.3}},
        ],
        "train.betas": [[0.9, 0.999], [0.9, 0.95]],
        "mixing": {"levels": [{"name": "none", "set": {}}, {"name": "mix", "set": {"data.augment.mixup": 0.2}}]},
        "data.augment.mix_prob": {"float": [0.1, 0.9], "when": {"augmentation": "plain", "mixing": "mix"}},
    }
    study = search_of(space, set={"data.augment.mix_prob": 0.4})
    found: Settings = {"augmentation": "crop", "train.betas": [0.9, 0.95], "mixing": "mix"}
    loaded, design = written(study, found)
    assert loaded.spec.designs[0].content == ["augmentation", "train.betas", "mixing"]
    assert loaded.spec.factors["data.augment.mix_prob"].values == (0.4,)
    assert [design.arms[0].id, *ids(design, ("all_on",))] == arm_ids(study, [{}, found])
    alone = next(
        arm for arm in design.arms if arm.settings.get("mixing") == "mix" and arm.settings["augmentation"] == "plain"
    )
    assert alone.settings["data.augment.mix_prob"] == 0.4
    assert [alone.id] == arm_ids(study, [{"augmentation": "plain", "train.betas": [0.9, 0.999], "mixing": "mix"}])


def test_a_sub_tree_that_may_be_off_keeps_what_its_other_levels_take_out_of_the_recipe(search_of: SearchOf) -> None:
    space = {
        "train.smoothing": [0.1, 0.0],
        "images": {
            "levels": [
                {"name": "flip", "set": {"data.augment.flip": 0.5}},
                {"name": "crop", "set": {"data.augment.crop": 3}},
            ],
            "when": {"train.smoothing": 0.0},
        },
    }
    study = search_of(space, set={})
    found: Settings = {"train.smoothing": 0.0, "images": "flip"}
    loaded, design = written(study, found)
    assert loaded.spec.factors["images"].subtrees == {"flip": {"data.augment.flip": 0.5, "data.augment.crop": 1}}
    assert [arm.id for arm in design.arms] == arm_ids(study, [{}, found])
    assert len(loaded.spec.designs) == 1  # a single step: both directions and the path are one contrast
    assert "# path" not in loaded.source.path.read_text()


def test_a_baseline_that_the_study_gives_is_the_default(search_of: SearchOf) -> None:
    space = {"train.lr": {"log": [1e-3, 1e-1]}, "train.smoothing": {"float": [0.0, 0.3]}, "model.args.depth": [2, 3]}
    study = search_of(space, set={}, baseline={"train.lr": 0.002, "train.smoothing": 0.05})
    loaded, design = written(study, {"train.lr": 0.02, "train.smoothing": 0.05, "model.args.depth": 3})
    assert loaded.spec.set == {"train.smoothing": 0.05}
    assert design.arms[0].settings == {"train.lr": 0.002, "model.args.depth": 2}
    assert design.arms[0].id == arm_ids(study, [{}])[0]


def test_a_step_that_changes_nothing_where_it_stands_waits_for_what_it_needs(search_of: SearchOf) -> None:
    space = {"shuffle.schedule": ["none", "linear"], "shuffle.max_rate": {"float": [0.1, 0.7]}}
    study = search_of(space)
    loaded, design = written(
        study, {"shuffle.schedule": "linear", "shuffle.max_rate": 0.3}, ("shuffle.max_rate", "shuffle.schedule")
    )
    assert [block.content for block in loaded.spec.designs] == [
        ["shuffle.schedule"],
        ["shuffle.schedule", "shuffle.max_rate"],
        ["shuffle.schedule", "shuffle.max_rate"],
    ]
    assert len(design.arms) == 3


def test_a_step_that_is_no_training_alone_is_left_out_there(search_of: SearchOf) -> None:
    space = {"train.epochs": {"int": [2, 9]}, "train.warmup_epochs": {"int": [0, 5]}, "train.lr": {"log": [1e-3, 1e-1]}}
    study = search_of(space)
    loaded, design = written(
        study, {"train.epochs": 8, "train.warmup_epochs": 4, "train.lr": 0.01}, ("train.warmup_epochs",)
    )
    assert [block.content for block in loaded.spec.designs] == [
        ["train.epochs", "train.lr"],
        ["train.warmup_epochs", "train.lr"],
        ["train.epochs", "train.warmup_epochs", "train.lr"],
    ]
    assert loaded.spec.designs[1].set == {"train.epochs": 8}
    assert {arm.settings["train.epochs"] for arm in design.arms for role in arm.roles if role.block == 1} == {8}


def test_a_commands_fields_keep_their_own_values_where_they_are_off(search_of: SearchOf) -> None:
    space = {
        "lr": {"log": [0.01, 1.0]},
        "amp": [False, True],
        "drop": {"float": [0.0, 0.5], "when": {"amp": True}},
        "beta": {"float": [0.1, 0.9], "when": {"amp": False}},
    }
    study = search_of(space, COMMAND, set={"beta": 0.5, "lr": 0.1})
    found: Settings = {"lr": 0.7, "amp": True, "drop": 0.25}
    loaded, design = written(study, found)
    assert loaded.spec.designs[0].content == ["lr", "amp"]
    assert [design.arms[0].id, *ids(design, ("all_on",))] == arm_ids(study, [{}, found])
    assert design.arm(ids(design, ("all_on",))[0]).recipe.values["beta"] == 0.9  # type: ignore[union-attr]


def test_two_values_that_both_mean_off_are_refused(search_of: SearchOf) -> None:
    study = search_of({"drop": {"float": [0.0, 0.5]}}, COMMAND)
    with pytest.raises(UserError, match=r"drop: null, the default, and 0\.0, which was found, both mean off"):
        differences(study, {"drop": 0.0})
    assert differences(study, {"drop": 0.5}).factors == {"drop": {"levels": [None, 0.5]}}


def test_a_field_that_changes_nothing_of_a_command_is_no_ablation(search_of: SearchOf) -> None:
    study = search_of({"idle": {"int": [1, 5]}}, COMMAND)
    with pytest.raises(UserError, match="trial 7 is the baseline: there is nothing to take apart"):
        written(study, {"idle": 4})


def test_the_baseline_cannot_be_taken_apart(search_of: SearchOf) -> None:
    study = search_of()
    with pytest.raises(UserError, match="trial 7 is the baseline"):
        written(study, with_trials(study, []).spec.baseline)


def test_the_file_says_where_it_comes_from_and_is_the_same_each_time(search_of: SearchOf) -> None:
    keys = {"comparisons": {"margin": 0.5, "correction": "bh"}, "resources": {"gpus": 0, "minutes": 30}}
    study = search_of(search={"confirm": {}}, metric={"name": "val/loss", "goal": "minimize"}, **keys)
    loaded, _ = written(study, FOUND, ("model.drop_path",))
    first = loaded.source.path.read_text()
    assert first.splitlines()[:7] == [
        "# What the search 's' found, taken apart: trial 7, val/top1 91.25.",
        "# A value picked out of 12 trials flatters, so the seeds here are fresh. Runs of s-confirm are used.",
        "# alone: each found value on the default.",
        "# without: the found configuration, one value taken back.",
        "# path: from the default to the found configuration, step by step, what matters most first.",
        "# written by: slws study from-search s s-ablation --trial 7 --seeds 5",
        "# command: slws run s-ablation",
    ]
    assert "  shuffle.schedule: [none, linear]\n" in first
    assert "  train.weight_decay: {levels: [0.05, 0.0033333333333333335], off: 0.05}\n" in first
    assert "  - {name: path, build_up: [model.drop_path, shuffle.schedule, train.weight_decay]}\n" in first
    written(study, FOUND, ("model.drop_path",))
    assert loaded.source.path.read_text() == first
    assert (loaded.spec.metric, loaded.spec.comparisons, loaded.spec.resources) == (
        study.spec.metric, study.spec.comparisons, study.spec.resources,
    )  # fmt: skip


def test_it_is_judged_by_the_metric_of_the_searchs_first_objective(search_of: SearchOf) -> None:
    of = {"name": "metric", "of": {"name": "val/loss", "goal": "minimize"}}
    study = search_of(search={"objectives": [of, "params"]})
    assert written(study, FOUND)[0].spec.metric.name == confirmation(study, [FOUND]).spec.metric.name == "val/loss"


def test_the_repositorys_search_can_be_taken_apart() -> None:
    study = load_study(REPOSITORY / "studies/search.yaml")
    lies = differences(study, FOUND)
    assert lies.steps == ("shuffle.schedule", "model.drop_path", "train.weight_decay")
    assert digest(expand(confirmation(study, [FOUND])).arms[0].recipe) == arm_ids(study, [{}])[0]


RICH: dict[str, Any] = {
    **SPACE,
    "train.clip_grad": [None, 1.0, 3.0],
    "over": {"levels": [{"name": "flat", "set": {}}, {"name": "up", "set": {"shuffle.over_time": "ramp_up"}},
                        {"name": "end", "set": {"shuffle.off_last": 1}}], "when": {"shuffle.schedule": ["linear", "last_k"]}},
    "train.smoothing": {"levels": [0.0, 0.1], "when": {"over": "up", "train.clip_grad": [1.0, 3.0]}},
    "train.betas": [[0.9, 0.999], [0.9, 0.95]],
    "model.args.dt_rank": {"levels": [1, 2], "when": {"train.clip_grad": 3.0}},
}  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_every_arm_between_two_settings_is_what_the_search_would_have_trained(search_of: SearchOf, seed: int) -> None:
    draw = random.Random(seed)

    def settings() -> Settings:
        found: Settings = {}
        for name, given in RICH.items():
            dimension = Dimension.model_validate(given)
            levels = dimension.levels and Factor(levels=dimension.levels).values
            found[name] = draw.choice(levels or [draw.choice(dimension.ends)])
        return found

    space = space_of(with_trials(search_of(RICH, set={}, baseline={"model.args.dt_rank": 1}), []))
    default, found = space.settle(settings()), space.settle(settings())
    study = search_of(RICH, set={"shuffle.off_last": 1}, baseline={"model.args.dt_rank": 1, **default})
    _, design = written(study, found)
    lies = differences(study, found)
    shared = {name: level for name, level in default.items() if found.get(name, ...) == level}
    assert arm_ids(study, [shared | arm.settings for arm in design.arms]) == [arm.id for arm in design.arms]
    assert arm_ids(study, [default, found]) == [
        design.arms[0].id,
        ids(design, ("all_on",) if lies.steps[1:] else ("variant",))[0],
    ]
