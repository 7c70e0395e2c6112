"""What a notebook sees: a tidy table, and contrasts that read like sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import slws_lab
from slws_lab.analysis import contrasts

RATES = """
factors:
  shuffle.schedule: [none, linear]
  shuffle.max_rate: {levels: [0.5], when: {shuffle.schedule: linear}}
designs: [{grid: [shuffle.schedule, shuffle.max_rate]}]
seeds: 5
"""
DELTAS = [1.0, 0.4, 1.9, 0.7, 2.0]


def value(settings: dict, seed: int) -> float:
    return 90 + seed**2 + (DELTAS[seed] if settings["shuffle.schedule"] == "linear" else 0)


def test_a_contrast_reads_like_a_sentence(plant_by) -> None:
    (contrast,) = contrasts(plant_by(RATES, value))
    assert repr(contrast) == "linear 0.5 - none: +1.20 [+0.31, +2.09], helps (p 0.02, Holm over 1, 5 pairs)"


def test_it_names_arms_by_their_labels_where_levels_alone_say_too_little(plant) -> None:
    (contrast,) = contrasts(plant([1.0, 2.0, 4.0], [2.0, 3.5, 5.2], more="comparisons: {correction: bh}"))
    assert repr(contrast).startswith("lr=0.002 - lr=0.001: +1.23 [")
    assert "Benjamini-Hochberg over 1, 3 pairs" in repr(contrast)


def test_it_says_why_there_is_no_verdict(plant) -> None:
    (contrast,) = contrasts(plant([1.0, 2.0, None], [2.0, 3.5, 5.2]))
    assert repr(contrast) == "lr=0.002 - lr=0.001: +1.2, withheld: 2 pairs, 3 are needed (2 pairs)"
    assert repr(contrasts(plant([1.0], [None]))[0]).startswith("lr=0.002 - lr=0.001: no pair, withheld")


def test_a_small_loss_keeps_its_digits(plant) -> None:
    table = plant([0.5012, 0.5031, 0.4987], [0.5001, 0.5017, 0.4979], more="metric: {name: val/loss, goal: minimize}")
    assert repr(contrasts(table)[0]).split(" (")[0] == "lr=0.002 - lr=0.001: -0.00110 [-0.00185, -0.00035], helps"


def test_results_load_by_the_path_of_a_study(plant_by, tmp_path: Path) -> None:
    plant_by(RATES, value)
    frame = slws_lab.load_results(str(tmp_path / "study.yaml"))
    assert len(frame) == 10 and set(frame["status"]) == {"pending"}
    table = slws_lab.load_table(str(tmp_path / "study.yaml"))
    assert contrasts(table)[0].verdict == "withheld"


def test_importing_the_package_imports_nothing_heavy() -> None:
    said = (
        "import sys, slws_lab; print([name for name in ('pandas', 'torch', 'scipy', 'mlflow') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = slws_lab.nothing
