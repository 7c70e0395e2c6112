"""A trained model as MLflow's pyfunc: `mlflow.pyfunc.load_model("runs:/<id>/model")` finds `_load_pyfunc` here. Loads torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from slws_lab.errors import SlwsError, UserError
from slws_lab.spec import Recipe
from slws_lab.tracking.mirror_model import CONFIG, WEIGHTS
from slws_lab.training import build
from slws_lab.training.evaluate import BATCH
from slws_lab.training.numerics import Numerics

# Within MLflow's artifacts the weights stand beside the rest; in a run's folder they are where the training has put them.
PLACES = (WEIGHTS, "../checkpoint/ema.safetensors", "../checkpoint/last.safetensors")


class Served:
    """A trained classifier. It computes as evaluations do, never compiled, so with the same weights it gives the same bits.

    Args:
        folder: What `model_folder` has written, with the weights, see `PLACES`.
        device: Where it computes.

    Raises:
        SlwsError: The weights are not there.
        UserError: The model cannot be built here.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        recipe, images = Recipe.model_validate(config["recipe"]), config["images"]
        self._numerics = Numerics(device, recipe.train.precision, tuple(images["mean"]), tuple(images["std"]))
        shape = build.Shape(images["size"], images["channels"], images["outputs"])
        with torch.random.fork_rng(devices=()):  # first weights are drawn and thrown away
            model = build.build_model(recipe, shape, _scan(config["scan_backend"], device), folder)
        model.load_state_dict(load_file(_weights(folder)))
        self._model = model.to(device).eval()

    def predict(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits.

        Args:
            model_input: (batch, channels, height, width) float32, pixels from 0 to 1; not normalised.

        Returns:
            (batch, classes) float32.
        """
        images = torch.from_numpy(np.ascontiguousarray(model_input)).to(self._numerics.device)
        with torch.inference_mode():
            return torch.cat([self._logits(part) for part in torch.split(images, BATCH)]).cpu().numpy()

    def _logits(self, images: Tensor) -> Tensor:
        shift, scale = (
            torch.tensor(one, device=images.device)[:, None, None] for one in (self._numerics.mean, self._numerics.std)
        )
        with self._numerics.autocast():
            found: Tensor = self._model((images - shift) / scale)
        return found.float()


def _load_pyfunc(data_path: str) -> Served:
    """Load a model for MLflow, onto the GPU where there is one."""
    return Served(Path(data_path), torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _weights(folder: Path) -> Path:
    found = next((folder / name for name in PLACES if (folder / name).is_file()), None)
    if found is None:
        raise SlwsError(f"{folder} has no weights\n  to do:   `slws rerun STUDY RUN --replace` makes them again")
    return found


def _scan(name: str, device: torch.device) -> str:
    """Return the scan back-end that the training used, if this device has it: another one may round otherwise."""
    try:
        return build.resolve_scan(name or "auto", device)
    except UserError:
        return build.resolve_scan("auto", device)
