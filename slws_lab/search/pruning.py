"""Optuna's pruners by the study language's names."""

from __future__ import annotations

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)

from slws_lab.spec.samplers import Hyperband, Median, Patient, Pruner, SuccessiveHalving, Wilcoxon

MAKERS = {
    Median: MedianPruner,
    SuccessiveHalving: SuccessiveHalvingPruner,
    Hyperband: HyperbandPruner,
    Wilcoxon: WilcoxonPruner,
}


def make_pruner(spec: Pruner | None) -> BasePruner:
    """Return the pruner that a search names; one that never prunes for None."""
    if spec is None:
        return NopPruner()
    if isinstance(spec, Patient):
        wrapped = make_pruner(spec.wrapped_pruner) if spec.wrapped_pruner else None
        return PatientPruner(wrapped, spec.patience, spec.min_delta)
    pruner: BasePruner = MAKERS[type(spec)](**spec.model_dump(exclude={"name"}))
    return pruner
