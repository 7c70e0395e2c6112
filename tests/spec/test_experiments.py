"""The recipes in experiments/, and those of the guide to recipes: they load, and say what their sources say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from ruamel.yaml import YAML

from slws_lab.reports.references import published
from slws_lab.spec import Recipe, load_any_recipe, resolve_stages

RECIPES = sorted((REPOSITORY / "experiments").glob("*.yaml"))
GUIDE = REPOSITORY / "docs" / "how-to" / "recipes.md"

# The official settings, a row a stage: recipe, pixels, epochs, batch, peak rate, drop path, shuffle rate, decay, ranks.
OFFICIAL = [
    ("shufflemamba_base_in1k", 224, 300, 2048, 2e-3, 0.5, 0.5, 0.1, 8),
    ("mambareg_base_in1k", 128, 300, 1024, 1e-3, 0.1, 0.1, 0.05, 8),
    ("mambareg_base_in1k", 224, 100, 1024, 4e-4, 0.4, 0.1, 0.05, 8),
    ("mambareg_base_in1k", 224, 20, 512, 1e-5, 0.4, 0.1, 0.1, 8),
    ("vim_tiny_in1k", 224, 300, 1024, 1e-3, 0.0, 0.0, 0.1, 8),
    ("vim_small_in1k", 224, 300, 512, 1e-3, 0.05, 0.0, 0.05, 8),
    ("mambamlp_base_finetune_in1k", 224, 60, 1024, 1.2e-3, 0.1, 0.0, 0.05, 4),
]
# Augmentation of a stage: policy, colour jitter, repeats, erasing, label smoothing, evaluation crop.
AUGMENTED = {
    ("shufflemamba_base_in1k", 0): ("rand-m9-mstd0.5-inc1", 0.0, 3, 0.25, 0.1, 0.875),
    ("mambareg_base_in1k", 0): ("3a", 0.3, 3, 0.0, 0.0, 0.875),
    ("mambareg_base_in1k", 1): ("3a", 0.3, 3, 0.0, 0.0, 0.875),
    ("mambareg_base_in1k", 2): ("rand-m9-mstd0.5-inc1", 0.0, 1, 0.0, 0.1, 1.0),
    ("vim_tiny_in1k", 0): ("rand-m9-mstd0.5-inc1", 0.0, 3, 0.25, 0.1, 0.875),
    ("vim_small_in1k", 0): ("rand-m9-mstd0.5-inc1", 0.0, 3, 0.25, 0.1, 0.875),
    ("mambamlp_base_finetune_in1k", 0): ("rand-m9-mstd0.5-inc1", 0.0, 1, 0.25, 0.1, 0.875),
}
# The rest: warm-up epochs and rate, lowest rate, betas, clip, decay of the average, layer decay, precision.
OPTIMIZED = {
    "shufflemamba_base_in1k": (30, 5e-7, 5e-6, (0.9, 0.95), 3.0, 0.9999, None, "bf16"),
    "mambareg_base_in1k": (5, 1e-6, 1e-5, (0.9, 0.999), None, 0.99996, None, "bf16"),
    "vim_tiny_in1k": (5, 1e-6, 1e-5, (0.9, 0.999), None, 0.99996, None, "fp32"),
    "vim_small_in1k": (5, 1e-6, 1e-5, (0.9, 0.999), None, 0.99996, None, "fp32"),
    "mambamlp_base_finetune_in1k": (5, 0.0, 1e-6, (0.9, 0.999), None, 0.9999, 0.65, "bf16"),
}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recipe]:
    """All recipes of trainings as loaded, in a project that has something at each path that a recipe starts from."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").touch()
    shutil.copytree(REPOSITORY / "experiments", root / "experiments")
    for recipe in RECIPES:
        for name in re.findall(r"^ +init_from: (\S+)", recipe.read_text(), re.MULTILINE):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(b"weights")
    found = {path.stem: load_any_recipe(root / "experiments" / path.name) for path in RECIPES}
    return {name: recipe for name, recipe in found.items() if isinstance(recipe, Recipe)}


def stages(recipes: dict[str, Recipe], name: str) -> tuple[Recipe, ...]:
    return resolve_stages(recipes[name])


def header(path: Path) -> dict[str, str]:
    """Return the four lines at the top of a recipe by their names."""
    lines = [re.fullmatch(r"# (\w+): (\S.*)", line) for line in path.read_text().splitlines()[:4]]
    return {found[1]: found[2] for found in lines if found}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_header_gives_source_expectation_cost_and_command(path: Path) -> None:
    found = header(path)
    assert list(found) == ["source", "expected", "cost", "command"]
    assert found["command"] == f"slws train experiments/{path.name}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_an_expected_number_is_one_that_was_published(path: Path) -> None:
    expected = header(path)["expected"]
    if expected == "no published number":
        return
    found = re.match(r"(\d+\.\d) % top-1 \(published: (\S+), ([^)]+)\)", expected)
    assert found is not None
    rows = [row for row in published([found[2]]) if row.variant == found[3] and row.metric == "top1"]
    assert found[1] in [row.value for row in rows if row.resolution == "224"]


def test_every_recipe_resolves_to_its_stages(recipes: dict[str, Recipe]) -> None:
    counts = {name: len(stages(recipes, name)) for name in recipes}
    assert {name: n for name, n in counts.items() if n != 1} == {"mambareg_base_in1k": 3, "chain_micro_cifar10": 3}


def test_official_recipes_have_the_official_settings(recipes: dict[str, Recipe]) -> None:
    found = [
        (name, s.data.size, s.train.epochs, s.train.batch_size, pytest.approx(s.train.peak_lr), s.model.drop_path,
         s.shuffle.max_rate, s.train.weight_decay, s.train.ranks)
        for name in OPTIMIZED for s in stages(recipes, name)
    ]  # fmt: skip
    assert found == OFFICIAL


def test_official_recipes_augment_as_officially(recipes: dict[str, Recipe]) -> None:
    for (name, number), (auto, jitter, repeats, erase, smoothing, crop) in AUGMENTED.items():
        stage = stages(recipes, name)[number]
        a = stage.data.augment
        assert (a.auto, a.color_jitter, a.repeats, a.erase) == (auto, jitter, repeats, erase), (name, number)
        assert (stage.train.smoothing, stage.data.eval_crop) == (smoothing, crop), (name, number)
        assert (a.resized_crop, a.flip, a.mixup, a.cutmix, a.mix_prob, a.mix_switch) == ((0.08, 1), 0.5, 0.8, 1, 1, 0.5)
        assert a.erase_mode == "pixel" or not a.erase


def test_official_recipes_optimise_as_officially(recipes: dict[str, Recipe]) -> None:
    for name, expected in OPTIMIZED.items():
        for stage in stages(recipes, name):
            t = stage.train
            rate = (t.warmup_epochs, t.warmup_lr, t.min_lr, t.betas)
            assert (*rate, t.clip_grad, t.ema_decay, t.layer_decay, t.precision) == expected, name
            assert t.decay_A and t.accumulate == 1


def test_a_rank_of_an_official_recipe_takes_the_official_batch_of_a_gpu(recipes: dict[str, Recipe]) -> None:
    official = [stage for name in OPTIMIZED for stage in stages(recipes, name)]
    assert [stage.train.batch_size // stage.train.ranks for stage in official] == [256, 128, 128, 64, 128, 64, 256]


def test_fewer_ranks_take_the_same_parts_as_the_headers_say(recipes: dict[str, Recipe]) -> None:
    for path in RECIPES:
        for ranks, parts in re.findall(r"`ranks: (\d+), accumulate: (\d+)`", path.read_text()):
            for stage in stages(recipes, path.stem):
                assert int(ranks) * int(parts) == stage.train.ranks
                assert stage.train.batch_size % stage.train.ranks == 0


def test_the_micro_recipes_differ_only_in_model_and_shuffle(recipes: dict[str, Recipe]) -> None:
    micro = [recipes[f"{family}_micro_cifar10"] for family in ("shufflemamba", "vim", "mambareg", "mambamlp")]
    assert all((one.data, one.train) == (micro[0].data, micro[0].train) for one in micro)


def test_every_stages_model_can_be_built_for_its_images(recipes: dict[str, Recipe]) -> None:
    """Without memory, at the size of each stage, with as many rates as layers."""
    torch = pytest.importorskip("torch")
    from slws_lab.training import build

    for name in recipes:
        for stage in stages(recipes, name):
            classes = 1000 if name.endswith("in1k") else 10
            shape = build.Shape(stage.data.size or 8, 1 if name.endswith("digits") else 3, classes)
            with torch.device("meta"):
                model = build.build_model(stage, shape, "reference", REPOSITORY)
            blocks = build.token_blocks(model)
            assert len(build.layer_rates(stage.shuffle, len(blocks))) == len(blocks)


BASE: dict[str, Any] = {
    "kind": "train",
    "model": {"name": "mambareg_micro"},
    "data": {"name": "digits"},
    "train": {"epochs": 10, "batch_size": 64},
}


def examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.mark.parametrize("text", examples(), ids=lambda text: text.split("\n", 1)[0].strip("# :"))
def test_every_example_of_the_guide_is_a_recipe_or_a_part_of_one(text: str) -> None:
    given = YAML(typ="safe", pure=True).load(text)
    merged = {**BASE, **{k: {**BASE[k], **v} if isinstance(BASE.get(k), dict) else v for k, v in given.items()}}
    assert len(resolve_stages(Recipe.model_validate(merged))) == max(len(merged.get("stages", ())), 1)


def test_every_recipe_that_the_guide_names_is_there() -> None:
    named = re.findall(r"experiments/(\w+\.yaml)", GUIDE.read_text())
    assert named and {REPOSITORY / "experiments" / name for name in named} <= set(RECIPES)
