"""How far apart two groups of patients are: in a number, in categories, in embeddings.

Each is a function of who is in the second group, so that thousands of groupings cost one matrix
product. A patient counts once, however many slides there are. Squares are told as their roots, which
are less skewed: the largest of several distances is else too often that of the squares.

Shapes: P patients, B groupings, C categories, F features.

References
----------
Mann & Whitney (1947), doi:10.1214/aoms/1177730491. Pearson's chi-squared of two groups.
Gretton et al. (2012), "A kernel two-sample test", JMLR 13: the unbiased estimate of MMD squared
(their lemma 6), and the bandwidth from the median distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import rankdata

from consensus.statistics.coefficients import quotient
from models.drift.permutation import Distance

__all__ = [
    "category_distance",
    "kernel_distance",
    "kernel_of_points",
    "kernel_of_samples",
    "median_bandwidth",
    "rank_distance",
]

Floats = NDArray[np.float64]

_POINTS_OF_MEDIAN = 2_000
"""The median distance is taken over so many points at most, every n-th of them."""


def rank_distance(values: Floats) -> Distance:
    """Mann and Whitney's statistic without its sign, in standard deviations, ties corrected.

    Ranks take outliers for what they are: one slide alone is never an alarm.

    Parameters
    ----------
    values : shape (P,)
        NaN where a patient has none.
    """
    has = ~np.isnan(values)
    ranks = rankdata(values[has])
    n = len(ranks)
    apart = ranks - (n + 1) / 2
    variance = float((apart**2).sum()) / max(n * (n - 1), 1)

    def distance(current: Floats) -> Floats:
        inside = current[:, has]
        n_current = inside.sum(axis=1)
        return quotient(np.abs(inside @ apart), np.sqrt(n_current * (n - n_current) * variance))

    return distance


def category_distance(shares: Floats) -> Distance:
    """The root of chi-squared of categories by group.

    Parameters
    ----------
    shares : shape (P, C)
        Of each patient's slides, adding up to 1; a row of NaN where a patient has none.
    """
    has = ~np.isnan(shares).any(axis=1)
    counted = shares[has]
    n, total = len(counted), counted.sum(axis=0)

    def distance(current: Floats) -> Floats:
        inside = current[:, has]
        part = inside.mean(axis=1, keepdims=True) if n else np.zeros((len(current), 1))
        squares = quotient(
            (inside @ counted - part * total) ** 2, np.broadcast_to(total, (1, len(total)))
        )
        return np.sqrt(quotient(np.nan_to_num(squares).sum(axis=1), (part * (1 - part))[:, 0]))

    return distance


def kernel_distance(kernel: Floats, has: NDArray[np.bool_]) -> Distance:
    """Maximum mean discrepancy: the root of the unbiased estimate of its square, with its sign.

    Chance alone gives 0 on average, and so as often less.

    Quadratic in the patients that have a value.

    Parameters
    ----------
    kernel : shape (n, n)
        Of every two patients that have a value.
    has : shape (P,)
        Who they are.
    """
    off = kernel - np.diag(np.diag(kernel))

    def distance(current: Floats) -> Floats:
        inside = current[:, has]
        n_current = inside.sum(axis=1)
        n_reference = len(kernel) - n_current
        to_all = inside @ off
        within = (to_all * inside).sum(axis=1)
        between = to_all.sum(axis=1) - within
        outside = off.sum() - within - 2 * between
        square = (
            quotient(within, n_current * (n_current - 1))
            + quotient(outside, n_reference * (n_reference - 1))
            - 2 * quotient(between, n_current * n_reference)
        )
        return np.sign(square) * np.sqrt(np.abs(square))

    return distance


def median_bandwidth(points: Floats) -> float:
    """The median distance of two points (n, F) of a sample; 1 where they are all the same."""
    step = -(-len(points) // _POINTS_OF_MEDIAN)
    median = float(np.median(pdist(points[::step]))) if len(points) > 1 else 0.0
    return median if median > 0 else 1.0


def kernel_of_points(points: Floats) -> Floats:
    """Gaussian kernel of every two points (n, F), shape (n, n)."""
    return _gaussian(points, median_bandwidth(points))


def kernel_of_samples(samples: list[Floats]) -> Floats:
    """Mean Gaussian kernel between the points (m, F) of every two patients, shape (n, n).

    The distance that follows from it is that of the mixtures of all patients' points. What lies on
    the diagonal is within a patient, and :func:`kernel_distance` doesn't look at it.
    """
    points = np.concatenate(samples)
    starts = np.cumsum([0, *(len(sample) for sample in samples[:-1])])
    sums = np.add.reduceat(_gaussian(points, median_bandwidth(points)), starts, axis=0)
    sizes = np.array([len(sample) for sample in samples], dtype=np.float64)
    mean: Floats = np.add.reduceat(sums, starts, axis=1) / np.outer(sizes, sizes)
    return mean


def _gaussian(points: Floats, bandwidth: float) -> Floats:
    squares: Floats = cdist(points, points, "sqeuclidean")
    squares *= -1 / (2 * bandwidth**2)
    return np.exp(squares, out=squares)
