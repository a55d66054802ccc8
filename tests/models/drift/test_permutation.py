"""Tests by permutation: their p-values, and how often they alarm where nothing has changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from annotation.errors import InputError
from models.drift.distances import rank_distance
from models.drift.permutation import (
    check_permutations,
    distinct_groupings,
    permutation_test,
    regrouped,
)


def test_a_p_value_is_that_of_scipy() -> None:
    """With every permutation drawn many times, p approaches scipy's exact one."""
    rng = np.random.default_rng(3)
    reference, now = rng.normal(0, 1, 6), rng.normal(1.2, 1, 5)
    values = np.concatenate([reference, now])
    current = np.arange(11) >= 6
    distance = rank_distance(values)
    ours = permutation_test(distance(regrouped(current, 40_000, 0))[:, None])
    ranks = stats.rankdata(values)
    exact = stats.permutation_test(
        (ranks[:6], ranks[6:]),
        lambda x, y: abs(x.mean() - y.mean()),
        n_resamples=np.inf,
        alternative="greater",
    )
    assert ours.p_value[0] == pytest.approx(exact.pvalue, abs=0.005)


def step_down(distances: np.ndarray) -> list[float]:
    """Westfall and Young's algorithm written out, one permutation after the other."""
    n_groupings, n = distances.shape
    scaled = [
        [(row[j] - distances[:, j].mean()) / distances[:, j].std() for j in range(n)]
        for row in distances
    ]
    order = sorted(range(n), key=lambda j: -scaled[0][j])
    adjusted, before = [0.0] * n, 0.0
    for place, j in enumerate(order):
        rest = order[place:]
        exceed = sum(max(row[k] for k in rest) >= scaled[0][j] - 1e-9 for row in scaled)
        before = max(before, exceed / n_groupings)
        adjusted[j] = before
    return adjusted


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 40))
def test_adjusted_p_values_are_those_of_the_algorithm(seed: int, n: int, groupings: int) -> None:
    """Step-down max-T in two lines gives what it gives in loops, and never less than p itself."""
    distances = np.random.default_rng(seed).gamma(2.0, 1.0, (groupings, n))
    found = permutation_test(distances)
    assert found.p_adjusted == pytest.approx(step_down(distances))
    assert (found.p_adjusted >= found.p_value - 1e-12).all()
    assert found.p_value.min() >= 1 / groupings - 1e-12


def test_an_indicator_that_never_moves_is_no_alarm() -> None:
    """A distance that is the same in all groupings, or that has no value, has p = 1."""
    distances = np.column_stack([np.full(50, 0.3), np.full(50, np.nan), np.arange(50.0)[::-1]])
    found = permutation_test(distances)
    assert found.p_value[:2].tolist() == [1, 1]
    assert found.p_value[2] == pytest.approx(1 / 50)


def test_false_alarms_over_all_indicators_stay_within_alpha() -> None:
    """Of 400 checks without a change, with 12 correlated indicators each, no more than 5 % alarm.

    The bound is passed by chance in one of a thousand runs; the raw p-values alarm in far more, so
    the test can fail.
    """
    rng = np.random.default_rng(5)
    alarms = raw = 0
    for number in range(400):
        common = rng.normal(size=(30, 1))
        values = np.exp(0.5 * common + rng.normal(size=(30, 12)))
        values[rng.random((30, 12)) < 0.1] = np.nan
        groupings = regrouped(np.arange(30) >= 20, 99, number)
        distances = np.column_stack([rank_distance(one)(groupings) for one in values.T])
        found = permutation_test(distances)
        alarms += int((found.p_adjusted <= 0.05).any())
        raw += int((found.p_value <= 0.05).any())
    assert alarms <= stats.binom.ppf(0.999, 400, 0.05)
    assert raw > 100


def test_patients_stay_together_in_every_grouping() -> None:
    """Each grouping has as many current patients as there are; the first is the observed one."""
    current = np.array([True, False, False, True, False])
    rows = regrouped(current, 200, 1)
    assert rows.shape == (201, 5)
    assert (rows.sum(axis=1) == 2).all()
    assert rows[0].tolist() == current.tolist()
    assert len(np.unique(rows, axis=0)) == distinct_groupings(3, 2) == 10
    assert (regrouped(current, 200, 1) == rows).all()


@pytest.mark.parametrize(
    ("permutations", "alpha", "told"),
    [
        (98, 0.01, "98 permutations can't show p <= 0.01; give --permutations from 99 to 100,000"),
        (999, 0.0001, "999 permutations can't show p <= 0.0001; give --permutations from 9999"),
        (200_000, 0.01, "200000 permutations can't"),
        (999, 0.0, "alpha is 0; give a share between 0 and 1"),
        (999, float("nan"), "alpha is nan"),
    ],
)
def test_numbers_that_could_never_alarm_are_refused(
    permutations: int, alpha: float, told: str
) -> None:
    """Too few permutations for alpha, too many for anybody, and an alpha that is none."""
    check_permutations(99, 0.01)
    with pytest.raises(InputError, match="give") as caught:
        check_permutations(permutations, alpha)
    assert str(caught.value).startswith(told)
