"""The study file of the design, as printed: 7 arms, 35 runs, and golden ids."""

from __future__ import annotations

import json
from pathlib import Path

from slws_lab.spec import expand, load_study, run_id

GOLDEN = Path(__file__).parents[1] / "golden" / "section_6_ids.json"


def test_section_6_gives_7_arms_and_35_runs(section_6: Path) -> None:
    design = expand(load_study(section_6))
    assert [arm.label for arm in design.arms] == [
        "schedule=linear, max_rate=0.5, model=shufflemamba_micro",
        "schedule=linear, max_rate=0.1, model=shufflemamba_micro",
        "schedule=linear, max_rate=0.3, model=shufflemamba_micro",
        "schedule=constant, max_rate=0.5, model=shufflemamba_micro",
        "schedule=constant, max_rate=0.3, model=shufflemamba_micro",
        "schedule=none, model=shufflemamba_micro",
        "schedule=linear, max_rate=0.5, model=shufflemamba_tiny",
    ]
    assert len(design.runs) == 35
    assert design.excluded == 1
    assert design.duplicates == ()


def test_every_arm_knows_its_roles_and_references(section_6: Path) -> None:
    design = expand(load_study(section_6))
    baseline, *variants = design.arms
    assert [(role.block, role.kind, role.reference) for role in baseline.roles] == [
        (0, "baseline", None),
        (1, "baseline", None),
    ]
    assert [(role.block, role.reference) for arm in variants for role in arm.roles] == [(0, baseline.id)] * 5 + [
        (1, baseline.id)
    ]


def test_an_arm_whose_factor_is_off_has_neither_its_setting_nor_its_value(section_6: Path) -> None:
    (off,) = [arm for arm in expand(load_study(section_6)).arms if arm.settings["shuffle.schedule"] == "none"]
    assert "shuffle.max_rate" not in off.settings
    assert off.recipe.shuffle.max_rate == 0.0


def test_the_ids_are_golden(section_6: Path) -> None:
    ids = [run_id(run) for run in expand(load_study(section_6)).runs]
    assert ids == json.loads(GOLDEN.read_text())
    assert len(set(ids)) == 35


def test_runs_come_breadth_first(section_6: Path) -> None:
    assert [run.seed for run in expand(load_study(section_6)).runs] == [seed for seed in range(5) for _ in range(7)]
