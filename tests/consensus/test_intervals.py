"""Intervals of proportions and means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint

from consensus.statistics.intervals import mean_interval, proportion_interval


def test_a_mean_has_a_t_interval_that_ends_at_one() -> None:
    found = mean_interval(0.9, 0.04, 12, "m", 30)
    half = t.ppf(0.975, 11) * 0.04
    assert (found.low, found.high) == pytest.approx((0.9 - half, 0.9 + half))
    assert mean_interval(0.99, 0.04, 12, "m", 30).high == 1


def test_without_a_variance_there_is_no_interval() -> None:
    for found in (mean_interval(0.5, np.nan, 9, "m", 30), proportion_interval(0.5, np.nan, 9, 30)):
        assert found.status == "undefined: no variance estimate from so few items"
        assert (found.low, found.high, found.se) == (None, None, None)


def test_a_proportion_of_independent_items_has_wilsons_interval() -> None:
    se = float(np.sqrt(0.2 * 0.8 / 50))
    found = proportion_interval(0.2, se, 50, 50)
    expected = proportion_confint(10, 50, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected)


def test_at_zero_and_one_the_number_of_items_still_tells() -> None:
    low = proportion_interval(0.0, 0.0, 40, 40)
    assert low.low == 0
    assert low.high == pytest.approx(0.0876, abs=5e-4)
    high = proportion_interval(1.0, 0.0, 40, 40)
    assert high.high == 1
    assert high.low == pytest.approx(1 - 0.0876, abs=5e-4)
