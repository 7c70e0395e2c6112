"""What is known of runs on a kind of GPU: memory as measured, and what several of a shape give together. Kept for the next command."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slws_lab.lab import science
from slws_lab.lab.project import Project
from slws_lab.launch import need
from slws_lab.launch.inventory import Gpu, shares_by_mps
from slws_lab.launch.packing import fitting, processes
from slws_lab.spec import Resources
from slws_lab.spec.kinds import AnyRecipe
from slws_lab.spec.shape import shape
from slws_lab.tracking import provenance, read_json, write_json

Known = dict[str, dict[str, Any]]


class Measured:
    """What is known of attempts by their shapes; see `launch.Needs`. Other code, packages or resources make all of it
    unknown, and so does NVIDIA's multi-process service where it was off, or on, before.

    Args:
        project: The study.
        resources: What each run may use.
        attempts: Folder of each attempt -> its recipe, or its run.
    """

    def __init__(self, project: Project, resources: Resources, attempts: Mapping[Path, AnyRecipe]) -> None:
        self._project, self._resources, self._attempts = project, need.relevant(resources), dict(attempts)
        self._seen: dict[Path, int] = {}

    def add(self, attempts: Mapping[Path, AnyRecipe]) -> None:
        """Know further attempts, before a launcher hears of them."""
        self._attempts |= attempts
        self.__dict__.pop("_shapes", None)
        self.__dict__.pop("_of_shape", None)

    def shape(self, attempt: Path) -> str:
        """Return what attempts have in common that take the same memory and time."""
        return self._shapes[attempt]

    def memory_gb(self, shape: str, gpu: str) -> float | None:
        """Return the highest peak that has been measured of the shape; its attempts at work are asked, too."""
        for attempt in self._of_shape[shape]:
            found = self._news(attempt)
            if found is not None and found.resources == self._resources:
                before = self._of(shape, found.gpu).get("memory_gb", 0.0)
                if found.memory_gb > before:
                    self._keep(shape, found.gpu, {"memory_gb": found.memory_gb})
        return self._of(shape, gpu).get("memory_gb")

    def rates(self, shape: str, gpu: str) -> dict[int, float]:
        """Return number of processes on one GPU -> the images a second that they gave together."""
        return {int(number): rate for number, rate in self._of(shape, gpu).get("rates", {}).items()}

    def note_rate(self, shape: str, gpu: str, processes: int, rate: float) -> None:
        """Keep what so many processes gave together."""
        rates = {str(number): known for number, known in self.rates(shape, gpu).items()}
        self._keep(shape, gpu, {"rates": {**rates, str(processes): rate}})

    def shape_of(self, recipe: AnyRecipe) -> str:
        """Return the shape of a recipe, with the state of the files that it names."""
        return _digest(shape(recipe) + science.outside_state(recipe, self._project.study.root))

    @cached_property
    def _shapes(self) -> dict[Path, str]:
        recipes = {id(recipe): recipe for recipe in self._attempts.values()}
        shapes = {number: self.shape_of(recipe) for number, recipe in recipes.items()}
        return {path: shapes[id(recipe)] for path, recipe in self._attempts.items()}

    @cached_property
    def _of_shape(self) -> Mapping[str, list[Path]]:
        found = defaultdict[str, list[Path]](list)
        for attempt, its_shape in self._shapes.items():
            found[its_shape].append(attempt)
        return found

    def _news(self, attempt: Path) -> need.Need | None:
        """Return what an attempt is seen to need, if that was written since the last call."""
        try:
            written = (attempt / need.FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if self._seen.get(attempt) == written:
            return None
        self._seen[attempt] = written
        return need.read(attempt)

    @cached_property
    def _path(self) -> Path:
        packages, resources = sorted(provenance.packages().items()), sorted(self._resources.items())
        state = repr((packages, provenance.numeric_files_digest(), resources, shares_by_mps()))
        return self._project.workspace.cache / f"needs-{_digest(state)}.json"

    @cached_property
    def _known(self) -> Known:
        return read_json(self._path) or {}

    def _of(self, shape: str, gpu: str) -> dict[str, Any]:
        return self._known.get(f"{gpu} {shape}", {})

    def _keep(self, shape: str, gpu: str, found: dict[str, Any]) -> None:
        """Add to what is known, also to what another command has learned meanwhile."""
        self._known = {**self._known, **(read_json(self._path) or {})}
        self._known[f"{gpu} {shape}"] = {**self._of(shape, gpu), **found}
        write_json(self._path, self._known)


@dataclass(frozen=True)
class Packed:
    """How runs of a shape share a GPU.

    Attributes:
        gpu: Kind of the GPU.
        total_gb: Its memory.
        peak_gb: The measured peak of a run.
        runs: How many are put on one GPU.
        most: How many may become as long as twice as many give more images a second: as many as there is room for, and `runs` where more
            have been tried in vain.
    """

    gpu: str
    total_gb: float
    peak_gb: float
    runs: int
    most: int

    def __str__(self) -> str:
        later = f", and up to {self.most} while more give more images a second" if self.most > self.runs else ""
        number = f"{self.runs} run{'s' * (self.runs != 1)} at a time on each {self.gpu}{later}"
        return f"{number} ({self.peak_gb:.1f} of {self.total_gb:.0f} GB each, measured)"


def packed(project: Project, recipes: Iterable[AnyRecipe], gpus: Iterable[Gpu]) -> tuple[Packed, ...]:
    """Return how runs will share GPUs, as far as their needs have been measured: one for each kind of GPU and shape.

    Args:
        project: The study.
        recipes: Recipes of the runs, in any order.
        gpus: The GPUs, see `launch.inventory.gpus`.
    """
    known = Measured(project, project.study.spec.resources, {})
    kinds = {gpu.name: gpu for gpu in gpus}.values()
    shapes = dict.fromkeys(known.shape_of(recipe) for recipe in recipes)
    return tuple(_packed(gpu, peak, known.rates(one, gpu.name)) for gpu in kinds for one in shapes
                 if (peak := known.memory_gb(one, gpu.name)) is not None)  # fmt: skip


def _packed(gpu: Gpu, peak_gb: float, rates: Mapping[int, float]) -> Packed:
    room, wanted = fitting(peak_gb, gpu.memory_gb), processes(rates)
    runs = min(room, wanted)
    return Packed(gpu.name, gpu.memory_gb, peak_gb, runs, most=runs if wanted in rates else room)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
