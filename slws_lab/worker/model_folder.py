"""The folder `model/` of an attempt: what MLflow needs, beside the weights, to load the trained model as a pyfunc.

MLmodel is YAML, written as data: nothing of MLflow is imported where models are trained. The module `served` is what loads it.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from slws_lab.spec import Recipe, RunSpec, resolve_stages
from slws_lab.tracking import Attempt, provenance
from slws_lab.tracking.files import json_text, write_all
from slws_lab.tracking.mirror_model import CONFIG, FOLDER, LOADER, MLMODEL, REQUIREMENTS

FILES = "models"  # copies of the files of the recipe's `models:`
INPUT = (
    "images (batch, channels, height, width) as float32, pixels from 0 to 1 and not normalised: the model does that itself; "
    "of the size that it was trained with, one channel for grey and three for red, green and blue"
)
OUTPUT = "logits (batch, classes) as float32, before any softmax"


def write_model_folder(attempt: Attempt, run: RunSpec, result: Mapping[str, Any], root: Path, desk: Path) -> None:
    """Write `model/` of an attempt whose training has finished; the weights stay in its folder `checkpoint/`.

    Args:
        attempt: The attempt.
        run: Its run.
        result: What the training ended with, as result.json is to hold it.
        root: The project's folder, to which the files of the run's `models:` are relative.
        desk: See `Claim.desk`.

    Raises:
        NotWritten: The system refused, or the desk is gone.
    """
    recipe = resolve_stages(run)[-1]
    copies = {
        f"{FILES}/{number}_{Path(name).name}": root / Path(name).expanduser()
        for number, name in enumerate(recipe.models)
    }
    told = recipe.model_dump(mode="json", include=set(Recipe.model_fields)) | {"models": list(copies)}
    config = {
        "run_id": attempt.run_id,
        "recipe": told,
        "images": result["images"],
        "scan_backend": result["scan_backend"],
    }
    contents = {
        MLMODEL: _mlmodel(result["images"]).encode(),
        CONFIG: json_text(config).encode(),
        REQUIREMENTS: _requirements().encode(),
        **{name: path.read_bytes() for name, path in copies.items()},
    }
    write_all({attempt.path / FOLDER / name: content for name, content in contents.items()}, desk)


def _mlmodel(images: Mapping[str, Any]) -> str:
    taken = [-1, images["channels"], images["size"], images["size"]]
    content = {
        "artifact_path": FOLDER,
        "flavors": {"python_function": {"loader_module": LOADER, "python_version": platform.python_version()}},
        "metadata": {"input": INPUT, "output": OUTPUT},
        "signature": {"inputs": _tensors(taken), "outputs": _tensors([-1, images["outputs"] or -1])},
    }
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width = False, 10_000
    yaml.dump(content, text)
    return text.getvalue()


def _tensors(shape: list[int]) -> str:
    """Return the schema of one float32 array in MLflow's own words, JSON within the YAML; -1 is any number."""
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": shape}}])


def _requirements() -> str:
    found = {name: number for name, number in provenance.packages().items() if name != "python"}
    return "".join(f"{name}=={number}\n" for name, number in found.items())
