"""The import contracts hold, and each is able to fail: a planted violation breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

VIOLATIONS = {
    # contract: (file, line planted in it)
    "layers": ("spec/paths.py", "import slws_lab.tracking"),
    "lab-tower": ("analysis/best.py", "import torch"),
    "verbs": ("lab/planning.py", "import slws_lab.training"),
    "science-tower": ("models/mixer.py", "import slws_lab.spec"),
    "home-of-mlflow": ("lab/planning.py", "import mlflow"),
    "home-of-optuna": ("lab/planning.py", "import optuna"),
    "home-of-submitit": ("worker/job.py", "import submitit"),
    "home-of-ray": ("worker/job.py", "import ray"),
    "home-of-matplotlib": ("analysis/best.py", "import matplotlib"),
    "home-of-mamba-ssm": ("models/mixer.py", "import mamba_ssm"),
    "home-of-triton": ("models/mixer.py", "import triton"),
    "home-of-timm": ("shuffle/layerwise.py", "import timm"),
    "home-of-typer": ("lab/planning.py", "import typer"),
}


def contracts(folder: Path) -> str:
    """Check the contracts of the package in a folder; returns what was printed."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(folder)}, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    shutil.copytree(REPOSITORY / "slws_lab", folder / "slws_lab", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_contracts_hold(copy: Path) -> None:
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in contracts(copy)


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract["id"] for contract in CONTRACTS} == set(VIOLATIONS)


@pytest.fixture(scope="module")
def broken(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Plant all violations at once, in a copy of their own, and check."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(copy, folder, dirs_exist_ok=True)
    for name, line in VIOLATIONS.values():
        file = folder / "slws_lab" / name
        head, future, tail = file.read_text().partition("from __future__ import annotations\n")
        file.write_text(f"{head}{future}{line}\n{tail}")
    return contracts(folder)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["id"])
def test_a_planted_violation_breaks_its_contract(contract: dict[str, str], broken: str) -> None:
    unwrapped = " ".join(broken.split())
    assert f"{contract['name']} BROKEN" in unwrapped


def test_a_stray_package_breaks_the_layers(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path, dirs_exist_ok=True)
    stray = tmp_path / "slws_lab" / "utils.py"
    stray.write_text("")
    assert "utils" in contracts(tmp_path)


def test_the_lab_starts_without_torch_and_mlflow() -> None:
    code = "import sys, slws_lab.cli.commands; print([m for m in ('torch', 'mlflow', 'matplotlib', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
