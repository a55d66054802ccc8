"""What an expert's minute buys: how much the consensus is expected to change by an answer.

The gain of a dispute is the entropy of its classes' probabilities, times its weight, times its
severity. An answer changes most where nobody can say what it will be, where much depends on it,
and where the labels in question lie far apart.

The probabilities are those of Dawid and Skene, whatever the method of the run: vote shares say
only that raters differ, these also who of them is usually right. By itself expectation-maximisation
is too sure of itself, and its posteriors fall to 0 or 1, for three reasons that are answered here:

- Items are few. Every rater is taken to have answered some of each class before, mostly rightly.
- A large region would tell by itself how good its raters are, and so confirm itself. Regions count
  once each here, whatever their area.
- Raters err together. A part of the probability is their votes'.

``tests/benchmarks/reviewing.py`` measures how many wrong labels each order finds, beside vote
disagreement and beside the posterior as it comes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from consensus.errors import TooFewRatersError
from consensus.fusion import dawid_skene, majority
from consensus.ratings import Ratings

__all__ = ["ORDERS", "Order", "drawn_place", "expected_gain", "label_entropy", "queue_posterior"]

Order = Literal["entropy", "disagreement", "area", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)

RIGHT_BEFORE, WRONG_BEFORE = 10.0, 1.0
"""Items of each class that every rater is taken to have answered before: rightly, and as each
other class. A flat prior would let a study of few items fall into a single class."""

PART_OF_VOTES = 0.1


def queue_posterior(ratings: Ratings) -> NDArray[np.float64]:
    """The class probabilities that the queue is ordered by, shape (n_items, n_classes).

    Vote shares alone where no three raters overlap on an item: nothing tells who of them errs.
    """
    votes = majority(ratings).posterior
    n_classes = len(ratings.classes)
    before = np.full((n_classes, n_classes), WRONG_BEFORE)
    np.fill_diagonal(before, RIGHT_BEFORE)
    if ratings.weight_unit == "um2":
        ratings = replace(ratings, weight=(ratings.weight > 0).astype(np.float64))
    try:
        estimated = dawid_skene(ratings, prior=before).posterior
    except TooFewRatersError:
        return votes
    return (1 - PART_OF_VOTES) * estimated + PART_OF_VOTES * votes


def label_entropy(posterior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy of each row, as a share of the largest that so many classes can have: 0 to 1.

    Parameters
    ----------
    posterior : shape (n_items, n_classes)
        Rows sum to 1. With a single class there is nothing to tell: 0.
    """
    n_classes = posterior.shape[1]
    if n_classes < 2:
        return np.zeros(len(posterior))
    logs = np.log(posterior, out=np.zeros_like(posterior), where=posterior > 0)
    entropy: NDArray[np.float64] = -(posterior * logs).sum(axis=1) / np.log(n_classes)
    return np.clip(entropy, 0.0, 1.0)


def expected_gain(entropy: float, weight: float, severity: float) -> float:
    """Expected change of the consensus by an answer, in the unit of the weight.

    Parameters
    ----------
    entropy
        0 to 1, see :func:`label_entropy`.
    weight
        um2, or items.
    severity
        Mean disagreement weight over pairs of raters, 0 to 1.
    """
    return entropy * weight * severity


def drawn_place(number: int, seed: int) -> str:
    """A place in a random order: the same for the same seed, whatever else stands in the queue."""
    return hashlib.sha256(f"{seed}\0{number}".encode()).hexdigest()
