"""Expectation-maximisation from several starts, and with a prior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.errors import InputError
from consensus.fused import Fused
from consensus.fusion import FusionOptions, dawid_skene, fuse, staple
from consensus.ratings import Ratings
from consensus.statistics.estimation import Estimation
from consensus.statistics.expectation import maximise
from tests.consensus.test_fusion import as_ratings, crowd


def two_peaks() -> Ratings:
    """Ratings whose highest peak is not the one next to the vote shares."""
    for seed in range(200):
        _, said = crowd(seed, n_items=40, n_raters=4, n_classes=3, missing=0.3)
        ratings = as_ratings(said)
        if not fit(ratings, starts=8).starts[0].kept:
            return ratings
    raise AssertionError("no seed has a higher peak than the one next to the vote shares")


def fit(ratings: Ratings, **options: int) -> Fused:
    return dawid_skene(
        ratings, stopping="likelihood", tolerance=1e-8, max_iterations=3000, **options
    )


def test_the_first_start_is_the_fit_without_others() -> None:
    ratings = as_ratings(crowd(1)[1])
    alone, several = dawid_skene(ratings), dawid_skene(ratings, starts=4, seed=3)
    assert alone.starts[0].log_likelihood == several.starts[0].log_likelihood
    assert alone.log_likelihood == alone.starts[0].log_likelihood
    assert len(several.starts) == 4


def test_starts_that_meet_say_so_and_keep_the_fit_from_vote_shares() -> None:
    found = fit(as_ratings(crowd(4, n_items=2000, missing=0)[1]), starts=4)
    assert [start.kept for start in found.starts] == [True, False, False, False]
    assert found.convergence is not None
    assert found.convergence["starts_agree"] is True
    assert not [note for note in found.notes if "starts" in note]


def test_the_highest_peak_is_kept_and_the_others_are_told() -> None:
    ratings = two_peaks()
    near, best = fit(ratings), fit(ratings, starts=8)
    assert near.log_likelihood is not None
    assert best.log_likelihood is not None
    assert best.log_likelihood > near.log_likelihood
    assert sum(start.kept for start in best.starts) == 1
    assert max(start.log_likelihood for start in best.starts) == pytest.approx(
        best.log_likelihood, abs=1e-3
    )
    apart = float((near.labels != best.labels).mean())
    assert best.starts[0].labels_changed == pytest.approx(apart)
    if apart:
        assert "starts of dawid-skene end at another consensus" in best.notes[-1]


def test_a_seed_gives_the_same_starts_and_another_gives_others() -> None:
    ratings = as_ratings(crowd(2)[1])
    one, again, other = (fit(ratings, starts=3, seed=seed) for seed in (5, 5, 6))
    assert one.starts == again.starts
    assert one.starts != other.starts


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.permutations(range(4)), st.sampled_from([dawid_skene, staple]))
def test_starts_never_depend_on_the_order_of_raters_or_items(seed: int, order, method) -> None:
    _, said = crowd(seed, n_items=40, n_raters=4)
    ratings = as_ratings(said)
    turned = Ratings.from_table(
        np.tile(np.arange(len(said))[::-1], 4),
        np.repeat([f"R{column}" for column in order], len(said)),
        [None if code < 0 else f"c{code}" for column in order for code in said[::-1, column]],
        classes=ratings.classes,
    )
    one, two = method(ratings, starts=3), method(turned, starts=3)
    assert [s.log_likelihood for s in two.starts] == pytest.approx(
        [s.log_likelihood for s in one.starts]
    )
    names = dict(zip(two.items, two.labels.tolist(), strict=True))
    assert [names[item] for item in one.items] == one.labels.tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.1, 50), st.integers(1, 30))
def test_with_a_prior_each_step_raises_what_is_maximised(
    seed: int, prior: float, steps: int
) -> None:
    """Likelihood times prior never falls; the likelihood alone may."""
    problem = Estimation.of(as_ratings(crowd(seed, n_items=50, n_classes=3)[1]), "dawid-skene")
    pseudo = np.full((len(problem.used), len(problem.used)), prior)

    def after(iterations: int) -> float:
        return maximise(
            problem.answers,
            start=problem.answers.shares,
            pseudo_items=pseudo,
            tolerance=0.0,
            max_iterations=iterations,
        ).log_posterior

    assert after(steps + 1) >= after(steps) - 1e-7


def test_a_class_that_a_strong_prior_smooths_still_converges() -> None:
    found = fit(as_ratings(crowd(3, n_items=100)[1]), prior=20)
    assert found.converged
    assert found.starts[0].log_posterior < found.starts[0].log_likelihood


def test_every_method_of_estimation_tells_its_starts_and_the_majority_has_none() -> None:
    ratings = as_ratings(crowd(1)[1])
    for method in ("dawid-skene", "staple"):
        found = fuse(ratings, method, options=FusionOptions(starts=2, seed=1))
        assert found.convergence is not None
        assert {"iterations", "converged", "log_likelihood", "starts"} <= set(found.convergence)
        assert found.parameters["starts"] == 2
    assert fuse(ratings, "majority").convergence is None


@pytest.mark.parametrize(("starts", "seed", "says"), [(0, 0, "starts 0"), (2, -1, "seed -1")])
def test_starts_that_mean_nothing_are_refused(starts: int, seed: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        dawid_skene(as_ratings(crowd(1)[1]), starts=starts, seed=seed)
