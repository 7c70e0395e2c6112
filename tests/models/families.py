"""What the tests of all model families share: their smallest models, and the golden key files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import timm
import torch

from slws_lab.models import VisionMamba

GOLDEN = Path(__file__).parents[1] / "golden"
# the smallest model of each family, and of a variant that takes another way through the code
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "shufflemamba": ("shufflemamba_micro", {"img_size": 32, "stride": 4, "in_chans": 3}),
    "vim": ("vim_micro", {}),
    "mambareg": ("mambareg_micro", {}),
    "mambareg without neck": ("mambareg_micro", {"reduce": 1}),
    "mambamlp": ("mambamlp_micro", {}),
    "mambamlp, 4 directions": ("mambamlp_micro", {"directions": 4, "global_pool": "token"}),
}


def build(name: str, **overrides: Any) -> VisionMamba:
    """Build a named model from seed 0."""
    torch.manual_seed(0)
    return timm.create_model(name, **overrides)


def small(case: str, **overrides: Any) -> VisionMamba:
    """Build the model of a case in `SMALL`, two blocks deep."""
    name, own = SMALL[case]
    return build(name, **{"depth": 2, **own, **overrides})


def golden_keys(family: str, name: str) -> dict[str, str]:
    """Return the official keys of a model and their shapes."""
    expected = {}
    with (GOLDEN / f"{family}_state_dict_keys.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] == name:
                for layer in range(int(row["repeated_to_layer"] or 0) + 1):
                    expected[row["key"].replace("layers.0.", f"layers.{layer}.")] = row["shape"]
    return expected
