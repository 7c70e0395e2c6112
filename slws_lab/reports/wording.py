"""How numbers, arms and metrics are put into words, the same in every table, figure and sentence."""

from __future__ import annotations

from collections.abc import Iterable

from slws_lab import spec
from slws_lab.analysis import varied
from slws_lab.spec import Arm, Design, Metric, StudySpec
from slws_lab.spec.levels import Settings

NOTHING = "–"


def decimals(metric: Metric) -> int:
    """Return how many decimals a value of the metric deserves: 2 in percent, else 4."""
    return 2 if metric.in_percent else 4


def metric_title(metric: Metric) -> str:
    """Name the metric as headers and axes do: `val/top1, EMA, best epoch (%)`."""
    return _titled(metric, ", best epoch" if metric.at == "best" else "")


def curve_title(metric: Metric) -> str:
    """Name the metric as a curve over epochs: `val/top1, EMA (%)`."""
    return _titled(metric, "")


def delta_unit(metric: Metric) -> str:
    """Return the unit of a difference: percentage points, or none."""
    return "points" if metric.in_percent else ""


def sized(size: float, metric: Metric) -> str:
    """Print a size in the unit of a difference: `0.2 points`, `1 point`."""
    unit = delta_unit(metric)
    return f"{size:g} {unit.removesuffix('s') if size == 1 else unit}".strip()


def level(study: StudySpec) -> str:
    """Return the level of the study's intervals: `95 %` for alpha 0.05."""
    return coverage(study.comparisons.alpha)


def coverage(error: float) -> str:
    """Print how often an interval holds the truth, to two digits of how often it does not: `95 %`, `98.7 %`, `99.965 %`."""
    return f"{100 - float(f'{100 * error:.2g}'):.8g} %"


def delta_title(metric: Metric, interval: str, name: str = "Δ") -> str:
    """Name a column of differences as headers do: `Δ [95 % interval] (points)`.

    Args:
        metric: What the differences are of.
        interval: What stands beside each of them: `95 % interval`.
        name: What the column is called.
    """
    unit = delta_unit(metric)
    return f"{name} [{interval}]" + (f" ({unit})" if unit else "")


def number(value: float | None, places: int) -> str:
    """Print a number with a true minus; an en dash for None."""
    return NOTHING if value is None else _minus(f"{value:.{places}f}")


def signed(value: float | None, places: int) -> str:
    """Print a difference with its sign."""
    return NOTHING if value is None else _minus(f"{value:+.{places}f}")


def contrast_name(name: str) -> str:
    """Print the name of an effect with true signs: `(schedule constant − linear) × (max_rate 0.6 − 0.3)`."""
    return name.replace(" - ", " − ").replace(" x ", " × ")


def p_value(p: float | None) -> str:
    """Print a p value with four decimals, the same in every table."""
    if p is None:
        return NOTHING
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def plural(count: int, one: str, many: str = "") -> str:
    """Print a count with its noun: `1 run`, `2 runs`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def factor_names(design: Design) -> dict[str, str]:
    """Return a short header for each varied field: the last part of its path where that is clear."""
    return spec.short_names(varied(design))


def level_text(arm: Arm, name: str) -> str:
    """Print an arm's level of a field; an en dash if the factor is off."""
    return spec.brief(arm.settings[name]) if name in arm.settings else NOTHING


def arm_names(design: Design) -> dict[str, str]:
    """Name each arm by what it changes of the baseline, itself `baseline`; by its label if that is not unique.

    A further block's reference is called by its role too (`all on`), or where another arm is, by what it changes.
    """
    first, headers = baseline(design), factor_names(design)
    changed = {arm.id: _difference(arm, first.settings, headers) for arm in design.arms}
    said = {arm.id: arm.roles[0].text if _is_called(arm, first) else changed[arm.id] for arm in design.arms}
    own = {arm.id: said[arm.id] if arm is first else changed[arm.id] for arm in design.arms}
    labels = {arm.id: arm.label for arm in design.arms}
    return next((names for names in (said, own) if len(set(names.values())) == len(names)), labels)


def seeds(design: Design, arms: Iterable[Arm] | None = None) -> str:
    """Print how many seeds arms are asked for: `5 seeds`, or `3 to 5 seeds` where some are for fewer.

    Args:
        design: The design.
        arms: Some of its arms; None for all.
    """
    counts = sorted({len(design.seeds_of(arm.id)) for arm in (design.arms if arms is None else arms)})
    return plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def row_names(design: Design) -> dict[str, str]:
    """Name each arm as a list of them does: as `arm_names`, but the baseline by its levels, which the others' names leave out."""
    first = baseline(design)
    return arm_names(design) | {first.id: first.label}


def baseline(design: Design) -> Arm:
    """Return the baseline's arm."""
    return next(arm for arm in design.arms if arm.is_baseline)


def _is_called(arm: Arm, first: Arm) -> bool:
    """Say whether an arm is called by its role: it is nothing but a reference, and no second one by the name of baseline."""
    return all(role.reference is None for role in arm.roles) and (arm is first or arm.roles[0].kind != "baseline")


def _difference(arm: Arm, usual: Settings, headers: dict[str, str]) -> str:
    own = {name: value for name, value in arm.settings.items() if name in headers and usual.get(name, ...) != value}
    return ", ".join(f"{headers[name]}={spec.brief(value)}" for name, value in own.items()) or arm.label


def _titled(metric: Metric, epoch: str) -> str:
    weights = ", EMA" if metric.weights == "ema" else ""
    return metric.name + weights + epoch + (" (%)" if delta_unit(metric) else "")


def _minus(text: str) -> str:
    return text.replace("-", "−")
