"""Exact bounds on a share of patients, how many patients they need, and the chance to pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from models.triage.bounds import chance_to_pass, lower_bound, most_misses, patients_needed

shares = st.floats(0.5, 0.999)
confidences = st.floats(0.5, 0.999)


def test_the_number_that_everybody_quotes() -> None:
    """A sensitivity of 0.98 at 95 % needs 149 positives without a miss; 0.95 at 95 % the 59."""
    assert patients_needed(0.98, 0.95) == 149
    assert patients_needed(0.95, 0.95) == 59
    assert lower_bound(149, 149, 0.95) == pytest.approx(0.05 ** (1 / 149))
    assert lower_bound(148, 148, 0.95) < 0.98


@given(shares, confidences)
def test_needed_is_the_closed_form(target: float, confidence: float) -> None:
    """The least n with target ** n <= 1 - confidence, one way or the other at equality."""
    found = patients_needed(target, confidence)
    alpha = 1 - confidence
    assert target**found <= alpha * (1 + 1e-6)
    assert found == 1 or target ** (found - 1) > alpha * (1 - 1e-6)


@given(st.integers(1, 400), st.data(), confidences)
def test_the_bound_is_clopper_and_pearsons(
    patients: int, data: st.DataObject, confidence: float
) -> None:
    """The quantile of a beta distribution, and the share at which so many are just improbable."""
    caught = data.draw(st.integers(0, patients))
    found = lower_bound(caught, patients, confidence)
    if caught == 0:
        assert found == 0
        return
    assert found == pytest.approx(beta.ppf(1 - confidence, caught, patients - caught + 1), abs=1e-9)
    assert binom.sf(caught - 1, patients, found) == pytest.approx(1 - confidence, rel=1e-6)


@given(st.integers(1, 60), shares, confidences)
def test_most_misses_is_the_last_that_reaches_the_target(
    patients: int, target: float, confidence: float
) -> None:
    allowed = most_misses(patients, target, confidence)
    reached = [
        lower_bound(patients - missed, patients, confidence) >= target
        for missed in range(patients + 1)
    ]
    assert reached == [missed <= allowed for missed in range(patients + 1)]
    assert (allowed >= 0) == (patients >= patients_needed(target, confidence))


def test_the_chance_to_pass_is_that_of_drawn_patients() -> None:
    """Whatever the distribution: a threshold at the third lowest of 60, and 80 others below it."""
    rng = np.random.default_rng(0)
    n_studies, missed, allowed = 4000, 2, 4
    chosen = np.sort(rng.exponential(size=(n_studies, 60)), axis=1)[:, missed]
    others = (rng.exponential(size=(n_studies, 80)) < chosen[:, None]).sum(axis=1)
    expected = chance_to_pass(missed, 60, 80, allowed)
    error = math.sqrt(expected * (1 - expected) / n_studies)
    assert (others <= allowed).mean() == pytest.approx(expected, abs=4 * error)
    assert 0.3 < expected < 0.9
