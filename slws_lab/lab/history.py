"""What finished runs of a workspace took and left: the history from which a study's cost is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from slws_lab.errors import UserError
from slws_lab.lab.project import Project
from slws_lab.launch import inventory
from slws_lab.spec import Arm, Resources, digest, parse_recipe, total_epochs
from slws_lab.spec.shape import shape
from slws_lab.tracking import Attempt, provenance, read_json
from slws_lab.tracking.files import Damaged

LEAST_SPREAD = 0.1
MOST_READ = 20  # runs of an arm: further ones would tell little and take time to read


@dataclass(frozen=True)
class Range:
    """A figure that is not known exactly: what is likely, and between what it should lie."""

    low: float
    likely: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Return the range of figures seen: smallest, median and largest, and a tenth to each side at least.

        Few figures that agree do not say that the next will.
        """
        likely = median(values)
        return cls(min(*values, likely * (1 - LEAST_SPREAD)), likely, max(*values, likely * (1 + LEAST_SPREAD)))

    @classmethod
    def total(cls, ranges: Sequence[Range]) -> Range:
        """Return the sum; all may be low together, or high, since what slows one run slows the others."""
        return cls(sum(r.low for r in ranges), sum(r.likely for r in ranges), sum(r.high for r in ranges))

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.likely * factor, self.high * factor)


@dataclass(frozen=True)
class Expected:
    """What a run of an arm takes from its beginning to its end.

    Attributes:
        seconds: Training and evaluation, or the whole command, on each of its ranks.
        source: Where that is from, in words.
    """

    seconds: Range
    source: str


@dataclass(frozen=True)
class Seen:
    """A finished attempt: how long it and an epoch of it took, and how many bytes it left."""

    seconds: float
    epoch_s: float
    bytes: int


@dataclass(frozen=True)
class History:
    """Finished attempts of all studies of a workspace, made on a device like ours, by the arm and by the shape of their runs."""

    arms: dict[str, list[Seen]] = field(default_factory=dict)
    shapes: dict[str, list[Seen]] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project, arms: Sequence[Arm]) -> History:
        """Read what there is of these arms and their shapes."""
        names, shapes = {arm.recipe.title for arm in arms}, {shape(arm.recipe) for arm in arms}
        resources = project.study.spec.resources
        kinds, recipes, found = devices(resources), dict[str, tuple[str, str]](), cls()
        for folder in project.workspace.folders():
            if folder.run_id.rsplit("-", 2)[0] not in names:  # reading the others would only take time
                continue
            arm_id, its_shape = _recipe_of(folder.path / "run.json", recipes)
            enough = len(found.arms.get(arm_id, ())) >= MOST_READ
            for attempt in folder.attempts() if its_shape in shapes and not enough else ():
                result = attempt.result() or {}
                if result.get("status") == "finished" and _comparable(result, resources, kinds):
                    seen = Seen(result["seconds"], result["seconds"] / result["epochs"], _size(attempt))
                    found.arms.setdefault(arm_id, []).append(seen)
                    found.shapes.setdefault(its_shape, []).append(seen)
        return found

    def expected(self, arm: Arm) -> Expected | None:
        """Return what runs of the arm have taken, else those of its shape; None where there are none."""
        seen, of = self.arms.get(arm.id), "this arm"
        if seen is None:
            seen, of = self.shapes.get(shape(arm.recipe)), "the same shape"
        if seen is None:
            return None
        epochs = total_epochs(arm.recipe)
        seconds = (
            Range.of([one.epoch_s for one in seen]) * epochs if epochs else Range.of([one.seconds for one in seen])
        )
        return Expected(seconds, f"{len(seen)} run{'s' * (len(seen) > 1)} of {of}")


def _recipe_of(path: Path, known: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """Return arm id and shape of a run; empty where its file is damaged, or of a language that is no longer spoken."""
    try:
        spec = (read_json(path) or {}).get("spec", {})
        text = json.dumps({name: value for name, value in spec.items() if name != "seed"}, sort_keys=True)
        if text not in known:
            recipe = parse_recipe(json.loads(text))
            known[text] = digest(recipe), shape(recipe)
    except (Damaged, ValidationError, UserError):
        return "", ""
    return known[text]


def devices(resources: Resources) -> frozenset[str]:
    """Return the kinds of device that a run may get here, as results name them: of GPUs, or of the processor."""
    names = {gpu.name for gpu in inventory.gpus()} if resources.gpus != 0 else set()
    return frozenset(names or {f"cpu {provenance.machine()['processor']}"})


def _comparable(result: Mapping[str, Any], resources: Resources, kinds: frozenset[str]) -> bool:
    """Say whether an attempt was made on such a device, with as many threads and the scan back-end that is asked for."""
    device = result["device"]
    if device == "cpu":
        device = f"cpu {result['provenance']['machine']['processor']}"
    scan = resources.scan == "auto" or result.get("scan_backend") in ("", None, resources.scan)
    return device in kinds and result["threads"] == resources.threads and scan


def _size(attempt: Attempt) -> int:
    return sum(path.stat().st_size for path in attempt.path.rglob("*") if path.is_file())
