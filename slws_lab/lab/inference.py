"""What an architecture costs at inference, measured once: on a quiet device, and kept in the workspace."""

from __future__ import annotations

import hashlib
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from slws_lab.errors import SlwsError, UserError
from slws_lab.lab.data_checking import answer_of
from slws_lab.lab.history import devices
from slws_lab.lab.project import Project
from slws_lab.lab.science import outside_state
from slws_lab.launch import inventory
from slws_lab.launch.inventory import Gpu
from slws_lab.spec import AnyRecipe, Recipe, Resources, resolve_stages, where_set
from slws_lab.tracking import Claim, Workspace, is_held, provenance, read_json, write_json
from slws_lab.tracking.claim import owner_of
from slws_lab.tracking.files import writing

WAIT_S, LOOK_S = 600.0, 1.0
# Where the driver names no processes: it keeps some memory for itself, and a process on the GPU adds its context. Between both by
# what is usual, not by a measurement of ours.
IDLE_GB = 1.0
OF_DATA = {"name", "path", "size", "channels"}  # what of a recipe's data decides the images' shape and the classes
log = logging.getLogger(__name__)


class NotQuietError(SlwsError):
    """Something else kept the device busy for as long as was to be waited."""


@dataclass(frozen=True)
class Figures:
    """What an architecture costs at inference, and what that was measured with; see `training.inference` for how.

    Attributes:
        params: Parameters.
        flops: Of one image; a multiply-add counts as two.
        latency_ms: Median of a call.
        latency_low_ms: The quantile 0.1.
        latency_high_ms: The quantile 0.9.
        repeats: Calls that were timed.
        inference_memory_mb: Peak of a call beyond the weights, in 2^20 bytes.
        device: Name of the GPU, or `cpu` and that of the processor.
        threads: Intra-op threads.
        batch: Images a call.
        image_size: Pixels of the square images.
        scan: Selective-scan back-end; empty for a model without one.
        precision: The recipe's.
        load: Cores that other processes kept busy while it was timed, on average.
        crowded: Whether that left too few cores for its threads, so that its latency is in doubt.
    """

    params: int
    flops: int
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    repeats: int
    inference_memory_mb: float
    device: str
    threads: int
    batch: int
    image_size: int
    scan: str
    precision: str
    load: float
    crowded: bool


def known(project: Project, recipe: AnyRecipe) -> Figures | None:
    """Return what was measured before; None where nothing was, or since then the code, the packages or the device are others.

    Args:
        project: Its workspace keeps them, its resources say what they are measured with.
        recipe: The recipe, or a run: drop path, weights, training and seed do not count.

    Raises:
        UserError: It is a command's.
    """
    return _kept(_place(project, recipe))


def figures(project: Project, recipe: AnyRecipe, wait_s: float = WAIT_S) -> Figures:
    """Return what an architecture costs at inference: what was measured before, else measured now, once the device is quiet.

    Quiet means: no other measurement, no run of this workspace on this host, no process on the GPU. None of the caller's own runs
    may begin meanwhile. Where one of another process is at work at the end, it is measured again; one that came and went is told by
    `load` alone.

    Args:
        project: See `known`.
        recipe: See `known`.
        wait_s: Seconds after which no further attempt is made.

    Raises:
        UserError: It is a command's, or something in it does not fit.
        NotQuietError: The device was not quiet in time.
        SlwsError: It cannot be measured here.
    """
    path = _place(project, recipe)
    if found := _kept(path):
        return found
    patience = _Patience(wait_s)
    with _only_one(project.workspace, patience):
        while (found := _kept(path)) is None:
            gpu = _wait_for_quiet(project, patience)
            answer = _measured(project, recipe, gpu)
            if busy := _disturbance(project.workspace, gpu):
                patience.wait(f"{busy}, since the last try began")
                continue
            write_json(path, answer)
    return found


class _Patience:
    """Waits a step at a time, and says what for, up to a limit."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until, self._said = seconds, time.monotonic() + seconds, ""

    def wait(self, busy: str) -> None:
        if time.monotonic() >= self._until:
            raise NotQuietError(
                f"no latency was measured within {self._seconds:.0f} s: {busy}\n  to do:   end that, or give the command again after it"
            )
        if busy != self._said:
            log.warning("waiting to measure a latency: %s", busy)
            self._said = busy
        time.sleep(LOOK_S)


def _place(project: Project, recipe: AnyRecipe) -> Path:
    """Return where an architecture's figures are kept: its name is a digest of all that decides them."""
    if not isinstance(recipe, Recipe):
        raise UserError("a command's model is its own affair: it has no FLOPs, latency or memory of inference",
                        where=project.study.recipe.where_field("kind"), allowed="kind: train")  # fmt: skip
    last, resources = resolve_stages(recipe)[-1], project.study.spec.resources
    state = (
        last.model.model_dump(mode="json", exclude={"drop_path", "init_from"}),
        last.data.model_dump(mode="json", include=OF_DATA),
        last.train.precision,
        outside_state(last, project.study.root),
        (resources.scan, resources.threads, sorted(devices(resources))),
        (sorted(provenance.packages().items()), provenance.numeric_files_digest()),
    )
    name = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
    return project.workspace.cache / "figures" / f"{name}.json"


def _kept(path: Path) -> Figures | None:
    kept = read_json(path)
    return None if kept is None else Figures(**{field.name: kept[field.name] for field in fields(Figures)})


def _measured(project: Project, recipe: AnyRecipe, gpu: Gpu | None) -> dict[str, Any]:
    resources = project.study.spec.resources
    plain = recipe.model_dump(mode="json", include=set(Recipe.model_fields))  # a run's seed is none of it
    asked = {"recipe": plain, "root": str(project.study.root), "scan": resources.scan,
             "threads": resources.threads, "gpus": resources.gpus, "gpu": gpu.visible if gpu else ""}  # fmt: skip
    try:
        answer = answer_of("training", {"measure": asked})
    except UserError as error:
        raise error.at(where_set(project.study, error.where, {})) from None
    if answer["device"] == "cpu":
        answer["device"] = f"cpu {provenance.machine()['processor']}"
    cores = inventory.cores()
    crowded = answer["load"] + answer["threads"] > cores
    if crowded:
        log.warning("other processes kept %.1f of %d cores busy while a latency was measured", answer["load"], cores)
    return {**answer, "crowded": crowded}


@contextmanager
def _only_one(workspace: Workspace, patience: _Patience) -> Iterator[None]:
    """Be the only one on this host that measures for this workspace."""
    place = workspace.path / "measuring" / socket.gethostname()
    while True:
        with writing(place):
            claim = Claim.take(place)
        if claim is not None:
            break
        patience.wait("another process measures")
    with claim:
        yield


def _wait_for_quiet(project: Project, patience: _Patience) -> Gpu | None:
    """Return the GPU to measure on, None for the CPU, once nothing else uses it."""
    while True:
        gpu = _free_gpu(project.study.spec.resources)
        busy = _disturbance(project.workspace, gpu)
        if not busy:
            return gpu
        patience.wait(busy)


def _free_gpu(resources: Resources) -> Gpu | None:
    """Return the first GPU that nobody uses, else the first."""
    found = inventory.gpus() if resources.gpus != 0 else ()
    return next((gpu for gpu in found if not _users(gpu)), found[0] if found else None)


def _disturbance(workspace: Workspace, gpu: Gpu | None) -> str:
    """Say what uses the device: any run on this host does, since all share its cores, or another process the GPU; empty if nothing."""
    host = socket.gethostname()
    for claim in sorted(workspace.runs.glob("*/attempt-*/claim")):
        owner = owner_of(claim)
        if (owner is None or owner.host == host) and is_held(claim):
            return f"run {claim.parents[1].name} is at work"
    return _users(gpu) if gpu else ""


def _users(gpu: Gpu) -> str:
    usage = inventory.usage(gpu)
    if usage.processes:
        return f"GPU {gpu.index} is used by process {min(usage.processes)}"
    return f"{usage.used_gb:.1f} GB of GPU {gpu.index} are in use" if usage.used_gb > IDLE_GB else ""
