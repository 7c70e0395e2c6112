"""A user's own model files: executed only where a recipe names them under `models:`, to register models with timm."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import timm
from timm.models import register_model

from slws_lab.errors import UserError
from slws_lab.models import NAMES

PREFIX = "slws_user_models_"


def load_model_files(files: Sequence[str], root: Path) -> None:
    """Execute files that register models with timm's `@register_model`.

    Each is executed every time: another file may have registered the same name since.

    Args:
        files: Paths relative to `root`.
        root: The project's folder.

    Raises:
        UserError: A file cannot be read, raises (with its line), or takes a name of ours.
    """
    for number, name in enumerate(files):
        path, where = root / Path(name).expanduser(), f"models.{number}"
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        except OSError as error:
            raise UserError(f"cannot read '{name}': {error.strerror}", where=where,
                            allowed=f"a Python file, its path relative to {root}") from None  # fmt: skip
        ours = {taken: timm.model_entrypoint(taken) for taken in NAMES}
        _execute(path, f"{PREFIX}{digest}", where)
        for taken, factory in ours.items():
            if timm.model_entrypoint(taken) is not factory:
                register_model(factory)
                raise UserError(f"{name} registers a model under the name '{taken}', which is ours", where=where,
                                todo="give it another name")  # fmt: skip


def _execute(path: Path, module_name: str, where: str) -> None:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"'{path.name}' is not a Python file", where=where, allowed="a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # timm asks for it by name while it registers a model
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Overwriting")  # what an earlier execution has registered
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's file does
        del sys.modules[module_name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        raise UserError(f"{path.name} raises {type(error).__name__}: {error}" + (f" (line {line})" if line else ""),
                        where=where, todo="mend the file; `python FILE` shows the whole traceback") from error  # fmt: skip
