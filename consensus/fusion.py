"""From several raters to one answer per item: majority, Dawid-Skene and STAPLE.

All three work on distinct label patterns with their weight, so that a slide costs what its
patterns cost; none depends on the order of raters or items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.errors import RatingsError
from consensus.fused import OPEN, Fused, Method, RaterQuality, check_min_raters, open_where_tied
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.estimation import Estimation
from consensus.statistics.expectation import Stopping, maximise
from consensus.statistics.patterns import Patterns, compress
from consensus.statistics.totals import rater_counts

__all__ = ["BinaryStaple", "dawid_skene", "fuse", "majority", "staple", "staple_of_class"]

TOLERANCE = 1e-5
MAX_ITERATIONS = 100
NEARLY_SURE = 0.99999
"""Start of binary STAPLE: raters are nearly always right (Warfield 2004)."""


def fuse(ratings: Ratings, method: str, *, quorum: float = 0.5, min_raters: int = 1) -> Fused:
    """Consensus by the method of this name.

    Parameters
    ----------
    method
        ``majority``, ``dawid-skene`` or ``staple``.
    quorum
        Of the majority: a class needs more than this part of an item's raters.
    min_raters
        Items with fewer ratings stay open.
    """
    if method == "majority":
        return majority(ratings, quorum=quorum, min_raters=min_raters)
    if method == "dawid-skene":
        return dawid_skene(ratings, min_raters=min_raters)
    if method == "staple":
        return staple(ratings, min_raters=min_raters)
    raise InputError(f"method {method!r} is unknown; use one of {', '.join(get_args(Method))}")


def majority(ratings: Ratings, *, quorum: float = 0.5, min_raters: int = 1) -> Fused:
    """The class that more than ``quorum`` of an item's raters gave it; else the item is open.

    Rater quality is measured against the items that are not open.
    """
    if not 0 <= quorum < 1:
        raise InputError(f"quorum {quorum:g} is no share; give a number from 0 to below 1")
    check_min_raters(min_raters)
    patterns = compress(ratings.codes, len(ratings.classes))
    votes = rater_counts(patterns.codes, len(ratings.classes))
    n_ratings = votes.sum(axis=1)
    rated = n_ratings > 0
    shares = np.full(votes.shape, 1 / votes.shape[1])
    shares[rated] = votes[rated] / n_ratings[rated, None]
    labels = open_where_tied(shares, n_ratings.astype(np.int64), min_raters)
    labels[shares.max(axis=1) <= quorum] = OPEN
    return Fused(
        method="majority",
        items=ratings.items,
        raters=ratings.raters,
        classes=ratings.classes,
        posterior=shares[patterns.of_item],
        labels=labels[patterns.of_item],
        quality=_against_labels(patterns, patterns.totals(ratings.weight), labels, votes.shape[1]),
        parameters={"quorum": quorum, "min_raters": min_raters},
    )


def dawid_skene(
    ratings: Ratings,
    *,
    prior: float | NDArray[np.float64] | None = None,
    stopping: Stopping = "crowd-kit",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    min_raters: int = 1,
) -> Fused:
    """Most probable class when each rater's confusions are estimated with the classes.

    Starts from vote shares. Weights are scaled to items, so that areas count as evidence in
    proportion and a ``prior`` means the same for both.

    Parameters
    ----------
    prior
        Items that every rater is taken to have answered before, per cell or as a matrix by
        class said and true class (n_classes, n_classes). None: no prior.
    stopping, tolerance, max_iterations
        Ends as crowd-kit does, so that both give the same labels, or with ``likelihood`` when
        a step gains less than ``tolerance`` log-likelihood per rating. Where raters are poor the
        former may end early; ``converged`` is then false.

    Raises
    ------
    TooFewRatersError
        No item has three ratings.

    References
    ----------
    Dawid & Skene (1979), doi:10.2307/2346806. Checked against crowd-kit.
    """
    problem = Estimation.of(ratings, "dawid-skene")
    pseudo = None
    if prior is not None:
        pseudo = _pseudo_items(prior, len(ratings.classes))[np.ix_(problem.used, problem.used)]
    fit = maximise(
        problem.answers,
        start=problem.answers.shares,
        pseudo_items=pseudo,
        stopping=stopping,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    told = {
        "prior": None if prior is None else np.asarray(prior).tolist(),
        "stopping": stopping,
    }
    return problem.fused("dawid-skene", fit, min_raters, told, tolerance)


def staple(
    ratings: Ratings,
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    min_raters: int = 1,
) -> Fused:
    """Multi-label STAPLE: as Dawid-Skene, with class frequencies held at the raters' votes.

    Raises
    ------
    TooFewRatersError
        No item has three ratings.

    References
    ----------
    Warfield, Zou & Wells (2004), doi:10.1109/TMI.2004.828354. Rohlfing, Russakoff & Maurer
    (2004), doi:10.1109/TMI.2004.830803.
    """
    problem = Estimation.of(ratings, "staple")
    fit = maximise(
        problem.answers,
        start=problem.answers.shares,
        fixed_prevalence=problem.vote_frequency,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return problem.fused("staple", fit, min_raters, {}, tolerance)


@dataclass(frozen=True, eq=False)
class BinaryStaple:
    """STAPLE on one class against the rest.

    Parameters
    ----------
    posterior : shape (n_items,)
        Probability of the class.
    sensitivity, specificity : shape (n_raters,)
        Of each rater, over the weight that it rated; NaN where it rated nothing.
    """

    items: tuple[str, ...]
    raters: tuple[str, ...]
    posterior: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    iterations: int
    converged: bool


def staple_of_class(
    ratings: Ratings, name: str, *, tolerance: float = 1e-12, max_iterations: int = 1000
) -> BinaryStaple:
    """STAPLE as first published: is it this class, and how well does each rater tell?

    Raises
    ------
    RatingsError
        No such class.
    TooFewRatersError
        No item has three ratings.

    References
    ----------
    Warfield, Zou & Wells (2004), doi:10.1109/TMI.2004.828354.
    """
    if name not in ratings.classes:
        raise RatingsError(
            f"no class {name!r}; use one of {', '.join(ratings.classes)}", label=name
        )
    yes = ratings.codes == ratings.classes.index(name)
    codes = np.where(ratings.codes == NOT_RATED, NOT_RATED, yes.astype(np.int32))
    problem = Estimation.of(ratings, "staple", codes.astype(np.int32), 2)
    start = np.full((2, 2), 1 - NEARLY_SURE) + (2 * NEARLY_SURE - 1) * np.eye(2)
    fit = maximise(
        problem.answers,
        start=np.repeat(start[None], len(ratings.raters), axis=0),
        fixed_prevalence=problem.vote_frequency,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    quality = problem.quality(fit)
    return BinaryStaple(
        items=ratings.items,
        raters=ratings.raters,
        posterior=problem.of_items(fit)[:, 1],
        sensitivity=quality.sensitivity[:, 1],
        specificity=quality.specificity[:, 1],
        iterations=fit.iterations,
        converged=fit.converged,
    )


def _pseudo_items(prior: float | NDArray[np.float64], n_classes: int) -> NDArray[np.float64]:
    """A prior as a matrix of items by class said and true class."""
    cells = np.asarray(prior, dtype=np.float64)
    if cells.shape not in ((), (n_classes, n_classes)):
        raise InputError(
            f"a prior of shape {cells.shape} fits no {n_classes} classes; give one number, or a "
            "row and column for each class"
        )
    if not np.isfinite(cells).all() or (cells < 0).any():
        raise InputError("a prior counts items; give numbers that are not negative")
    return np.broadcast_to(cells, (n_classes, n_classes))


def _against_labels(
    patterns: Patterns, weight: NDArray[np.float64], labels: NDArray[np.int64], n_classes: int
) -> RaterQuality:
    """Confusions of raters against given classes of patterns."""
    n_raters = patterns.codes.shape[1]
    confusion = np.zeros((n_raters, n_classes, n_classes))
    for rater, said in enumerate(patterns.codes.T):
        use = (labels != OPEN) & (said != NOT_RATED)
        np.add.at(confusion[rater], (labels[use], said[use]), weight[use])
    return RaterQuality(confusion)
