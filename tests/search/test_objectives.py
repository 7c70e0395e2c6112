"""The time to a value: read from the run's own clock, and no value where it has none or never got there."""

from __future__ import annotations

import pytest

from slws_lab.search.objectives import NoValue, values
from slws_lab.spec import Metric, SearchSpec
from slws_lab.tracking import RunRecord

SEARCH = SearchSpec.model_validate(
    {"space": {"model.drop_path": [0.0, 0.1]}, "trials": 1, "objectives": [{"name": "time_to", "value": 80.0}]}
)
TOP1 = {1: 50.0, 2: 81.0, 3: 90.0}


def record(**curves: dict[int, float]) -> RunRecord:
    named = {name.replace("_", "/"): curve for name, curve in curves.items()}
    return RunRecord("r", "finished", 1, 1, curves=named)


def test_the_time_to_a_value_is_the_mean_over_seeds_of_the_clock_at_the_first_epoch_as_good() -> None:
    slow = record(val_top1=TOP1, train_seconds={1: 2.0, 2: 4.0, 3: 6.0})
    fast = record(val_top1={1: 85.0}, train_seconds={1: 1.0})
    assert values(SEARCH, Metric(), [slow, fast], {}) == [2.5]


@pytest.mark.parametrize("clock", [{}, {1: 2.0}])
def test_a_run_without_a_clock_at_that_epoch_has_no_value(clock: dict[int, float]) -> None:
    with pytest.raises(NoValue):
        values(SEARCH, Metric(), [record(val_top1=TOP1, train_seconds=clock)], {})


def test_a_run_that_never_gets_there_has_no_value() -> None:
    with pytest.raises(NoValue, match="never reached 80"):
        values(SEARCH, Metric(), [record(val_top1={1: 50.0}, train_seconds={1: 1.0})], {})
