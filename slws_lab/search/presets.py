"""Objectives made of a quality and a latency, as papers on architecture search weigh them, and the time to reach a quality.

Latencies are in milliseconds. Accuracy may be a fraction or, as our top-1, in percent: rewards are proportional to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

SOFT_W, HARD_W = -0.07, -1.0


def mnasnet(accuracy: float, latency_ms: float, target_ms: float, *, hard: bool = False) -> float:
    """Return ACC (LAT / T)^w, to be made large.

    Args:
        accuracy: ACC, fraction or percent.
        latency_ms: LAT.
        target_ms: T, the latency aimed at.
        hard: Whether w is 0 up to the target and -1 above it; else it is -0.07 on both sides, so that twice the latency is worth a
            twentieth more accuracy.

    Raises:
        ValueError: The accuracy is no number from 0 on, or a latency none above 0.

    Source: Tan et al., MnasNet (arXiv 1807.11626), section 3, equations 2 and 3; both pairs of exponents are
    those of its figure 3.
    """
    _check_quality("accuracy", accuracy)
    _check_latencies(0, latency_ms=latency_ms, target_ms=target_ms)
    if hard and latency_ms <= target_ms:
        return accuracy
    return accuracy * math.pow(latency_ms / target_ms, HARD_W if hard else SOFT_W)


def proxyless_product(
    loss: float, latency_ms: float, reference_ms: float, alpha: float = 1.0, beta: float = 0.6
) -> float:
    """Return CE alpha (log LAT / log REF)^beta, to be made small.

    The ratio of logarithms depends on the unit, which is the millisecond as in the source, and means something only where both
    latencies are above 1 ms: at 1 ms the whole is 0 whatever the loss, and below it there is no power. For faster models take
    `proxyless_sum`, which has no unit.

    Args:
        loss: CE, the cross-entropy.
        latency_ms: LAT, above 1.
        reference_ms: REF, the latency aimed at, above 1.
        alpha: A factor that changes no order.
        beta: How much latency counts.

    Raises:
        ValueError: The loss is no number from 0 on, or a latency none above 1.

    Source: the code of Cai et al., ProxylessNAS (arXiv 1812.00332), mit-han-lab/proxylessnas, search/nas_manager.py, `mul#log` with its
    defaults; the paper has a weighted sum instead (section 3.3.1).
    """
    _check_quality("loss", loss)
    _check_latencies(1, latency_ms=latency_ms, reference_ms=reference_ms)
    return loss * alpha * math.pow(math.log(latency_ms) / math.log(reference_ms), beta)


def proxyless_sum(loss: float, latency_ms: float, reference_ms: float, weight: float = 0.2) -> float:
    """Return CE + weight (LAT - REF) / REF, to be made small.

    Args:
        loss: CE, the cross-entropy.
        latency_ms: LAT.
        reference_ms: REF, the latency aimed at.
        weight: What a latency of twice the reference adds to the loss.

    Raises:
        ValueError: The loss is no number from 0 on, or a latency none above 0.

    Source: as `proxyless_product`, `add#linear` with its default.
    """
    _check_quality("loss", loss)
    _check_latencies(0, latency_ms=latency_ms, reference_ms=reference_ms)
    return loss + weight * (latency_ms - reference_ms) / reference_ms


def proxyless_reward(accuracy: float, latency_ms: float, reference_ms: float, exponent: float = 0.1) -> float:
    """Return ACC (REF / LAT)^exponent, to be made large.

    Args:
        accuracy: ACC, fraction or percent; the source takes a fraction.
        latency_ms: LAT.
        reference_ms: REF, the latency aimed at.
        exponent: How much latency counts.

    Raises:
        ValueError: The accuracy is no number from 0 on, or a latency none above 0.

    Source: as `proxyless_product`, the reward of its search by reinforcement learning with its default.
    """
    _check_quality("accuracy", accuracy)
    _check_latencies(0, latency_ms=latency_ms, reference_ms=reference_ms)
    return accuracy * math.pow(reference_ms / latency_ms, exponent)


def time_to(
    curve: Mapping[int, float], seconds: Mapping[int, float], target: float, goal: Literal["maximize", "minimize"]
) -> float | None:
    """Return the seconds of training after which a metric first reaches a value, to the end of the epoch; None if it never does.

    Args:
        curve: Epoch to the metric after it.
        seconds: Epoch to the seconds of training and evaluation until its end, over all resumes.
        target: The value, in the metric's unit.
        goal: Whether reaching it means to be at least so large or at most so small.

    Raises:
        ValueError: The epoch that reaches it has no time.
    """
    reached = (epoch for epoch, value in curve.items() if (value >= target if goal == "maximize" else value <= target))
    first = min(reached, default=None)
    if first is None:
        return None
    if first not in seconds:
        raise ValueError(f"nobody recorded how long epoch {first} took")
    return seconds[first]


def _check_quality(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a number from 0 on, got {value}")


def _check_latencies(above: float, **latencies: float) -> None:
    for name, value in latencies.items():
        if not (math.isfinite(value) and value > above):
            raise ValueError(f"{name} must be a number of milliseconds above {above}, got {value}")
