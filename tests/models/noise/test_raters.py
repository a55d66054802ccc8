"""Raters estimated from votes, and again with a classifier's predictions as the prior."""

from __future__ import annotations

import numpy as np
import pytest
from crowdkit.aggregation import DawidSkene
from hypothesis import given
from hypothesis import strategies as st
from pandas import DataFrame

from consensus.errors import TooFewRatersError
from models.noise.raters import RaterEstimate, estimate_raters, refine
from models.targets import OPEN
from tests.benchmarks.reviewing import simulate
from tests.models.noise.studies import N_CLASSES, N_RATERS, study, targets_of


def bayes(votes, prior, confusion):
    """The posterior item by item and class by class, as it is written on paper."""
    posterior = np.zeros(prior.shape)
    for item, said in enumerate(votes):
        for true in range(prior.shape[1]):
            joint = prior[item, true]
            for rater, vote in enumerate(said):
                if vote != OPEN:
                    joint *= confusion[rater, true, vote]
            posterior[item, true] = joint
    return posterior / posterior.sum(axis=1, keepdims=True)


def softened(predicted, temperature):
    powered = predicted ** (1 / temperature)
    return powered / powered.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_where_it_ends_the_posterior_is_that_of_bayes_with_the_classifier_as_prior(seed):
    targets, _ = study(200, seed)
    predicted = np.random.default_rng(seed).dirichlet(np.ones(N_CLASSES), 200)
    start = estimate_raters(targets, np.arange(200))
    found = refine(targets.votes, predicted, start)
    prior = softened(predicted, found.temperature)
    expected = bayes(targets.votes, prior, found.confusion)
    np.testing.assert_allclose(found.posterior, expected, atol=1e-9)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1)
    np.testing.assert_allclose(found.confusion.sum(axis=2), 1)


def test_the_start_has_the_labels_of_another_implementation_of_dawid_and_skene():
    targets, _ = study(300, 1)
    item, rater = np.nonzero(targets.votes != OPEN)
    table = DataFrame({"task": item, "worker": rater, "label": targets.votes[item, rater]})
    theirs = DawidSkene(n_iter=100).fit_predict(table).sort_index().to_numpy()
    ours = estimate_raters(targets, np.arange(300)).posterior.argmax(axis=1)
    assert (ours == theirs).mean() > 0.99


def test_a_classifier_that_knows_corrects_raters_who_err_together():
    before, after = [], []
    for seed in range(4):
        simulated = simulate("biased", seed, 400)
        votes, truth = simulated.ratings.codes.astype(np.int64), simulated.truth
        targets = targets_of(votes, classes=tuple("ABCD"), posterior=np.zeros((400, 4)), hard=truth)
        start = estimate_raters(targets, np.arange(400))
        found = refine(votes, 0.05 + 0.8 * np.eye(4)[truth], start)
        before.append((start.posterior.argmax(axis=1) == truth).mean())
        after.append((found.posterior.argmax(axis=1) == truth).mean())
    assert np.mean(after) > np.mean(before) + 0.05


def test_a_classifier_that_knows_nothing_is_not_believed():
    targets, truth = study(400, 2)
    start = estimate_raters(targets, np.arange(400))
    certain_nonsense = np.random.default_rng(3).dirichlet(np.full(N_CLASSES, 0.02), 400)
    found = refine(targets.votes, certain_nonsense, start)
    assert found.temperature > 10
    kept = (found.posterior.argmax(axis=1) == start.posterior.argmax(axis=1)).mean()
    assert kept > 0.95
    assert (found.posterior.argmax(axis=1) == truth).mean() > 0.85


@given(seed=st.integers(0, 1000), order=st.permutations(range(N_RATERS)))
def test_no_estimate_depends_on_the_order_of_raters(seed, order):
    targets, _ = study(40, seed)
    predicted = np.random.default_rng(seed).dirichlet(np.ones(N_CLASSES), 40)
    turned = targets_of(
        targets.votes[:, order], raters=tuple(targets.raters[rater] for rater in order)
    )
    items = np.arange(40)
    one = refine(targets.votes, predicted, estimate_raters(targets, items))
    other = refine(turned.votes, predicted, estimate_raters(turned, items))
    np.testing.assert_allclose(other.posterior, one.posterior, atol=1e-6)
    np.testing.assert_allclose(other.confusion, one.confusion[order], atol=1e-6)


def test_a_rater_who_rated_nothing_changes_nothing_and_is_known_for_nothing():
    targets, _ = study(100, 4, absent=3)
    items = np.arange(100)
    predicted = np.random.default_rng(4).dirichlet(np.ones(N_CLASSES), 100)
    with_one_absent = refine(targets.votes, predicted, estimate_raters(targets, items))
    three = targets_of(targets.votes[:, :3])
    without = refine(three.votes, predicted, estimate_raters(three, items))
    np.testing.assert_allclose(with_one_absent.posterior, without.posterior, atol=1e-6)
    np.testing.assert_allclose(with_one_absent.confusion[3], 1 / N_CLASSES)


def test_what_was_decided_stays_whatever_raters_and_classifier_say():
    targets, truth = study(60, 5)
    decided = np.zeros(60, dtype=bool)
    decided[:6] = True
    hard = targets.hard.copy()
    hard[:6] = (truth[:6] + 1) % N_CLASSES
    ruled = targets_of(targets.votes, decided=decided, hard=hard)
    start = estimate_raters(ruled, np.arange(60))
    found = refine(ruled.votes, np.eye(N_CLASSES)[truth], start)
    for estimate in (start, found):
        np.testing.assert_array_equal(estimate.posterior[:6], np.eye(N_CLASSES)[hard[:6]])


def test_two_raters_are_too_few():
    targets, _ = study(30)
    two = targets_of(targets.votes[:, :2])
    with pytest.raises(TooFewRatersError, match="needs three raters"):
        estimate_raters(two, np.arange(30))


def test_items_nobody_rated_get_the_classifiers_own_prediction():
    targets, _ = study(80, 6)
    votes = targets.votes.copy()
    votes[:5] = OPEN
    predicted = np.random.default_rng(6).dirichlet(np.ones(N_CLASSES), 80)
    start = estimate_raters(targets_of(votes), np.arange(80))
    found = refine(votes, predicted, start)
    assert isinstance(found, RaterEstimate)
    np.testing.assert_allclose(
        found.posterior[:5], softened(predicted, found.temperature)[:5], atol=1e-6
    )
