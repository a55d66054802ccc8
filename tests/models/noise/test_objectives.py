"""Losses under label noise: their limits, and what they share with losses of torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from annotation.errors import InputError
from models.noise.objectives import (
    AnnotatorLayer,
    CrossEntropy,
    GeneralisedCrossEntropy,
    one_hot,
)

N, K, R = 20, 4, 3


@pytest.fixture
def logs() -> torch.Tensor:
    """Log-probabilities (N, K)."""
    draws = torch.Generator().manual_seed(0)
    return torch.log_softmax(3 * torch.randn(N, K, generator=draws), dim=1)


@pytest.fixture
def hard() -> np.ndarray:
    return np.random.default_rng(1).integers(0, K, N)


ITEMS = torch.arange(N)
EVEN = np.ones(N)


def layer(votes: np.ndarray, start: np.ndarray, **given: object) -> AnnotatorLayer:
    options = {"decided": np.zeros(N, dtype=bool), "trace_weight": 0.0, **given}
    return AnnotatorLayer(np.full((N, K), 1 / K), EVEN, votes=votes, start=start, **options)


def test_cross_entropy_is_torchs_for_certain_and_for_uncertain_labels(logs, hard):
    soft = np.random.default_rng(2).dirichlet(np.ones(K), N)
    ours = CrossEntropy(one_hot(hard, K), EVEN)(logs, ITEMS)
    assert ours.item() == pytest.approx(functional.nll_loss(logs, torch.from_numpy(hard)).item())
    ours = CrossEntropy(soft, EVEN)(logs, ITEMS)
    theirs = functional.cross_entropy(logs, torch.from_numpy(soft).float())
    assert ours.item() == pytest.approx(theirs.item())


def test_label_weights_count_by_their_ratios_alone(logs, hard):
    weight = np.random.default_rng(3).uniform(0.1, 5, N)
    labels = one_hot(hard, K)
    each = functional.nll_loss(logs, torch.from_numpy(hard), reduction="none").numpy()
    ours = CrossEntropy(labels, weight)(logs, ITEMS).item()
    assert ours == pytest.approx(np.average(each, weights=weight), rel=1e-5)
    assert CrossEntropy(labels, 1000 * weight)(logs, ITEMS).item() == pytest.approx(ours, rel=1e-5)


def test_generalised_cross_entropy_tends_to_cross_entropy_and_ends_at_half_the_absolute_error(
    logs, hard
):
    labels = one_hot(hard, K)
    near_zero = GeneralisedCrossEntropy(labels, EVEN, q=1e-5)(logs, ITEMS).item()
    assert near_zero == pytest.approx(CrossEntropy(labels, EVEN)(logs, ITEMS).item(), rel=1e-3)
    at_one = GeneralisedCrossEntropy(labels, EVEN, q=1.0)(logs, ITEMS).item()
    absolute = np.abs(labels - logs.exp().numpy()).sum(axis=1).mean()
    assert at_one == pytest.approx(absolute / 2, rel=1e-5)


@given(q=st.floats(0.05, 1.0), probability=st.floats(1e-6, 1.0))
def test_generalised_cross_entropy_is_the_published_formula(q, probability):
    objective = GeneralisedCrossEntropy(np.array([[1.0, 0.0]]), np.ones(1), q=q)
    logs = torch.tensor([[probability, max(1 - probability, 1e-12)]], dtype=torch.float64).log()
    found = objective(logs, torch.zeros(1, dtype=torch.int64)).item()
    assert found == pytest.approx((1 - probability**q) / q, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("q", [0.0, -0.5, 1.5])
def test_a_q_without_meaning_is_refused(q):
    with pytest.raises(InputError, match="give a number above 0 and up to 1"):
        GeneralisedCrossEntropy(np.eye(2), np.ones(2), q=q)


def test_an_annotator_layer_of_raters_who_never_err_is_cross_entropy_on_their_votes(logs, hard):
    sure = np.tile(np.eye(K) * (1 - 1e-9) + 1e-9 / K, (R, 1, 1))
    votes = np.tile(hard[:, None], (1, R))
    of_votes = layer(votes, sure)(logs, ITEMS).item()
    assert of_votes == pytest.approx(
        R * CrossEntropy(one_hot(hard, K), EVEN)(logs, ITEMS).item(), rel=1e-4
    )


def test_an_annotator_layer_gives_each_vote_the_probability_that_bayes_does(logs):
    rng = np.random.default_rng(4)
    start = rng.dirichlet(np.ones(K), (R, K))
    votes = rng.integers(-1, K, (N, R))
    expected = 0.0
    for item in range(N):
        for rater in range(R):
            if votes[item, rater] >= 0:
                chance = sum(
                    np.exp(logs[item, true].item()) * start[rater, true, votes[item, rater]]
                    for true in range(K)
                )
                expected -= np.log(chance)
    assert layer(votes, start)(logs, ITEMS).item() == pytest.approx(expected / N, rel=1e-5)


def test_an_annotator_layer_does_not_depend_on_the_order_of_raters_nor_on_one_who_is_absent(logs):
    rng = np.random.default_rng(5)
    start, votes = rng.dirichlet(np.ones(K), (R, K)), rng.integers(-1, K, (N, R))
    votes[:, 2] = -1
    all_three = layer(votes, start)(logs, ITEMS).item()
    turned = layer(votes[:, [2, 0, 1]], start[[2, 0, 1]])(logs, ITEMS).item()
    assert turned == pytest.approx(all_three, rel=1e-6)
    assert layer(votes[:, :2], start[:2])(logs, ITEMS).item() == pytest.approx(all_three, rel=1e-6)


def test_the_trace_costs_what_it_is_and_a_decision_adds_its_cross_entropy(logs, hard):
    start = np.random.default_rng(6).dirichlet(np.ones(K), (R, K))
    votes = np.full((N, R), -1)
    trace = np.trace(start, axis1=1, axis2=2).sum()
    found = layer(votes, start, trace_weight=0.5)(logs, ITEMS).item()
    assert found == pytest.approx(0.5 * trace, rel=1e-5)
    labels = one_hot(hard, K)
    decided = np.arange(N) < 5
    objective = AnnotatorLayer(
        labels, EVEN, votes=votes, decided=decided, start=start, trace_weight=0.0
    )
    each = functional.nll_loss(logs, torch.from_numpy(hard), reduction="none").numpy()
    assert objective(logs, ITEMS).item() == pytest.approx(each[:5].sum() / N, rel=1e-5)


def test_confusions_are_learnt_and_stay_distributions(logs, hard):
    objective = layer(np.tile(hard[:, None], (1, R)), np.full((R, K, K), 1 / K), trace_weight=0.01)
    before = objective.confusion.detach().clone()
    steps = torch.optim.SGD(objective.parameters(), lr=5.0)
    for _ in range(5):
        steps.zero_grad()
        objective(logs, ITEMS).backward()
        steps.step()
    after = objective.confusion.detach()
    assert not torch.allclose(before, after, atol=1e-2)
    torch.testing.assert_close(after.sum(dim=-1), torch.ones(R, K))
