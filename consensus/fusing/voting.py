"""The majority vote, and what a rater's vote weighs: the same for all, by role, or by agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.errors import NoVotesError
from consensus.fused import OPEN, TIE, Fused, RaterQuality, check_min_raters, open_where_tied
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.patterns import Patterns, compress
from consensus.statistics.totals import rater_counts

__all__ = [
    "VoteKind",
    "VoteRule",
    "Votes",
    "agreement_votes",
    "equal_votes",
    "majority",
    "role_votes",
]

VoteKind = Literal["equal", "role", "agreement"]

UNTOLD = 1e-12
"""Below this an agreement, or the part of the weight expected to disagree, is rounding of 0."""


@dataclass(frozen=True)
class Votes:
    """What each rater's vote weighs, by name, and why.

    ``notes`` are what a reader of the consensus has to know about it.
    """

    kind: VoteKind
    weight: Mapping[str, float]
    notes: tuple[str, ...] = ()


VoteRule = Callable[[Ratings], Votes]
"""Weighs the votes of these ratings, whichever raters they hold."""


def equal_votes(ratings: Ratings) -> Votes:
    """One rater, one vote."""
    return Votes("equal", dict.fromkeys(ratings.raters, 1.0))


def role_votes(
    ratings: Ratings, role_of: Mapping[str, str], weights: Mapping[str, float] | None, protocol: str
) -> Votes:
    """Votes by what entitles a rater.

    Parameters
    ----------
    role_of
        The role of each rater.
    weights
        What the protocol says a role's vote weighs; None where it says nothing.
    protocol
        Its name, for messages.

    Raises
    ------
    NoVotesError
        The protocol states no weights, or none for a rater's role, or all of them are 0.
    """
    if weights is None:
        raise NoVotesError(
            f"protocol {protocol} states no [consensus.role_weights]; add a version that does, or "
            "take --votes equal or agreement",
            protocol=protocol,
        )
    for rater in sorted(ratings.raters):
        if role_of[rater] not in weights:
            raise NoVotesError(
                f"protocol {protocol} states no weight for the role {role_of[rater]!r} of rater "
                f"{rater!r}; list it in [consensus.role_weights] of a new version",
                rater=rater,
                role=role_of[rater],
            )
    votes = {rater: float(weights[role_of[rater]]) for rater in ratings.raters}
    if not any(votes.values()):
        raise NoVotesError(
            f"protocol {protocol} gives the role of no rater a vote; give one a weight above 0 in "
            "[consensus.role_weights] of a new version",
            protocol=protocol,
        )
    return Votes("role", votes)


def agreement_votes(ratings: Ratings) -> Votes:
    """Votes by how far each rater agrees with the others beyond chance, at least 0.

    It is ``1 - observed / expected`` disagreement of the rater with a rater drawn from the others
    of the same item, summed over the weight that the rater shares with others: Cohen's kappa, with
    the others in the place of the second rater. Whether two classes are near plays no part, as a
    vote is for one class. Where nothing is negative for everyone, the expected disagreement is its
    limit for ever more joint negatives (kappa then tends to a Dice coefficient), because those
    who agree that nothing is there were never asked.

    Where a rater shares nothing with others, or all of them said a single class, the agreement is
    undefined; no weight above 0 would change a label there, so the vote counts 1, and a note says so.

    Raises
    ------
    NoVotesError
        Nobody agrees with the others beyond chance.

    References
    ----------
    Cohen (1960), doi:10.1177/001316446002000104. Feinstein & Cicchetti (1990),
    doi:10.1016/0895-4356(90)90158-L, on kappa without joint negatives.
    """
    columns = _by_name(ratings)
    patterns = compress(ratings.codes[:, columns], len(ratings.classes))
    weight = patterns.totals(ratings.weight)
    counts = rater_counts(patterns.codes, len(ratings.classes))
    votes: dict[str, float] = {}
    undefined: list[str] = []
    for column, said in zip(columns, patterns.codes.T, strict=True):
        kappa = _with_others(said, counts, weight, ratings)
        if kappa is None:
            undefined.append(ratings.raters[column])
            kappa = 1.0
        votes[ratings.raters[column]] = kappa if kappa > UNTOLD else 0.0
    if not any(votes.values()):
        raise NoVotesError(
            "no rater agrees with the others beyond chance; take --votes equal, and adjudicate "
            "what it leaves open"
        )
    notes = tuple(
        f"agreement of {rater} with the others is undefined (nothing shared, or a single class); "
        "the vote counts 1"
        for rater in undefined
    )
    return Votes("agreement", {rater: votes[rater] for rater in ratings.raters}, notes)


def _with_others(
    said: NDArray[np.int32],
    counts: NDArray[np.float64],
    weight: NDArray[np.float64],
    ratings: Ratings,
) -> float | None:
    """Chance-corrected agreement of one rater with the others; None where undefined.

    Parameters
    ----------
    said : shape (U,)
        By this rater, of each pattern.
    counts : shape (U, K)
        Raters who said each class, this one included.
    weight : shape (U,)
    """
    shared = np.flatnonzero((said != NOT_RATED) & (counts.sum(axis=1) > 1) & (weight > 0))
    said, weight = said[shared], weight[shared]
    others = counts[shared]
    others[np.arange(len(shared)), said] -= 1
    others /= others.sum(axis=1, keepdims=True)
    observed = float(weight @ (1 - others[np.arange(len(shared)), said]))
    mine = np.bincount(said, weights=weight, minlength=counts.shape[1])
    theirs = weight @ others
    total = float(weight.sum())
    if ratings.negative is not None and not ratings.joint_negatives:
        expected = 2 * total - float(mine[ratings.negative] + theirs[ratings.negative])
    else:
        expected = total - float(mine @ theirs) / total if total else 0.0
    return None if expected <= UNTOLD * total else 1 - observed / expected


def majority(
    ratings: Ratings, *, quorum: float = 0.5, min_raters: int = 1, votes: Votes | None = None
) -> Fused:
    """The class that more than ``quorum`` of an item's votes are for; else the item is open.

    Rater quality is measured against the items that are not open.

    Parameters
    ----------
    quorum
        A class needs more than this share of what the votes of an item's raters weigh.
    min_raters
        Items with fewer ratings stay open, whatever they weigh.
    votes
        What each rater's vote weighs; None: the same for all. An item whose raters all weigh
        nothing stays open.
    """
    if not 0 <= quorum < 1:
        raise InputError(f"quorum {quorum:g} is no share; give a number from 0 to below 1")
    check_min_raters(min_raters)
    votes = equal_votes(ratings) if votes is None else votes
    n_classes = len(ratings.classes)
    columns = _by_name(ratings)
    patterns = compress(ratings.codes[:, columns], n_classes)
    each = np.array([votes.weight[ratings.raters[column]] for column in columns])
    counts = _weighed(patterns.codes, n_classes, each)
    cast = counts.sum(axis=1)
    voted = cast > 0
    shares = np.full(counts.shape, 1 / n_classes)
    shares[voted] = counts[voted] / cast[voted, None]
    n_ratings = (patterns.codes != NOT_RATED).sum(axis=1)
    labels = open_where_tied(shares, n_ratings, min_raters)
    most = shares.max(axis=1)
    labels[~voted | ((most <= quorum + TIE) & (most < 1))] = OPEN
    confusion = np.empty((len(columns), n_classes, n_classes))
    confusion[columns] = _against_labels(
        patterns, patterns.totals(ratings.weight), labels, n_classes
    )
    told = {} if votes.kind == "equal" else {"vote_weights": dict(votes.weight)}
    return Fused(
        method="majority",
        items=ratings.items,
        raters=ratings.raters,
        classes=ratings.classes,
        posterior=shares[patterns.of_item],
        labels=labels[patterns.of_item],
        quality=RaterQuality(confusion),
        parameters={"quorum": quorum, "min_raters": min_raters, "votes": votes.kind, **told},
        notes=votes.notes,
    )


def _weighed(
    codes: NDArray[np.int32], n_classes: int, each: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weight of the votes for each class, (U, K), by what each rater's vote weighs (R,)."""
    weighed = np.zeros((len(codes), n_classes))
    for said, weight in zip(codes.T, each, strict=True):
        rows = np.flatnonzero(said != NOT_RATED)
        weighed[rows, said[rows]] += weight
    return weighed


def _by_name(ratings: Ratings) -> NDArray[np.int64]:
    """Columns in the order of raters' names: sums of unequal votes then never depend on theirs."""
    names = ratings.raters
    return np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)


def _against_labels(
    patterns: Patterns, weight: NDArray[np.float64], labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Confusions of raters against given classes of patterns, shape (R, K, K)."""
    confusion = np.zeros((patterns.codes.shape[1], n_classes, n_classes))
    for rater, said in enumerate(patterns.codes.T):
        use = (labels != OPEN) & (said != NOT_RATED)
        np.add.at(confusion[rater], (labels[use], said[use]), weight[use])
    return confusion
