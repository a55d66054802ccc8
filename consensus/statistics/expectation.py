"""Expectation-maximisation over raters, on weighted label patterns.

Given the true class, raters are taken to answer independently, each by a confusion matrix of
their own. The E-step gives each pattern its class probabilities, the M-step each rater the
matrix (and, for Dawid-Skene, the classes their frequency) that these probabilities imply.

Shapes: U patterns, R raters, K classes. Columns of one-hot patterns run over (rater, class said).

References
----------
Dawid & Skene (1979), doi:10.2307/2346806. Warfield, Zou & Wells (2004),
doi:10.1109/TMI.2004.828354. Rohlfing, Russakoff & Maurer (2004), doi:10.1109/TMI.2004.830803.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.ratings import NOT_RATED

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Answers", "Fit", "Stopping", "maximise"]

Stopping = Literal["likelihood", "crowd-kit"]

LEAST = 1e-10
"""Lowest count or probability (as in crowd-kit): what never happened stays possible."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Distinct label patterns, one-hot, and how much each weighs.

    Parameters
    ----------
    said : sparse, shape (U, R * K)
        1 where the rater said the class.
    weight : shape (U,)
        In items: weights are scaled so that they sum to the number of items.
    n_raters, n_classes
        R, K.
    """

    said: csr_array
    weight: NDArray[np.float64]
    n_raters: int
    n_classes: int

    @classmethod
    def of(cls, codes: NDArray[np.int32], weight: NDArray[np.float64], n_classes: int) -> Answers:
        """One-hot form of patterns.

        Parameters
        ----------
        codes : shape (U, R)
        weight : shape (U,)
        """
        from scipy.sparse import csr_array

        n_patterns, n_raters = codes.shape
        given = codes != NOT_RATED
        columns = (np.arange(n_raters) * n_classes + codes)[given]
        starts = np.concatenate(([0], np.cumsum(given.sum(axis=1))))
        shape = (n_patterns, n_raters * n_classes)
        said = csr_array((np.ones(len(columns)), columns, starts), shape=shape)
        return cls(said, weight, n_raters, n_classes)

    @property
    def n_ratings(self) -> NDArray[np.float64]:
        """Ratings of each pattern, shape (U,)."""
        return np.asarray(np.diff(self.said.indptr), dtype=np.float64)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Part of each pattern's ratings that say each class, shape (U, K)."""
        each_class = np.tile(np.eye(self.n_classes), (self.n_raters, 1))
        counts: NDArray[np.float64] = self.said @ each_class
        shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
        return shares

    def expect(
        self, prevalence: NDArray[np.float64], confusion: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Class probabilities of each pattern (U, K), and the log-likelihood of them all.

        Parameters
        ----------
        prevalence : shape (K,) or (U, K)
            Class frequencies: of all patterns, or of each.
        confusion : shape (R, K, K)
            Probability by rater, class said and true class.
        """
        logs = np.log(np.maximum(confusion, LEAST**2)).reshape(-1, self.n_classes)
        joint: NDArray[np.float64] = self.said @ logs + np.log(np.maximum(prevalence, LEAST))
        highest = joint.max(axis=1, keepdims=True)
        joint = np.exp(joint - highest)
        total = joint.sum(axis=1, keepdims=True)
        likelihood = float(self.weight @ (np.log(total) + highest)[:, 0])
        return joint / total, likelihood

    def bound_by_rating(
        self,
        posterior: NDArray[np.float64],
        prevalence: NDArray[np.float64],
        confusion: NDArray[np.float64],
    ) -> float:
        """Bound on the log-likelihood, with class frequencies counted once a rating."""
        logs = np.log(np.maximum(confusion, LEAST**2)).reshape(-1, self.n_classes)
        joint = self.said @ logs
        joint += self.n_ratings[:, None] * np.log(np.maximum(prevalence, LEAST))
        likely = np.maximum(posterior, LEAST)
        return float(self.weight @ (posterior * joint - likely * np.log(likely)).sum(axis=1))

    def count(self, posterior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected items by rater, class said and true class, (R, K, K)."""
        counts: NDArray[np.float64] = self.said.T @ (posterior * self.weight[:, None])
        return counts.reshape(self.n_raters, self.n_classes, self.n_classes)


@dataclass(frozen=True, eq=False)
class Fit:
    """Where expectation-maximisation ended.

    Parameters
    ----------
    posterior : shape (U, K)
    prevalence : shape (K,)
    counts : shape (R, K, K)
        Expected items by rater, class said and true class.
    confusion : shape (R, K, K)
        The same as probabilities of what is said.
    log_posterior
        What was raised: the log-likelihood, and with a prior that of the confusions (but for a
        constant).
    """

    posterior: NDArray[np.float64]
    prevalence: NDArray[np.float64]
    counts: NDArray[np.float64]
    confusion: NDArray[np.float64]
    iterations: int
    converged: bool
    log_likelihood: float
    log_posterior: float


def maximise(
    answers: Answers,
    *,
    start: NDArray[np.float64],
    fixed_prevalence: NDArray[np.float64] | None = None,
    pseudo_items: NDArray[np.float64] | None = None,
    stopping: Stopping = "likelihood",
    tolerance: float,
    max_iterations: int,
) -> Fit:
    """Raise the likelihood (with a prior, times it) until a step gains less than ``tolerance``.

    Gains are log-likelihood per rating.

    Parameters
    ----------
    start : shape (U, K) or (R, K, K)
        Class probabilities to start from, or confusion matrices.
    fixed_prevalence : shape (K,)
        Class frequencies that are held; None re-estimates them in each step.
    pseudo_items : shape (K, K)
        Items by class said and true class that every rater is taken to have answered before.
    stopping
        What has to gain: the ``likelihood``, or the bound on it that ``crowd-kit`` computes.
        That one counts class frequencies once a rating and may fall, which stops it too; a fit
        has converged only where the likelihood itself (times the prior) gained less than
        ``tolerance``.
    """
    if not (tolerance >= 0 and np.isfinite(tolerance)):
        raise InputError(f"tolerance {tolerance:g} is no limit; give a number from 0 on")
    if max_iterations < 1:
        raise InputError(f"max_iterations {max_iterations} is below 1; allow at least one")
    weight = answers.weight
    total, n_ratings = float(weight.sum()), float(answers.n_ratings @ weight)

    def prevalence_of(posterior: NDArray[np.float64]) -> NDArray[np.float64]:
        return weight @ posterior / total if fixed_prevalence is None else fixed_prevalence

    if start.ndim == 3:
        confusion, prevalence = start, fixed_prevalence
        if prevalence is None:
            prevalence = weight @ answers.shares / total
    else:
        confusion = _probabilities(answers.count(start), pseudo_items)
        prevalence = prevalence_of(start)
    raised, bound, bound_gain = -np.inf, -np.inf, np.inf
    iteration = 0
    while True:
        iteration += 1
        posterior, likelihood = answers.expect(prevalence, confusion)
        now = likelihood + _log_prior(confusion, pseudo_items)
        counts = answers.count(posterior)
        prevalence = prevalence_of(posterior)
        confusion = _probabilities(counts, pseudo_items)
        gain, raised = (now - raised) / n_ratings, now
        if stopping == "crowd-kit":
            now = answers.bound_by_rating(posterior, prevalence, confusion)
            now += _log_prior(confusion, pseudo_items)
            bound_gain, bound = (now - bound) / n_ratings, now
        stops = (bound_gain if stopping == "crowd-kit" else gain) < tolerance
        if stops or iteration >= max_iterations:
            break
    converged = bool(gain < tolerance)
    return Fit(posterior, prevalence, counts, confusion, iteration, converged, likelihood, raised)


def _log_prior(confusion: NDArray[np.float64], pseudo_items: NDArray[np.float64] | None) -> float:
    """Log-density of confusions (R, K said, K true) under the prior, but for a constant."""
    if pseudo_items is None:
        return 0.0
    return float((pseudo_items * np.log(np.maximum(confusion, LEAST**2))).sum())


def _probabilities(
    counts: NDArray[np.float64], pseudo_items: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Counts (R, K said, K true) as probabilities of what is said."""
    used = counts.sum(axis=2, keepdims=True) > 0  # a class the rater never said stays impossible
    if pseudo_items is not None:
        counts = counts + pseudo_items
        used = np.ones_like(used)
    counts = np.where(used, np.maximum(counts, LEAST), 0.0)
    total: NDArray[np.float64] = np.maximum(counts.sum(axis=1, keepdims=True), LEAST)
    return np.asarray(counts / total, dtype=np.float64)
