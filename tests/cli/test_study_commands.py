"""`slws study`: drafts that work as written, mistakes that leave nothing behind, the design as a tree."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Folder, Slws
from rich.console import Console

from slws_lab.cli.show_study import tree
from slws_lab.lab import science
from slws_lab.lab.drafting import RECIPE, TEMPLATES, title
from slws_lab.spec import Recipe, expand, load_study
from slws_lab.training import check

ARMS = {
    "probability": 5,
    "schedules": 5,
    "components": 4,
    "sizes": 6,
    "labels": 6,
    "decay": 6,
}  # of those that are no search


@pytest.fixture
def digits(project: Folder) -> Folder:
    """A project that has the recipe of the digits, from which a draft starts by itself."""
    shutil.copy(REPOSITORY / RECIPE, project.path / RECIPE)
    return project


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the science tower answer in this process; starting one takes seconds."""

    def ask(_module: str, question: Any) -> Any:
        recipes = [Recipe.model_validate(raw) for raw in question["recipes"]]
        return json.loads(json.dumps(check(recipes, Path(question["root"]), question["scan"])))

    monkeypatch.setattr(science, "ask", ask)


def drawn(path: Path, width: int) -> list[str]:
    study = load_study(path)
    console = Console(width=width, file=io.StringIO(), highlight=False)
    with console.capture() as caught:
        console.print(tree(study, expand(study)))
    return caught.get().splitlines()


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("template", ARMS)
def test_each_draft_can_be_planned_as_written(
    template: str, digits: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("study", "new", f"my-{template}", "--template", template, cwd=digits.path) == 0
    written = digits.path / "studies" / f"my-{template}.yaml"
    assert str(written) in capsys.readouterr().out
    assert written.read_text().startswith("# ")
    assert load_study(written).spec.metric.weights == "ema"
    assert slws("plan", f"my-{template}", "--json", cwd=digits.path) == 0
    assert len(json.loads(capsys.readouterr().out)["arms"]) == ARMS[template]


@pytest.mark.usefixtures("answering")
def test_the_draft_of_a_search_can_be_planned_as_written(
    digits: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {*ARMS, "search"} == set(TEMPLATES)
    assert slws("study", "new", "mine", "--template", "search", cwd=digits.path) == 0
    assert load_study(digits.path / "studies" / "mine.yaml").spec.metric.weights == "ema"
    capsys.readouterr()
    assert slws("plan", "mine", "--json", cwd=digits.path) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["search"]["trials"] == 12 and told["baseline"]["shuffle.schedule"] == "none"


def test_a_recipe_that_the_draft_of_a_search_does_not_fit_is_named_and_no_draft_stays(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    project.recipe.write_text(project.recipe.read_text().replace("drop_path: 0.1", "drop_path: 0.5"))
    arguments = ("study", "new", "mine", "--template", "search", "--recipe", project.recipe)
    assert slws(*arguments, cwd=project.path) == 2
    assert "template 'search' does not fit this recipe: the baseline's model.drop_path=0.5" in capsys.readouterr().err
    assert not (project.path / "studies" / "mine.yaml").exists()


def test_a_draft_of_another_recipe_judges_the_weights_that_it_has(project: Folder, slws: Slws) -> None:
    project.recipe.write_text(project.recipe.read_text().replace(", ema_decay: 0.9", ""))
    arguments = ("study", "new", "3", "--template", "decay", "--recipe", "experiments/tiny.yaml")
    assert slws(*arguments, cwd=project.path) == 0
    spec = load_study(project.path / "studies" / "3.yaml").spec
    assert (spec.name, spec.recipe, spec.metric.weights) == ("3", "../experiments/tiny.yaml", "raw")


def test_without_a_template_all_are_named_with_what_they_are_for(
    digits: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("study", "new", "mine", cwd=digits.path) == 2
    told = capsys.readouterr().err
    assert [name for name in TEMPLATES if f"{name:12} {title(name)}\n" not in told] == []
    assert slws("study", "new", "mine", "--template", "lables", cwd=digits.path) == 2
    assert "did you mean 'labels'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "recipe", "said"),
    [
        ("tiny", None, "there is a study 'tiny' already"),
        ("../mine", None, "cannot name a study"),
        (".mine", None, "cannot name a study"),
        ("mine.yaml", None, "cannot name a study"),
        ("mine", "nothing.yaml", "nothing.yaml"),
        ("mine", REPOSITORY / RECIPE, "the recipe lies outside the project"),
        ("mine", "studies/tiny.yaml", "studies/tiny.yaml"),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(name: str, recipe: object, said: str, digits: Folder, slws: Slws,
                                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    before = {path: path.read_bytes() for path in digits.path.rglob("*") if path.is_file()}
    chosen = ("--recipe", recipe) if recipe else ()
    assert slws("study", "new", name, "--template", "labels", *chosen, cwd=digits.path) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in digits.path.rglob("*") if path.is_file()} == before


def test_a_recipe_that_the_template_does_not_fit_is_named_and_no_draft_stays(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    staged = "stages: [{name: a, set: {train.smoothing: 0.1}}, {name: b, set: {train.smoothing: 0.2}}]\n"
    project.recipe.write_text(project.recipe.read_text() + staged)
    arguments = ("study", "new", "mine", "--template", "components", "--recipe", project.recipe)
    assert slws(*arguments, cwd=project.path) == 2
    told = capsys.readouterr().err
    assert "template 'components' does not fit this recipe: 'train.smoothing' would change nothing" in told
    assert str(project.recipe) in told
    assert project.study.exists()
    assert not (project.path / "studies" / "mine.yaml").exists()


def test_a_root_without_the_digits_recipe_asks_for_one(
    project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slws("study", "new", "mine", "--template", "labels", cwd=project.path) == 2
    assert "--recipe PATH" in capsys.readouterr().err


def test_a_root_without_a_recipe_is_shown_a_whole_one_from_which_every_template_starts(
    tmp_path: Path, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert slws("study", "new", "mine", "--template", "labels", cwd=tmp_path) == 2
    lines = [line.removeprefix(" " * 4) for line in capsys.readouterr().err.splitlines() if line.startswith(" " * 4)]
    assert len(lines) == 4 and not (tmp_path / "studies").exists()
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    for template in TEMPLATES:
        assert slws("study", "new", template, "--template", template, "--recipe", "mine.yaml", cwd=tmp_path) == 0


def test_the_tree_says_what_each_arm_changes_of_its_reference() -> None:
    lines = [line.lstrip("│├└─ ") for line in drawn(REPOSITORY / "studies" / "build_up.yaml", 200)]
    assert "recipe  ../experiments/shufflemamba_micro_digits.yaml" in lines
    assert "train.clip_grad  null | 3.0" in lines
    assert "crop-erase  data.augment.crop=1, data.augment.erase=0.2" in lines
    assert "when  shuffle.schedule: linear" in lines
    assert "block 1  build_up: train.clip_grad, train.smoothing, augmentation, shuffle.schedule" in lines
    assert any(line.startswith("reference  ") and line.endswith("step 0: all off") for line in lines)
    assert any(
        "train.smoothing 0.0 → 0.1" in line and line.startswith("step 2: adds train.smoothing") for line in lines
    )
    assert any(line.endswith("shuffle.schedule none → linear, shuffle.max_rate – → 0.3") for line in lines)
    assert lines[-3:] == [
        "seeds  0, 1, 2, 3, 4",
        "metric  val/top1_ema, maximize, last epoch",
        "comparisons  family all, holm, alpha 0.05, margin 1",
    ]


def test_an_arm_with_two_references_stands_once_with_both() -> None:
    lines = [line.lstrip("│├└─ ") for line in drawn(REPOSITORY / "studies" / "shape_or_amount.yaml", 200)]
    at = lines.index("schedule=cosine, max_rate=0.6")
    assert lines[at + 1].startswith("variant  from schedule=none: ")
    assert lines[at + 2].startswith("against its control  from schedule=constant, max_rate=0.3: ")
    assert lines.count("schedule=cosine, max_rate=0.6") == 1


def test_a_field_that_is_no_factor_changes_from_the_recipes_value() -> None:
    lines = drawn(REPOSITORY / "studies" / "variants.yaml", 200)
    assert any(line.endswith("shuffle.schedule linear → none") for line in lines)


def test_all_settings_that_give_one_training_are_named(project: Folder) -> None:
    project.study.write_text(project.study.read_text().replace(
        "- grid: [shuffle.schedule]", "- list: [{shuffle.schedule: none}, {shuffle.schedule: none, shuffle.max_rate: 0.5}]"
    ))  # fmt: skip
    study = load_study(project.study)
    assert len(expand(study).duplicates) == 1
    assert any(
        "run once" in line and "max_rate=0.5 is the same training as" in line for line in drawn(project.study, 200)
    )


def test_seeds_spent_as_needed_are_drawn(project: Folder) -> None:
    text = project.study.read_text().replace("seeds: 3", "seeds: {min: 3, max: 9, until: decided}")
    project.study.write_text(text)
    assert "├── seeds  3 to 9, until decided" in drawn(project.study, 200)


@pytest.mark.parametrize("width", [60, 34])
def test_a_narrow_terminal_wraps_and_cuts_nothing(width: int) -> None:
    path = REPOSITORY / "studies" / "components.yaml"
    narrow, wide = drawn(path, width), drawn(path, 300)
    assert max(map(len, narrow)) <= width
    plain = [
        "".join(character for line in lines for character in line if character not in "│├└─ ")
        for lines in (narrow, wide)
    ]
    assert plain[0] == plain[1]


def test_showing_a_study_loads_no_torch() -> None:
    code = """
import sys
from slws_lab.cli import main
try:
    main()
except SystemExit:
    pass
print("loaded:", [name for name in ("torch", "mlflow", "matplotlib", "pandas") if name in sys.modules])
"""
    arguments = [sys.executable, "-c", code, "study", "show", "quickstart"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "quickstart  Does layer-wise shuffling help" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"
