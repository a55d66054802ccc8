"""The population stability index by hand, and by information theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from models.drift.stability import stability_of_categories, stability_of_numbers


def test_the_index_is_what_the_hand_finds() -> None:
    """25 % in each of four bins became 40, 30, 20 and 10 %.

    0.15 ln 1.6 + 0.05 ln 1.2 - 0.05 ln 0.8 - 0.15 ln 0.4
    = 0.070501 + 0.009116 + 0.011157 + 0.137444 = 0.228218
    """
    found = stability_of_categories(np.full(4, 25.0), np.array([40.0, 30.0, 20.0, 10.0]))
    assert found is not None
    assert found.psi == pytest.approx(0.228218, abs=1e-6)
    assert (found.bins, found.by_chance) == (4, 3 * (1 / 100 + 1 / 100))


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=2, max_size=8))
def test_the_index_is_both_divergences(counts: list[tuple[int, int]]) -> None:
    """It is the sum of both Kullback-Leibler divergences, as scipy computes them."""
    reference, current = np.array(counts, dtype=np.float64).T
    found = stability_of_categories(reference, current)
    assert found is not None
    both = entropy(reference, current) + entropy(current, reference)
    assert found.psi == pytest.approx(both, abs=1e-12)


def test_bins_hold_equal_parts_of_the_reference() -> None:
    """Ten bins of a hundred; all of the current in the last of them is a major shift."""
    reference = np.arange(100.0)
    found = stability_of_numbers(reference, np.full(50, 1000.0))
    assert found is not None
    # Nine bins of 10 % against half a patient of 50, and one of 10 % against all of them.
    by_hand = 9 * (0.01 - 0.1) * np.log(0.01 / 0.1) + (1 - 0.1) * np.log(1 / 0.1)
    assert (found.bins, found.psi) == (10, pytest.approx(by_hand))
    same = stability_of_numbers(reference, reference)
    assert same is not None
    assert same.psi == 0


def test_what_chance_makes_is_told() -> None:
    """Over 300 draws of one distribution the mean index is about what is told beside it."""
    rng = np.random.default_rng(2)
    found = [stability_of_numbers(rng.normal(size=200), rng.normal(size=100)) for _ in range(300)]
    told = [one.by_chance for one in found if one is not None]
    assert np.mean([one.psi for one in found if one is not None]) == pytest.approx(
        told[0], rel=0.15
    )
    assert told[0] == pytest.approx(9 * 0.015)
    beyond = [one.psi > one.by_chance_95 for one in found if one is not None]
    assert 0.01 < np.mean(beyond) < 0.12


def test_few_or_constant_values_have_fewer_bins_or_none() -> None:
    """Nine values of a reference give none; one value throughout gives two bins, and moves are seen."""
    assert stability_of_numbers(np.arange(9.0), np.arange(9.0)) is None
    assert stability_of_numbers(np.arange(90.0), np.zeros(0)) is None
    assert stability_of_categories(np.array([5.0]), np.array([3.0])) is None
    few = stability_of_numbers(np.arange(15.0), np.arange(15.0))
    assert few is not None
    assert few.bins == 3
    for moved in (0.25, 1.0):
        constant = stability_of_numbers(np.full(50, 0.5), np.full(50, moved))
        assert constant is not None
        assert constant.psi > 4
    same = stability_of_numbers(np.full(50, 0.5), np.full(50, 0.5))
    assert same is not None
    assert same.psi == 0
