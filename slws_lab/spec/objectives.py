"""What a search makes large or small: a metric of the runs, what a setting costs, or a reward made of both."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field

from slws_lab.spec.metric import Metric
from slws_lab.spec.recipe import Spec
from slws_lab.spec.samplers import named

Goal = Literal["maximize", "minimize"]
Positive = Annotated[float, Field(gt=0)]
# What an architecture costs is known before it is trained, what a training costs only after it.
OfArchitecture = Literal["params", "flops", "latency_ms", "inference_memory_mb"]
OfTraining = Literal["images_per_s", "peak_memory_mb"]
Figure = Literal[OfArchitecture, OfTraining]
Limited = Literal[OfArchitecture, "peak_memory_mb"]  # what may be too large
ARCHITECTURE: tuple[str, ...] = get_args(OfArchitecture)
TRAINING: tuple[str, ...] = get_args(OfTraining)
UNITS = {
    "latency_ms": "ms", "inference_memory_mb": "MB", "images_per_s": "images/s", "peak_memory_mb": "MB", "time_to": "s",
}  # fmt: skip


class Score(Spec):
    """A metric of the runs."""

    name: Literal["metric"] = "metric"
    of: Metric | None = Field(None, description="Which; null: the study's.")


class Cost(Spec):
    """What a setting costs: its architecture, or its training."""

    name: Figure


class TimeTo(Spec):
    """Seconds of training until the study's metric first reaches a value; a run that never does has none, and its trial fails."""

    name: Literal["time_to"] = "time_to"
    value: float = Field(description="The value to be reached, in the metric's unit.")


class MnasNet(Spec):
    """ACC x (LAT / T)^w of MnasNet (Tan et al., 2019); accuracy is the study's metric."""

    name: Literal["mnasnet"] = "mnasnet"
    target_ms: Positive = Field(description="T: the latency aimed at.")
    hard: bool = Field(False, description="w is 0 below the target and -1 above; else -0.07 on both sides.")


class ProxylessProduct(Spec):
    """CE x alpha x (log LAT / log REF)^beta of ProxylessNAS (Cai et al., 2019); the study's metric is the loss."""

    name: Literal["proxyless_product"] = "proxyless_product"
    reference_ms: Annotated[float, Field(gt=1)] = Field(description="REF: the latency aimed at.")
    alpha: Positive = 1.0
    beta: Positive = 0.6


class ProxylessSum(Spec):
    """CE + weight x (LAT - REF) / REF of ProxylessNAS (Cai et al., 2019); the study's metric is the loss."""

    name: Literal["proxyless_sum"] = "proxyless_sum"
    reference_ms: Positive = Field(description="REF: the latency aimed at.")
    weight: Positive = 0.2


class ProxylessReward(Spec):
    """ACC x (REF / LAT)^exponent of ProxylessNAS (Cai et al., 2019); accuracy is the study's metric."""

    name: Literal["proxyless_reward"] = "proxyless_reward"
    reference_ms: Positive = Field(description="REF: the latency aimed at.")
    exponent: Positive = 0.1


Preset = MnasNet | ProxylessProduct | ProxylessSum | ProxylessReward
PRESETS = (MnasNet, ProxylessProduct, ProxylessSum, ProxylessReward)
OF_LOSS = (ProxylessProduct, ProxylessSum)
AnyObjective = Score | Cost | TimeTo | Preset
Objective = Annotated[AnyObjective, Discriminator("name"), BeforeValidator(named)]


def goal_of(objective: AnyObjective, metric: Metric) -> Goal:
    """Say whether a search makes an objective large or small, given the study's metric."""
    if isinstance(objective, Score):
        return (objective.of or metric).goal
    larger = isinstance(objective, MnasNet | ProxylessReward) or objective.name == "images_per_s"
    return "maximize" if larger else "minimize"


def figures_of(objective: AnyObjective) -> tuple[str, ...]:
    """Return the figures of an architecture or a training that an objective is made of."""
    if isinstance(objective, Cost):
        return (objective.name,)
    return ("latency_ms",) if isinstance(objective, PRESETS) else ()


def told_by_epochs(objective: AnyObjective) -> bool:
    """Say whether each epoch tells it, so that a pruner has something to go by."""
    return isinstance(objective, Score | Preset)
