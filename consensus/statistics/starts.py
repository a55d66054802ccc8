"""Expectation-maximisation from several starts: it climbs to the nearest peak, not the highest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.fused import StartFit, open_where_tied
from consensus.statistics.expectation import Answers, Fit

__all__ = ["best_fit"]

TRUSTED = 0.5
"""Least chance, at a random start, that a rater names the true class.

Without it a start may swap the names of classes, which the likelihood can't tell.
"""


def best_fit(
    answers: Answers,
    climb: Callable[[NDArray[np.float64]], Fit],
    *,
    n_starts: int,
    seed: int,
    tolerance: float,
) -> tuple[Fit, tuple[StartFit, ...]]:
    """The fit that was raised highest, and how each start ended.

    The first start is from vote shares, the others from random confusion matrices. A later fit
    is kept only where it is higher by more than ``tolerance`` per rating, the gain at which a
    climb ends: what lies nearer is the same peak.

    Parameters
    ----------
    climb
        Maximises from class probabilities (U, K) or confusion matrices (R, K, K).
    seed
        The same seed gives the same starts.
    """
    if n_starts < 1:
        raise InputError(f"starts {n_starts} is below 1; try at least one")
    if seed < 0:
        raise InputError(f"seed {seed} is negative; give a whole number from 0 on")
    fits = [climb(start) for start in _starts(answers, n_starts, seed)]
    nearly = tolerance * float(answers.n_ratings @ answers.weight)
    best = 0
    for index, fit in enumerate(fits):
        if fit.log_posterior > fits[best].log_posterior + nearly:
            best = index
    labels = [_labels(answers, fit) for fit in fits]
    total = float(answers.weight.sum())
    told = tuple(
        StartFit(
            log_likelihood=fit.log_likelihood,
            log_posterior=fit.log_posterior,
            iterations=fit.iterations,
            converged=fit.converged,
            kept=index == best,
            labels_changed=float(answers.weight @ (labels[index] != labels[best])) / total,
        )
        for index, fit in enumerate(fits)
    )
    return fits[best], told


def _starts(answers: Answers, n_starts: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Class probabilities, then confusion matrices by rater, class said and true class."""
    yield answers.shares
    rng = np.random.default_rng(seed)
    n_classes = answers.n_classes
    for _ in range(n_starts - 1):
        said = rng.dirichlet(np.ones(n_classes), size=(answers.n_raters, n_classes))
        trusted = TRUSTED * np.eye(n_classes) + (1 - TRUSTED) * said  # (R, K true, K said)
        yield np.ascontiguousarray(trusted.transpose(0, 2, 1))


def _labels(answers: Answers, fit: Fit) -> NDArray[np.int64]:
    return open_where_tied(fit.posterior, answers.n_ratings.astype(np.int64), 1)
