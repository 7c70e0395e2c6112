"""The levels of repeated looks, against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from slws_lab.analysis import boundaries


def simulated_p(first: int, last: int, studies: int) -> np.ndarray:
    """Return the p of the t test after each seed from the first look on, shape (studies, looks)."""
    deltas = np.random.default_rng(5).standard_normal((studies, last))
    return np.stack([stats.ttest_1samp(deltas[:, :n], 0.0, axis=1).pvalue for n in range(first, last + 1)], axis=1)


@pytest.mark.parametrize(("first", "last"), [(3, 10), (3, 5), (5, 7)])
def test_the_error_over_all_looks_is_what_a_simulation_finds(first: int, last: int) -> None:
    p, studies = simulated_p(first, last, 100_000), 100_000
    shares = np.array([boundaries.share(n, last) for n in range(first, last + 1)])
    for level in (0.3, 0.05, 0.01):
        found, expected = (p <= level * shares).any(1).mean(), boundaries.overall_error(level, first, last)
        assert found == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / studies))


def test_a_single_look_has_the_error_of_its_level() -> None:
    for level in (0.2, 0.05, 1e-5):
        assert boundaries.overall_error(level, 6, 6) == pytest.approx(level, rel=1e-9)
    assert boundaries.last_level(0.05, 6, 6) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 11, 1e-6])
def test_the_level_of_the_last_look_spends_alpha(alpha: float) -> None:
    level = boundaries.last_level(alpha, 3, 8)
    assert alpha / 6 < level < alpha
    assert boundaries.overall_error(level, 3, 8) == pytest.approx(alpha, rel=1e-6)
    assert boundaries.exact_error(level, 3, 8) == pytest.approx(alpha, rel=1e-2)  # it is interpolated


def test_more_cells_change_nothing_that_matters(monkeypatch) -> None:
    few = boundaries.exact_error(0.02, 3, 10)
    monkeypatch.setattr(boundaries, "CELLS", 200)
    assert few == pytest.approx(boundaries.exact_error(0.02, 3, 10), rel=4e-3)


def test_looks_begin_where_a_verdict_can_be_given() -> None:
    with pytest.raises(ValueError, match="between 3 seeds and the last"):
        boundaries.overall_error(0.01, 2, 5)
