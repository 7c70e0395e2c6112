"""The studies of the repository: each loads, expands as it did, and is the same study after a round trip."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY
from ruamel.yaml import YAML

from slws_lab.spec import BLOCKS, Design, expand, load_study

DESIGNED = [
    p for p in sorted((REPOSITORY / "studies").glob("*.yaml")) if load_study(p).spec.search is None
]  # a search has no design
STUDIES = [*DESIGNED, REPOSITORY / "tests/golden/design_section_6.yaml"]
GOLDEN = REPOSITORY / "tests/golden/designs"


@pytest.fixture(params=STUDIES, ids=lambda path: path.stem)
def study_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a study in a project that holds the recipes."""
    for name in ("studies", "experiments"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    for recipe in (REPOSITORY / "experiments").glob("*.yaml"):
        shutil.copy(recipe, tmp_path / "experiments")
    return Path(shutil.copy(request.param, tmp_path / "studies"))


def text(design: Design) -> str:
    """Write a design as its golden file has it: an arm a line, then its roles, each with the arm it is compared to."""
    lines = []
    for arm in design.arms:
        lines.append(arm.label)
        for role in arm.roles:
            to = "" if role.reference is None else f" vs {design.arm(role.reference).label}"
            lines.append(f"    block {role.block + 1}: {role.text}{to}")
    return "\n".join(lines) + "\n"


def test_labels_roles_and_references_are_golden(study_file: Path) -> None:
    assert text(expand(load_study(study_file))) == (GOLDEN / f"{study_file.stem}.txt").read_text()


def test_a_study_that_is_dumped_and_loaded_again_is_the_same(study_file: Path) -> None:
    first = load_study(study_file)
    with study_file.open("w") as file:
        YAML().dump(first.spec.model_dump(mode="json"), file)
    second = load_study(study_file)
    assert second.spec == first.spec
    assert expand(second) == expand(first)


def test_there_is_a_worked_study_for_each_design() -> None:
    kinds = {block.kind for path in STUDIES[:-1] for block in load_study(path).spec.designs}
    assert kinds == set(BLOCKS)
