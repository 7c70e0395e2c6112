"""Reading a search from Optuna's storage: its name there, and its trials as plain data."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from slws_lab.search.trial import State, Trial
from slws_lab.spec import Study, canonical, check_recipe
from slws_lab.spec.trials import space_of, with_trials

SETTINGS, DRIVER, FIGURES, CAUSE, OVER, RETRY = "settings", "driver", "figures", "cause", "over", "retry of"
STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def trials_of(frozen: Sequence[FrozenTrial]) -> list[Trial]:
    """Return the trials that were drawn; what was tried again names the trial that does, which may not be drawn yet."""
    again = {one.user_attrs[RETRY]: one.number for one in frozen if RETRY in one.user_attrs}
    return [trial_of(one, again.get(one.number)) for one in frozen if one.state != TrialState.WAITING]


def trial_of(frozen: FrozenTrial, again: int | None = None) -> Trial:
    """Return a trial as plain data.

    Args:
        frozen: As the storage has it.
        again: Number of the trial that it was tried again as.
    """
    attributes = frozen.user_attrs
    cause = str(attributes.get(CAUSE) or attributes.get(OVER) or "")
    state = STATES[frozen.state]
    if state == "pruned" and OVER in attributes:
        state = "infeasible"
    return Trial(
        frozen.number, dict(attributes.get(SETTINGS, {})), state,
        tuple(frozen.values or ()) if state == "complete" else (), dict(sorted(frozen.intermediate_values.items())),
        attributes.get(FIGURES, {}), all(value <= 0 for value in frozen.constraints.values()),
        frozen.datetime_start.timestamp() if frozen.datetime_start else None,
        frozen.datetime_complete.timestamp() if frozen.datetime_complete else None, cause, again,
    )  # fmt: skip


def name_of(study: Study) -> str:
    """Return the name of a search in its storage: it changes with all that decides what a trial's values mean."""
    spec, search, ordinary = study.spec, study.spec.search, with_trials(study, [])
    assert search is not None
    means = {
        "space": {name: dimension.model_dump(mode="json") for name, dimension in search.space.items()},
        "objectives": [objective.model_dump(mode="json") for objective in search.objectives],
        "constraints": dict(search.constraints), "metric": spec.metric.model_dump(mode="json"), "seeds": spec.seeds,
        "baseline": canonical(check_recipe(ordinary, space_of(ordinary).baseline)),
    }  # fmt: skip
    return f"{spec.name}-{hashlib.sha256(json.dumps(means, sort_keys=True, default=list).encode()).hexdigest()[:12]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's own lines and warnings from the terminal: what matters of them, slws says."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
