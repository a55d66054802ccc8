"""Each rater against a reference, against the consensus of the others, and against themselves.

What is compared is always two columns of one table (or the several reads of one rater), so kappa,
its classes and their intervals come about as they do among raters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.agreement import Agreement, agreement, check_resampling
from consensus.errors import RatingsError
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.bootstrap_limits import interval_name
from consensus.statistics.findings import AMONG_RATERS, GIVEN_REFERENCE, Findings
from consensus.statistics.patterns import compress, sum_by
from consensus.statistics.statistic import Statistic
from consensus.statistics.totals import rater_counts
from consensus.statistics.weights import disagreement_weights

__all__ = [
    "MIN_OTHERS",
    "Amount",
    "Comparison",
    "Method",
    "against_others",
    "against_rater",
    "against_reference",
    "rater_reference",
    "within_raters",
]

MIN_OTHERS = 2
"""Fewer other raters of an item have an opinion, but no consensus."""

NO_OTHERS = "undefined: the consensus of the others needs three raters"


@dataclass(frozen=True)
class Method:
    """How figures are computed: what :func:`consensus.agreement.agreement` is told."""

    weights: str | NDArray[np.float64]
    bootstrap: int = 0
    seed: int = 0
    interval: str = "expanded"

    def agreement(self, ratings: Ratings) -> Agreement:
        """All agreement figures of ratings."""
        return agreement(
            ratings,
            weights=self.weights,
            bootstrap=self.bootstrap,
            seed=self.seed,
            interval=self.interval,
        )

    def findings(self, ratings: Ratings, *, directed: bool) -> Findings:
        """The figures of ratings."""
        check_resampling(self.bootstrap, self.seed)
        disagreement = disagreement_weights(self.weights, ratings.classes, ratings.rank)
        return Findings.of(
            ratings,
            disagreement,
            bootstrap=self.bootstrap,
            seed=self.seed,
            interval=interval_name(self.interval),
            directed=directed,
        )


@dataclass(frozen=True)
class Amount:
    """So many items, and their weight."""

    items: int
    weight: float

    @classmethod
    def of(cls, ratings: Ratings, used: NDArray[np.bool_]) -> Amount:
        """The items of ratings that are used; those without weight are none."""
        weight = ratings.weight[used]
        items = weight.sum() if ratings.weight_unit == "count" else (weight > 0).sum()
        return cls(round(float(items)), float(weight.sum()))


@dataclass(frozen=True)
class Comparison:
    """One rater compared with something, on ``compared`` items.

    ``beside`` tells of what was not compared, and why.
    """

    rater: str
    compared: Amount
    kappa: Statistic
    f1: Statistic
    per_class: dict[str, dict[str, Statistic]]
    beside: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text, as in the JSON document."""
        return {
            "rater": self.rater,
            **vars(self.compared),
            **self.beside,
            "kappa": _plain(self.kappa),
            "f1": _plain(self.f1),
            "per_class": {
                name: {kind: _plain(one) for kind, one in figures.items()}
                for name, figures in self.per_class.items()
            },
        }


def _plain(statistic: Statistic) -> dict[str, object]:
    """A statistic without the interval for other raters: here there are two columns only."""
    document = statistic.to_dict()
    document.pop("with_raters", None)
    return document


def against_reference(
    ratings: Ratings, reference: NDArray[np.int32], method: Method
) -> list[Comparison]:
    """Every rater against a reference that is none of them.

    Parameters
    ----------
    reference : shape (n_items,)
        Class of each item, ``NOT_RATED`` where the reference has none.

    Returns
    -------
    list
        In the order of raters. ``without_reference`` tells what a rater rated and the reference
        didn't. Of each class: kappa with the reference; the conditional kappa of Light (1971),
        given that the reference says the class; sensitivity and specificity.
    """
    found = []
    for rater, codes in zip(ratings.raters, ratings.codes.T, strict=True):
        unknown = Amount.of(ratings, (codes != NOT_RATED) & (reference == NOT_RATED))
        beside = {"without_reference": vars(unknown)}
        found.append(_directed(ratings, rater, codes, reference, method, beside))
    return found


def against_rater(ratings: Ratings, name: str, method: Method) -> list[Comparison]:
    """Every other rater against one of them, as :func:`against_reference`.

    Raises
    ------
    RatingsError
        There is no such rater.
    """
    if name not in ratings.raters:
        raise RatingsError(
            f"no rater {name!r} to be the reference; name one of {', '.join(ratings.raters)}"
        )
    one = ratings.raters.index(name)
    others = [rater for rater in range(len(ratings.raters)) if rater != one]
    return against_reference(_columns(ratings, others), ratings.codes[:, one], method)


def against_others(ratings: Ratings, method: Method) -> dict[str, Any]:
    """Each rater against what more than half of the others say, the rater left out.

    Unlike kappa with a consensus to which the rater has contributed, this does not flatter. Items
    on which the others are split drop out, which makes the rest easier than all: they are told.

    Returns
    -------
    dict
        The document's part: ``rule``, ``status`` and ``raters``, in their order; of each, items
        that fewer than ``MIN_OTHERS`` others rated (``too_few_others``) and those without a
        majority (``others_split``).
    """
    n_raters, n_classes = len(ratings.raters), len(ratings.classes)
    document: dict[str, Any] = {
        "rule": "more than half of the other raters of an item, who are at least two",
        "status": "ok" if n_raters > MIN_OTHERS else NO_OTHERS,
        "raters": [],
    }
    if n_raters <= MIN_OTHERS:
        return document
    patterns = compress(ratings.codes, n_classes)
    counts = rater_counts(patterns.codes, n_classes)
    for rater, name in enumerate(ratings.raters):
        own = patterns.codes[:, rater]
        rated = np.flatnonzero(own != NOT_RATED)
        votes = counts.copy()
        votes[rated, own[rated]] -= 1
        n_others = votes.sum(axis=1)
        majority = np.where(2 * votes.max(axis=1) > n_others, votes.argmax(axis=1), NOT_RATED)
        enough = n_others >= MIN_OTHERS
        majority[~enough] = NOT_RATED
        too_few = ((own != NOT_RATED) & ~enough)[patterns.of_item]
        split = ((own != NOT_RATED) & enough & (majority == NOT_RATED))[patterns.of_item]
        beside = {
            "too_few_others": vars(Amount.of(ratings, too_few)),
            "others_split": vars(Amount.of(ratings, split)),
        }
        consensus = majority.astype(np.int32)[patterns.of_item]
        comparison = _directed(ratings, name, ratings.codes[:, rater], consensus, method, beside)
        document["raters"].append(comparison.to_dict())
    return document


def rater_reference(ratings: Ratings, name: str, method: Method) -> dict[str, Any]:
    """The document's part of :func:`against_rater`."""
    compared = against_rater(ratings, name, method)
    return {"kind": "rater", "name": name, "raters": [one.to_dict() for one in compared]}


def within_raters(replicates: Mapping[str, Ratings], method: Method) -> dict[str, Any]:
    """Each rater against their own earlier reads of the same items.

    Parameters
    ----------
    replicates
        Of each rater the ratings of their reads, a column for each.

    Returns
    -------
    dict
        The document's part: ``raters``, by name. Three reads or more are pooled over pairs of
        reads; ``read_once`` tells of items that a rater read only once.
    """
    found = []
    for rater, ratings in sorted(replicates.items()):
        n_reads = (ratings.codes != NOT_RATED).sum(axis=1)
        rated, twice = n_reads > 0, n_reads >= 2
        findings = method.findings(_merged(ratings, ratings.codes, ratings.raters), directed=False)
        kinds = {kind: AMONG_RATERS[kind] for kind in ("kappa", "dice")}
        found.append(
            Comparison(
                rater,
                Amount.of(ratings, twice),
                findings.pooled_kappa(),
                findings.f1(),
                findings.per_class(kinds, nominal=False),
                {
                    "reads": list(ratings.raters),
                    "read_once": vars(Amount.of(ratings, ~twice & rated)),
                },
            )
        )
    return {"raters": [one.to_dict() for one in found]}


def _directed(
    ratings: Ratings,
    rater: str,
    codes: NDArray[np.int32],
    reference: NDArray[np.int32],
    method: Method,
    beside: Mapping[str, object],
) -> Comparison:
    both = np.stack([codes, reference], axis=1)
    findings = method.findings(_merged(ratings, both, ("rater", "reference")), directed=True)
    return Comparison(
        rater,
        Amount.of(ratings, (both != NOT_RATED).all(axis=1)),
        findings.pooled_kappa(),
        findings.f1(),
        findings.per_class(GIVEN_REFERENCE, nominal=False),
        beside,
    )


def _columns(ratings: Ratings, columns: Sequence[int]) -> Ratings:
    names = tuple(ratings.raters[column] for column in columns)
    return replace(ratings, raters=names, codes=ratings.codes[:, columns])


def _merged(ratings: Ratings, codes: NDArray[np.int32], names: Sequence[str]) -> Ratings:
    """Columns of codes as ratings; items alike in codes, cluster and slide are one row.

    Items without two ratings are left out. Faces and items are many, what they can be is little.
    """
    used = np.flatnonzero(((codes != NOT_RATED).sum(axis=1) >= 2) & (ratings.weight > 0))
    patterns = compress(codes[used], len(ratings.classes))
    each_alone = ratings.cluster_unit == "item" and ratings.weight_unit == "count"
    cluster = np.zeros(len(used), dtype=np.int64) if each_alone else ratings.cluster[used]
    slide = None if ratings.slide is None else ratings.slide[used]
    place = cluster if slide is None else cluster * len(ratings.slide_names) + slide
    key = place * max(len(patterns.codes), 1) + patterns.of_item
    _, first, row = np.unique(key, return_index=True, return_inverse=True)
    return replace(
        ratings,
        items=tuple(map(str, range(len(first)))),
        raters=tuple(names),
        codes=codes[used][first],
        weight=sum_by(row.reshape(-1), ratings.weight[used], len(first)),
        cluster=cluster[first],
        slide=None if slide is None else slide[first],
    )
