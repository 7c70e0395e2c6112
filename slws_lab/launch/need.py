"""What an attempt needs of its GPU, as its worker measures it: kept in the attempt's folder, for those who pack others beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slws_lab.errors import UserError
from slws_lab.launch.inventory import GB, own_gb
from slws_lab.spec import Resources
from slws_lab.tracking import read_json, write_json
from slws_lab.tracking.files import Damaged

FILE = "need.json"
CONTEXT_GB = 1.0  # a CUDA context and its libraries, where the driver does not tell: an allowance, not a measurement
PLACE = {"minutes", "slurm", "ray"}  # resources on which neither memory nor speed depends


@dataclass(frozen=True)
class Need:
    """What a process has been seen to need.

    Attributes:
        gpu: Kind of its GPU.
        memory_gb: The most that it has held of it, its CUDA context too.
        resources: See `relevant`.
    """

    gpu: str
    memory_gb: float
    resources: Mapping[str, Any]


def measure(gpu: str, resources: Resources, *, reserved: int, peak: int) -> Need:
    """Return what this process needs.

    Args:
        gpu: Kind of its GPU.
        resources: What its run may use.
        reserved: Bytes that torch holds on the GPU now.
        peak: The most bytes that it has held in this run.
    """
    try:
        own = own_gb()
    except UserError:  # the driver fails just now: no reason to end a run that goes on
        own = None
    beside = CONTEXT_GB if own is None else max(0.0, own - reserved / GB)
    return Need(gpu, peak / GB + beside, relevant(resources))


def note(attempt: Path, need: Need, desk: Path | None = None) -> None:
    """Keep an attempt's need in its folder, unless as much is known there already.

    Args:
        attempt: The attempt's folder.
        need: What was measured.
        desk: See `Claim.desk`; None where nobody else can hold the attempt.

    Raises:
        NotWritten: The system refused, or the desk is gone.
    """
    known = read(attempt)
    alike = known is not None and (known.gpu, known.resources) == (need.gpu, need.resources)
    if known is None or not alike or known.memory_gb < need.memory_gb:
        write_json(attempt / FILE, asdict(need), desk)


def read(attempt: Path) -> Need | None:
    """Return what an attempt was seen to need; None where nobody has measured it, or the file is damaged: it is measured anew."""
    try:
        found = read_json(attempt / FILE)
        return None if found is None else Need(str(found["gpu"]), float(found["memory_gb"]), dict(found["resources"]))
    except (Damaged, KeyError, TypeError, ValueError):
        return None


def relevant(resources: Resources) -> dict[str, Any]:
    """Return the resources on which memory and speed depend: what was measured with others says nothing."""
    return resources.model_dump(mode="json", exclude=PLACE)
