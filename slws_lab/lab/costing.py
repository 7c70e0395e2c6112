"""What a study will cost, before anything is spent: time from what has been run, else from short probes, and disk."""

from __future__ import annotations

import hashlib
import heapq
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slws_lab.errors import UserError
from slws_lab.lab import science
from slws_lab.lab.data_checking import answer_of
from slws_lab.lab.history import Expected, History, Range, devices
from slws_lab.lab.planning import PlannedRun
from slws_lab.lab.project import Project
from slws_lab.spec import Arm, Recipe, resolve_stages, total_epochs, where_set
from slws_lab.spec.shape import shape
from slws_lab.tracking import provenance, read_json, write_json

GB = 2**30
HOUR_S = 3600.0
FLOAT = 4  # bytes
TEXT_AN_EPOCH, TEXT_A_RUN = 700, 7000  # bytes of journal and log, and of the other files: as the digits' runs leave
CHECKPOINTS = 3  # of a run at a time: the newest, the one before it, and the one that is being written


@dataclass(frozen=True)
class Cost:
    """What runs will cost.

    Attributes:
        device_hours: Hours of devices at work, on those runs whose cost is known; ranks count. None if no cost is known.
        wall_hours: Hours until these have ended.
        disk_gb: What all runs leave, and the checkpoints of those in hand.
        free_gb: What is free where the workspace is.
        unknown: Labels of the arms whose cost nobody knows.
        per_arm: Arm id -> what a run of it takes; without those arms.
        more_files: Whether runs will leave more than `disk_gb`: files of a command of whose arm no run has finished.
    """

    device_hours: Range | None
    wall_hours: Range | None
    disk_gb: float
    free_gb: float
    unknown: tuple[str, ...]
    per_arm: dict[str, Expected]
    more_files: bool = False


def cost(
    project: Project,
    runs: Sequence[PlannedRun],
    facts: Mapping[str, Mapping[str, Any]],
    slots: int,
    *,
    probe: bool = False,
) -> Cost:
    """Return what runs will cost that are started in this order, each where a slot is free first.

    A run that was interrupted costs what is left of it.

    Args:
        project: The study.
        runs: The runs that would be executed.
        facts: Arm id -> what the science tower says of it, as `Plan.facts`.
        slots: How many run at a time.
        probe: Whether shapes that nobody has run yet are probed; each takes up to half a minute.

    Raises:
        UserError: A probe finds what does not fit.
        ScienceError: A probe fails.
    """
    arms = {run.arm.id: run.arm for run in runs}
    seen = History.of(project, list(arms.values()))
    per_arm = _expected(project, list(arms.values()), seen, probe=probe)
    known = [(run, per_arm[run.arm.id].seconds * remaining(run)) for run in runs if run.arm.id in per_arm]
    device = Range.total([seconds * run.arm.recipe.ranks for run, seconds in known]) * (1 / HOUR_S)
    return Cost(
        device_hours=device if known else None,
        wall_hours=_wall([seconds for _, seconds in known], slots) * (1 / HOUR_S) if known else None,
        disk_gb=_disk(runs, facts, slots, seen) / GB,
        free_gb=_free(project.workspace.path) / GB,
        unknown=tuple(arm.label for arm in arms.values() if arm.id not in per_arm),
        per_arm=per_arm,
        more_files=any(not isinstance(arm.recipe, Recipe) and arm.id not in seen.arms for arm in arms.values()),
    )


def likely_seconds(project: Project, runs: Sequence[PlannedRun]) -> dict[str, float]:
    """Return arm id -> the device-seconds that a whole run of it is likely to take, without the arms of which nobody knows."""
    arms = list({run.arm.id: run.arm for run in runs}.values())
    expected = _expected(project, arms, History.of(project, arms), probe=False)
    return {arm.id: expected[arm.id].seconds.likely * arm.recipe.ranks for arm in arms if arm.id in expected}


def remaining(run: PlannedRun) -> float:
    """Return the share of a run's epochs that is still to be done."""
    if run.record.result:  # it is begun anew
        return 1.0
    done = max((max(curve, default=0) for curve in run.record.curves.values()), default=0)
    epochs = total_epochs(run.arm.recipe)
    goes_on = isinstance(run.arm.recipe, Recipe) or bool(run.arm.recipe.resume)
    return max(0.0, 1 - done / epochs) if epochs and goes_on else 1.0


def _expected(project: Project, arms: Sequence[Arm], seen: History, *, probe: bool) -> dict[str, Expected]:
    found = {arm.id: expected for arm in arms if (expected := seen.expected(arm)) is not None}
    left = [arm for arm in arms if arm.id not in found]
    probed = _probes(project, left, probe=probe)
    return found | {
        arm.id: _by_probe(arm.recipe, probed[arm.id])
        for arm in left
        if arm.id in probed and isinstance(arm.recipe, Recipe)
    }


def _by_probe(recipe: Recipe, answer: Mapping[str, Any]) -> Expected:
    epochs = [stage.train.epochs for stage in resolve_stages(recipe)]
    parts = [Range.of([low, likely, high]) * n
             for n, (low, likely, high) in zip(epochs, (stage["epoch_s"] for stage in answer["stages"]), strict=True)]  # fmt: skip
    steps = sum(stage["steps"] for stage in answer["stages"])
    return Expected(Range.total(parts), f"probe of {steps} step{'s' * (steps != 1)}")


def _probes(project: Project, arms: Sequence[Arm], *, probe: bool) -> dict[str, Mapping[str, Any]]:
    """Return arm id -> what the probe of its shape has measured; kept per shape, code, packages, device and resources."""
    resources = project.study.spec.resources.model_dump(mode="json", exclude={"minutes", "slurm"})
    state = repr((sorted(provenance.packages().items()), provenance.numeric_files_digest(), sorted(resources.items()),
                  sorted(devices(project.study.spec.resources))))  # fmt: skip
    path = project.workspace.cache / f"probe-{_digest(state)}.json"
    known: dict[str, dict[str, Any]] = read_json(path) or {}
    found: dict[str, Mapping[str, Any]] = {}
    for arm in arms:
        if not isinstance(arm.recipe, Recipe):  # only a training has steps that can be measured
            continue
        key = _digest(shape(arm.recipe) + science.outside_state(arm.recipe, project.study.root))
        if key not in known and probe:
            known[key] = _ask(project, arm)
            write_json(path, known)
        if key in known:
            found[arm.id] = known[key]
    return found


def _ask(project: Project, arm: Arm) -> dict[str, Any]:
    question = {"recipe": arm.recipe.model_dump(mode="json"), "root": str(project.study.root),
                "resources": project.study.spec.resources.model_dump(mode="json")}  # fmt: skip
    try:
        return answer_of("training.probe", question)
    except UserError as error:
        raise error.at(where_set(project.study, error.where, arm.settings)) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _wall(seconds: Sequence[Range], slots: int) -> Range:
    return Range(*(_until([getattr(one, name) for one in seconds], slots) for name in ("low", "likely", "high")))


def _until(seconds: Sequence[float], slots: int) -> float:
    """Return when the last has ended of what is begun in this order, each where a slot is free first."""
    free = [0.0] * slots
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def _disk(runs: Sequence[PlannedRun], facts: Mapping[str, Mapping[str, Any]], slots: int, seen: History) -> float:
    """Return the bytes that runs leave, and those of the largest checkpoints that are there at a time."""
    left, in_hand = {}, {}
    for arm in {run.arm.id: run.arm for run in runs}.values():
        text = TEXT_A_RUN + TEXT_AN_EPOCH * total_epochs(arm.recipe)
        seen_bytes = [
            one.bytes for one in seen.arms.get(arm.id, ())
        ]  # less than will be left, where weights were cleaned
        stages = resolve_stages(arm.recipe) if isinstance(arm.recipe, Recipe) else ()
        weights = [_weights(stage, facts[arm.id]) for stage in stages[-1:]]
        left[arm.id] = max([sum(weights) + text, *seen_bytes])
        in_hand[arm.id] = CHECKPOINTS * max((_weights(stage, facts[arm.id], moments=2) for stage in stages), default=0)
    checkpoints = sorted((in_hand[run.arm.id] for run in runs), reverse=True)[:slots]
    return sum(left[run.arm.id] for run in runs) + sum(checkpoints)


def _weights(recipe: Recipe, facts: Mapping[str, Any], moments: int = 0) -> int:
    """Return the bytes of a model's weights, their moving average where there is one, and so many moments of each."""
    return FLOAT * int(facts["params"]) * (1 + (recipe.train.ema_decay is not None) + moments)


def _free(path: Path) -> int:
    """Return the bytes that are free on a folder's file system; the folder need not be there yet."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(there).free
