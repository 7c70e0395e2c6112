"""What each arm costs: the size of its model, the device-hours of its runs, their speed and memory, and what was lost in failures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from slws_lab.analysis.results import ResultTable
from slws_lab.tracking import RunRecord

HOUR_S = 3600.0
SPEED, MEMORY = "train/images_per_s", "train/peak_memory_mb"


@dataclass(frozen=True)
class Cost:
    """What an arm costs. None where its runs do not say.

    Attributes:
        arm_id: Id of the arm.
        params: Parameters of its model.
        flops: Of one image's forward; a multiply-add counts as two.
        device_hours: Hours of devices at work, over its runs that have a result (a diverged one has); a run on 2 GPUs counts twice.
        run_seconds: Mean seconds of such a run.
        images_per_s: Speed of training in the last epoch, mean over the finished runs.
        peak_memory_mb: The largest of the finished runs' peaks.
        lost_hours: Device-hours of runs that failed, as far as they say; not in `device_hours`.
        lost_attempts: Attempts that gave no result: all of a run that failed, all but one of the others.
        run_ids: The runs that have a result.
        failed_ids: The runs that failed.
    """

    arm_id: str
    params: int | None
    flops: float | None
    device_hours: float | None
    run_seconds: float | None
    images_per_s: float | None
    peak_memory_mb: float | None
    lost_hours: float
    lost_attempts: int
    run_ids: tuple[str, ...]
    failed_ids: tuple[str, ...]


@lru_cache(maxsize=4)
def costs(table: ResultTable) -> tuple[Cost, ...]:
    """Return the cost of each arm, in the order of the design."""
    return tuple(_cost(table, arm.id, arm.recipe.ranks) for arm in table.design.arms)


def _cost(table: ResultTable, arm_id: str, devices: int) -> Cost:
    begun = [record for record in table.arm_records(arm_id) if record.attempts]
    done, failed = [r for r in begun if r.done], [r for r in begun if r.status == "failed"]
    finished = [record for record in done if record.status == "finished"]
    seconds = [taken for record in done if (taken := _seconds(record)) is not None]
    memory = _measured(finished, MEMORY)
    return Cost(
        arm_id,
        params=next((int(r.result["params"]) for r in done if r.result.get("params") is not None), None),
        flops=next((float(r.result["flops"]) for r in done if r.result.get("flops") is not None), None),
        device_hours=sum(seconds) * devices / HOUR_S if seconds else None,
        run_seconds=_mean(seconds),
        images_per_s=_mean(_measured(finished, SPEED)),
        peak_memory_mb=max(memory) if memory else None,
        lost_hours=sum(_seconds(record) or 0.0 for record in failed) * devices / HOUR_S,
        lost_attempts=sum(record.attempts for record in failed) + sum(record.attempts - 1 for record in done),
        run_ids=tuple(record.run_id for record in done),
        failed_ids=tuple(record.run_id for record in failed),
    )


def _seconds(record: RunRecord) -> float | None:
    """Return the seconds that a run's attempt took; of one that failed without saying, from its start to its end."""
    result = record.result
    if result.get("seconds") is not None:
        return float(result["seconds"])
    started, finished = result.get("started"), result.get("finished")
    return None if started is None or finished is None else float(finished) - float(started)


def _measured(records: list[RunRecord], name: str) -> list[float]:
    return [record.digest.ends[name].last for record in records if name in record.digest.ends]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
