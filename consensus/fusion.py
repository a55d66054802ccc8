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
from consensus.fused import Fused, Method
from consensus.fusing.voting import VoteRule, majority
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.estimation import Estimation
from consensus.statistics.expectation import Fit, Stopping, maximise
from consensus.statistics.starts import best_fit

__all__ = [
    "BinaryStaple",
    "FusionOptions",
    "dawid_skene",
    "fuse",
    "majority",
    "staple",
    "staple_of_class",
]

TOLERANCE = 1e-5
MAX_ITERATIONS = 100
NEARLY_SURE = 0.99999
"""Start of binary STAPLE: raters are nearly always right (Warfield 2004)."""


@dataclass(frozen=True, kw_only=True)
class FusionOptions:
    """What a method may be told beyond the protocol's rule; None: its default.

    Parameters
    ----------
    votes
        Of the majority: what weighs the votes.
    prior, stopping
        Of Dawid-Skene; see :func:`dawid_skene`.
    starts
        Of Dawid-Skene and STAPLE.
    per_class
        Of STAPLE: also each class against the rest.
    seed
        Of whatever is drawn.
    """

    votes: VoteRule | None = None
    prior: float | None = None
    starts: int | None = None
    stopping: Stopping | None = None
    per_class: bool = False
    seed: int = 0

    def check(self, method: str) -> None:
        """Refuse what does not belong to this method."""
        for name, owners in _OWNERS.items():
            value = getattr(self, name)
            if value is not None and value is not False and method not in owners:
                raise InputError(
                    f"--{name.replace('_', '-')} belongs to --method {' or '.join(owners)}; leave "
                    f"it out with {method}"
                )


_OWNERS = {
    "votes": ("majority",),
    "prior": ("dawid-skene",),
    "starts": ("dawid-skene", "staple"),
    "stopping": ("dawid-skene",),
    "per_class": ("staple",),
}


def fuse(
    ratings: Ratings,
    method: str,
    *,
    quorum: float = 0.5,
    min_raters: int = 1,
    options: FusionOptions | None = None,
) -> Fused:
    """Consensus by the method of this name.

    Parameters
    ----------
    method
        ``majority``, ``dawid-skene`` or ``staple``.
    quorum
        Of the majority: a class needs more than this share of an item's votes.
    min_raters
        Items with fewer ratings stay open.
    options
        Of one method; refused with another.
    """
    options = FusionOptions() if options is None else options
    if method not in get_args(Method):
        raise InputError(f"method {method!r} is unknown; use one of {', '.join(get_args(Method))}")
    options.check(method)
    if method == "majority":
        votes = None if options.votes is None else options.votes(ratings)
        return majority(ratings, quorum=quorum, min_raters=min_raters, votes=votes)
    starts = 1 if options.starts is None else options.starts
    if method == "staple":
        return staple(ratings, starts=starts, seed=options.seed, min_raters=min_raters)
    return dawid_skene(
        ratings,
        prior=options.prior,
        starts=starts,
        seed=options.seed,
        stopping=options.stopping or "crowd-kit",
        min_raters=min_raters,
    )


def dawid_skene(
    ratings: Ratings,
    *,
    prior: float | NDArray[np.float64] | None = None,
    starts: int = 1,
    seed: int = 0,
    stopping: Stopping = "crowd-kit",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    min_raters: int = 1,
) -> Fused:
    """Most probable class when each rater's confusions are estimated with the classes.

    Starts from vote shares, and where asked from random confusions as well. Weights are scaled to items, so that areas count as evidence in
    proportion and a ``prior`` means the same for both.

    Parameters
    ----------
    prior
        Items that every rater is taken to have answered before, per cell or as a matrix by
        class said and true class (n_classes, n_classes). None: no prior.
    starts, seed
        How many starts, the first from vote shares; the fit of highest likelihood (with a
        prior: times it) is kept, and ``Fused.starts`` tells how each ended.
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

    def climb(start: NDArray[np.float64]) -> Fit:
        return maximise(
            problem.answers,
            start=start,
            pseudo_items=pseudo,
            stopping=stopping,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )

    fit, ended = best_fit(problem.answers, climb, n_starts=starts, seed=seed, tolerance=tolerance)
    told = {
        "prior": None if prior is None else np.asarray(prior).tolist(),
        "stopping": stopping,
        "starts": starts,
        "seed": seed,
    }
    return problem.fused("dawid-skene", fit, ended, min_raters, told, tolerance)


def staple(
    ratings: Ratings,
    *,
    starts: int = 1,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    min_raters: int = 1,
) -> Fused:
    """Multi-label STAPLE: as Dawid-Skene, with class frequencies held at the raters' votes.

    Where every rater gave every answer it ends where ITK's filter does. Elsewhere that filter may
    stop lower: it starts from voted labels, and an answer that no rater's table holds then keeps
    probability 0. We start from vote shares, which leave every answer given a chance.

    Parameters
    ----------
    starts, seed
        As in :func:`dawid_skene`.

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

    def climb(start: NDArray[np.float64]) -> Fit:
        return maximise(
            problem.answers,
            start=start,
            fixed_prevalence=problem.vote_frequency,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )

    fit, ended = best_fit(problem.answers, climb, n_starts=starts, seed=seed, tolerance=tolerance)
    return problem.fused(
        "staple", fit, ended, min_raters, {"starts": starts, "seed": seed}, tolerance
    )


@dataclass(frozen=True, eq=False)
class BinaryStaple:
    """STAPLE on one class against the rest.

    Parameters
    ----------
    posterior : shape (n_items,)
        Probability of the class.
    prevalence
        Part of the raters' votes that the class got; STAPLE holds it.
    sensitivity, specificity : shape (n_raters,)
        Of each rater; NaN where it rated nothing of the kind.
    of_class, of_others : shape (n_raters,)
        The weight that they were taken over: what the rater rated and holds the class, and
        the rest of it. A larger domain raises a specificity without anybody rating better.
    """

    items: tuple[str, ...]
    raters: tuple[str, ...]
    posterior: NDArray[np.float64]
    prevalence: float
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    of_class: NDArray[np.float64]
    of_others: NDArray[np.float64]
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
    start = start[np.ix_(problem.used, problem.used)]  # one of the two may be unused
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
        prevalence=float(problem.vote_frequency[problem.used == 1].sum()),
        sensitivity=quality.sensitivity[:, 1],
        specificity=quality.specificity[:, 1],
        of_class=quality.of_class[:, 1],
        of_others=quality.of_others[:, 1],
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
