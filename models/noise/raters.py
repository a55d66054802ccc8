"""How raters err: Dawid-Skene on the votes, and again once a classifier has its say.

Shapes: n items, K classes, R raters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from consensus.fusion import dawid_skene
from consensus.ratings import Ratings
from consensus.statistics.expectation import Answers
from models.noise.objectives import one_hot
from models.noise.taking_part import decided_among
from models.targets import Targets

__all__ = ["PSEUDO_ITEMS", "RaterEstimate", "estimate_raters", "refine"]

PSEUDO_ITEMS = 0.1
"""Items that every rater is taken to have answered before, for each true class and class said.

Without them what was never said in a class would stay impossible, whatever a classifier holds.
"""

_TEMPERATURES = 0.25, 20.0


@dataclass(frozen=True, eq=False)
class RaterEstimate:
    """What is held to be true of each item, and how each rater answers.

    Attributes
    ----------
    posterior : shape (n, K)
    confusion : shape (R, K, K)
        By true class and class said; rows sum to 1.
    decided : shape (n,)
        Items whose class was given by an adjudicator, whatever raters said.
    temperature
        By which a classifier's logits were divided to serve as prior; 1 without one.
    """

    posterior: NDArray[np.float64]
    confusion: NDArray[np.float64]
    decided: NDArray[np.bool_]
    temperature: float = 1.0


def estimate_raters(targets: Targets, items: NDArray[np.int64]) -> RaterEstimate:
    """Dawid-Skene on what raters said of these items; what was decided keeps its class.

    Raises
    ------
    TooFewRatersError
        No item has three raters.
    """
    n_classes = len(targets.classes)
    rank = np.arange(n_classes, dtype=np.float64) if targets.ordered else np.full(n_classes, np.nan)
    ratings = Ratings(
        items=tuple(str(item) for item in items.tolist()),
        raters=targets.raters,
        classes=targets.classes,
        codes=targets.votes[items].astype(np.int32),
        weight=np.ones(len(items)),
        cluster=np.arange(len(items)),
        cluster_names=tuple(str(item) for item in items.tolist()),
        rank=rank,
    )
    fused = dawid_skene(ratings, prior=PSEUDO_ITEMS)
    counts = fused.quality.confusion + PSEUDO_ITEMS
    decided = decided_among(targets, items)
    posterior = fused.posterior.copy()
    posterior[decided] = one_hot(targets.hard[items[decided]], n_classes)
    return RaterEstimate(posterior, counts / counts.sum(axis=2, keepdims=True), decided)


def refine(
    votes: NDArray[np.int64], predicted: NDArray[np.float64], start: RaterEstimate
) -> RaterEstimate:
    """One round of Dawid-Skene with a classifier's prediction of each item as its class frequencies.

    With the raters' confusions from the start and the predictions as prior: a posterior, from that
    the confusions again, and from them the posterior. Before each, a temperature of the predictions
    is set at which the votes are likeliest. It says how far the classifier is to be believed, and is
    estimated from the votes as the raters are, so that nothing is asked of the truth.

    It is one round and not many because what the votes are likeliest under is not always what is
    true: where a classifier is poor, or raters err together, more rounds drift.

    Parameters
    ----------
    votes : shape (n, R)
        -1 where a rater was not asked.
    predicted : shape (n, K)
        By models that have not seen the item.

    References
    ----------
    Raykar et al. (2010), JMLR 11:1297, with a classifier as prior; Guo et al. (2017),
    arXiv:1706.04599, on temperature.
    """
    n_classes = predicted.shape[1]
    answers = Answers.of(votes.astype(np.int32), np.ones(len(votes)), n_classes)
    logs = np.log(np.maximum(predicted, _LEAST))
    certain = start.posterior[start.decided]

    def prior(temperature: float) -> NDArray[np.float64]:
        softened = _softened(logs, temperature)
        softened[start.decided] = certain
        return softened

    def posterior(confusion: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        temperature = _best_temperature(answers, prior, confusion)
        expected, _ = answers.expect(prior(temperature), confusion)
        expected[start.decided] = certain
        return expected, temperature

    first, _ = posterior(start.confusion.transpose(0, 2, 1))  # by class said and true class
    counts = answers.count(first) + PSEUDO_ITEMS
    confusion = counts / counts.sum(axis=1, keepdims=True)
    refined, temperature = posterior(confusion)
    return RaterEstimate(refined, confusion.transpose(0, 2, 1), start.decided, temperature)


def _best_temperature(
    answers: Answers,
    prior: Callable[[float], NDArray[np.float64]],
    confusion: NDArray[np.float64],
) -> float:
    """The temperature at which the votes are likeliest, within limits."""
    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(
        lambda log: -answers.expect(prior(float(np.exp(log))), confusion)[1],
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def _softened(logs: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities (n, K) of log-probabilities by temperature."""
    divided = logs / temperature
    likely = np.exp(divided - divided.max(axis=1, keepdims=True))
    softened: NDArray[np.float64] = likely / likely.sum(axis=1, keepdims=True)
    return softened


_LEAST = 1e-10
