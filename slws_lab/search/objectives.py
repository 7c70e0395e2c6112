"""A trial's value: its objectives computed from the records of its runs and from what its architecture costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from slws_lab.search import presets
from slws_lab.spec import Metric, SearchSpec
from slws_lab.spec.objectives import (
    ARCHITECTURE,
    TRAINING,
    AnyObjective,
    Cost,
    MnasNet,
    Preset,
    ProxylessProduct,
    ProxylessReward,
    Score,
    TimeTo,
    figures_of,
)
from slws_lab.tracking import RunRecord

JOURNALLED = {"images_per_s": "train/images_per_s", "peak_memory_mb": "train/peak_memory_mb"}


class NoValue(Exception):
    """The runs of a trial give no value of an objective; the message says why."""


def needed(search: SearchSpec) -> tuple[str, ...]:
    """Return the figures of architectures that a search needs, for its objectives and its constraints."""
    named = [name for objective in search.objectives for name in figures_of(objective)]
    return tuple(name for name in ARCHITECTURE if name in (*named, *search.constraints))


def figures(records: Sequence[RunRecord]) -> dict[str, float]:
    """Return what training cost, the mean over a trial's runs: images a second and peak memory, as far as they are recorded."""
    ends = [record.result.get("metrics") or {} for record in records]
    found = {name: [end[JOURNALLED[name]] for end in ends if JOURNALLED[name] in end] for name in TRAINING}
    return {name: fmean(values) for name, values in found.items() if values}


def values(search: SearchSpec, metric: Metric, records: Sequence[RunRecord], costs: Mapping[str, float]) -> list[float]:
    """Return a trial's value of each objective, the mean over its seeds.

    Args:
        search: The search.
        metric: The study's metric.
        records: The records of the trial's finished runs.
        costs: What it costs, by name of the figure.

    Raises:
        NoValue: A run has no value, or a figure is not known.
    """
    return [_value(objective, metric, records, costs) for objective in search.objectives]


def at_step(objective: AnyObjective, value: float, costs: Mapping[str, float]) -> float:
    """Return what a pruner sees of an objective when a run's metric has some value."""
    return value if isinstance(objective, Score) else _preset(objective, value, costs)  # type: ignore[arg-type]


def metric_of(objective: AnyObjective, metric: Metric) -> Metric:
    """Return the metric that an objective is made of, given the study's."""
    return (objective.of or metric) if isinstance(objective, Score) else metric


def _value(objective: AnyObjective, metric: Metric, records: Sequence[RunRecord], costs: Mapping[str, float]) -> float:
    if isinstance(objective, Cost):
        if objective.name not in costs:
            raise NoValue(f"nothing tells its {objective.name}")
        return costs[objective.name]
    if isinstance(objective, TimeTo):
        return fmean(_time_to(objective, metric, record) for record in records)
    found = [record.value(metric_of(objective, metric)) for record in records]
    if any(value is None or not math.isfinite(value) for value in found) or not found:
        raise NoValue(f"a run has no finite {metric_of(objective, metric).key}")
    return at_step(objective, fmean(value for value in found if value is not None), costs)


def _time_to(objective: TimeTo, metric: Metric, record: RunRecord) -> float:
    """Return the seconds up to the end of the first epoch at which the metric is as good as the objective's value."""
    clock = record.curves.get("train/seconds", {})
    try:
        seconds = presets.time_to(record.curves.get(metric.key, {}), clock, objective.value, metric.goal)
    except ValueError as error:  # a run of an older version has no clock
        raise NoValue(str(error)) from None
    if seconds is None:
        raise NoValue(f"{metric.key} never reached {objective.value:g}")
    return seconds


def _preset(objective: Preset, value: float, costs: Mapping[str, float]) -> float:
    if "latency_ms" not in costs:
        raise NoValue("nothing tells its latency")
    try:
        return _formula(objective, value, costs["latency_ms"])
    except ValueError as error:  # outside of what the formula is made for
        raise NoValue(str(error)) from None


def _formula(objective: Preset, value: float, latency: float) -> float:
    if isinstance(objective, MnasNet):
        return presets.mnasnet(value, latency, objective.target_ms, hard=objective.hard)
    if isinstance(objective, ProxylessReward):
        return presets.proxyless_reward(value, latency, objective.reference_ms, objective.exponent)
    if isinstance(objective, ProxylessProduct):
        return presets.proxyless_product(value, latency, objective.reference_ms, objective.alpha, objective.beta)
    return presets.proxyless_sum(value, latency, objective.reference_ms, objective.weight)
