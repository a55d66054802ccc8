"""Distances of two groups against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics.pairwise import rbf_kernel

from models.drift.distances import (
    category_distance,
    kernel_distance,
    kernel_of_points,
    kernel_of_samples,
    median_bandwidth,
    rank_distance,
)

GROUPS = st.tuples(st.integers(0, 10_000), st.integers(3, 12), st.integers(3, 12))


def grouped(n_reference: int, n_current: int) -> np.ndarray:
    """Who is in the second group, (1, P)."""
    return (np.arange(n_reference + n_current) >= n_reference).astype(np.float64)[None]


@given(GROUPS)
def test_ranks_are_those_of_mann_and_whitney(drawn: tuple[int, int, int]) -> None:
    """The statistic gives scipy's p-value, ties and missing values included."""
    seed, n, m = drawn
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, n + m).astype(np.float64)
    values[[0, n]] = np.nan
    z = rank_distance(values)(grouped(n, m))[0]
    reference, now = values[1:n], values[n + 1 :]
    if len(np.unique(np.concatenate([reference, now]))) == 1:
        assert np.isnan(z)
        return
    oracle = stats.mannwhitneyu(now, reference, method="asymptotic", use_continuity=False)
    assert 2 * stats.norm.sf(z) == pytest.approx(oracle.pvalue)


@given(GROUPS)
def test_categories_are_those_of_pearson(drawn: tuple[int, int, int]) -> None:
    """Patients with one slide each give scipy's chi-squared; a category that nobody has adds none."""
    seed, n, m = drawn
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, 3, n + m)
    shares = np.append(np.eye(4)[chosen], np.full((1, 4), np.nan), axis=0)
    current = np.append(grouped(n, m), [[1.0]], axis=1)
    table = np.array([np.bincount(chosen[:n], minlength=3), np.bincount(chosen[n:], minlength=3)])
    oracle = stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False)
    assert category_distance(shares)(current)[0] ** 2 == pytest.approx(oracle.statistic, abs=1e-9)


def brute_force(reference: np.ndarray, now: np.ndarray, gamma: float) -> float:
    """Lemma 6 of Gretton et al., over scikit-learn's kernel."""
    n, m = len(reference), len(now)
    within = rbf_kernel(reference, gamma=gamma), rbf_kernel(now, gamma=gamma)
    sums = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within]
    return float(sums[0] + sums[1] - 2 * rbf_kernel(reference, now, gamma=gamma).sum() / (n * m))


@given(GROUPS)
def test_embeddings_are_apart_by_mmd(drawn: tuple[int, int, int]) -> None:
    """Matrix products give the unbiased MMD of a kernel that scikit-learn computes."""
    seed, n, m = drawn
    points = np.random.default_rng(seed).normal(size=(n + m, 3))
    points[n:] += 0.7
    pairs = [np.linalg.norm(points[i] - points[j]) for i in range(n + m) for j in range(i)]
    assert median_bandwidth(points) == pytest.approx(np.median(pairs))
    has = np.ones(n + m + 1, dtype=bool)
    has[n] = False
    current = np.insert(grouped(n, m), n, 0.0, axis=1)
    ours = kernel_distance(kernel_of_points(points), has)(current)[0]
    gamma = 1 / (2 * np.median(pairs) ** 2)
    square = brute_force(points[:n], points[n:], gamma)
    assert abs(ours) * ours == pytest.approx(square, abs=1e-12)


def test_the_kernel_of_samples_is_the_mean_over_their_tiles() -> None:
    """Two patients' kernel is the mean over all pairs of their tiles, however many each has."""
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(size, 4)) for size in (1, 5, 3)]
    gamma = 1 / (2 * median_bandwidth(np.concatenate(samples)) ** 2)
    wanted = [[rbf_kernel(a, b, gamma=gamma).mean() for b in samples] for a in samples]
    assert kernel_of_samples(samples) == pytest.approx(np.array(wanted))


def test_points_that_are_all_the_same_have_no_distance() -> None:
    """A constant embedding gives 0, and no division by a bandwidth of 0."""
    kernel = kernel_of_points(np.ones((8, 2)))
    assert kernel_distance(kernel, np.ones(8, dtype=bool))(grouped(4, 4))[0] == 0


def test_one_outlier_is_no_distance() -> None:
    """A slide that is wrong by a factor of a million moves ranks no more than any other."""
    values = np.random.default_rng(1).normal(size=20)
    values[19] = values.max() + 0.1
    far = values.copy()
    far[19] = 1e6
    assert rank_distance(far)(grouped(10, 10)) == rank_distance(values)(grouped(10, 10))
