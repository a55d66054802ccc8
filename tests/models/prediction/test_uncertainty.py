"""Measures of uncertainty: what must hold of them, and what another library makes of the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.prediction.uncertainty import entropy_of, passes_interval, spread_of

LOGITS = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(2, 5)),
    elements=st.floats(-60, 60),
)


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return torch.softmax(torch.from_numpy(logits), dim=-1).numpy()


@given(LOGITS)
def test_spread_is_what_torch_makes_of_the_mixture(logits: NDArray[np.float64]) -> None:
    p = probabilities(logits)
    found = spread_of(p)
    mean = torch.from_numpy(p).mean(dim=0)
    whole = torch.distributions.Categorical(probs=mean).entropy()
    within = torch.distributions.Categorical(logits=torch.from_numpy(logits)).entropy().mean(dim=0)
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(
        found.variance, torch.from_numpy(p).var(dim=0, correction=0), atol=1e-12
    )
    np.testing.assert_allclose(found.entropy, whole, atol=1e-9)
    np.testing.assert_allclose(found.mutual_information, whole - within, atol=1e-9)


@given(LOGITS)
def test_passes_disagree_on_nothing_or_more_and_on_no_more_than_there_is(
    logits: NDArray[np.float64],
) -> None:
    p = probabilities(logits)
    found = spread_of(p)
    assert (found.mutual_information >= 0).all()
    assert (found.mutual_information <= found.entropy + 1e-12).all()
    assert (found.entropy >= entropy_of(p).mean(axis=0) - 1e-12).all()
    assert (found.entropy <= np.log(p.shape[-1]) + 1e-12).all()
    shuffled = spread_of(p[::-1])
    np.testing.assert_allclose(shuffled.mutual_information, found.mutual_information, atol=1e-12)


@given(LOGITS, st.integers(1, 5))
def test_passes_that_are_the_same_disagree_on_nothing(
    logits: NDArray[np.float64], times: int
) -> None:
    p = probabilities(logits)[:1]
    found = spread_of(np.repeat(p, times, axis=0))
    np.testing.assert_allclose(found.mutual_information, 0, atol=1e-12)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)
    np.testing.assert_allclose(found.entropy, entropy_of(p[0]), atol=1e-12)


def test_certain_passes_that_contradict_each_other_disagree_on_all_of_it() -> None:
    found = spread_of(np.eye(2)[:, None])
    assert found.entropy[0] == pytest.approx(np.log(2))
    assert found.mutual_information[0] == pytest.approx(np.log(2))


def test_the_interval_holds_all_but_a_fortieth_of_passes_on_either_side() -> None:
    passes = np.random.default_rng(0).random((400, 3))
    interval = passes_interval(passes)
    assert interval is not None
    low, high = interval
    np.testing.assert_array_equal((passes < low).sum(axis=0), 10)
    np.testing.assert_array_equal((passes > high).sum(axis=0), 10)
    assert passes_interval(passes[:1]) is None
