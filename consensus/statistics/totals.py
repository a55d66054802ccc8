"""Sums over items from which every agreement figure follows.

All figures are functions of sums over items, so a bootstrap over clusters needs only the
sums of each cluster: a replicate is one row of a matrix product, not a second look at the
ratings.

Shapes: B replicates (or groups), U patterns, R raters, P pairs of raters, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.patterns import WeightedPatterns, sum_by

__all__ = ["Scheme", "Totals", "group_totals", "item_features", "rater_counts"]


@dataclass(frozen=True, eq=False)
class Scheme:
    """What is compared with what, and where each sum stands in a row of totals.

    Parameters
    ----------
    disagreement : shape (K, K)
        From :func:`consensus.statistics.weights.disagreement_weights`.
    n_raters
        R.
    negative
        Index of the negative class, or None.
    placed_only
        Chance-corrected figures are about what raters placed: the negative class then
        counts as not rated in all of them, since nothing is negative for everyone.
    counts
        Weights are counts of items, not areas.
    """

    disagreement: NDArray[np.float64]
    n_raters: int
    negative: int | None
    placed_only: bool
    counts: bool

    @classmethod
    def of(cls, ratings: Ratings, disagreement: NDArray[np.float64]) -> Scheme:
        """The scheme that ratings ask for."""
        return cls(
            disagreement=disagreement,
            n_raters=len(ratings.raters),
            negative=ratings.negative,
            placed_only=ratings.negative is not None and not ratings.joint_negatives,
            counts=ratings.weight_unit == "count",
        )

    @property
    def n_classes(self) -> int:
        """K, the negative class included."""
        return len(self.disagreement)

    @cached_property
    def places(self) -> NDArray[np.bool_]:
        """Classes that chance-corrected figures are about, shape (K,)."""
        places = np.ones(self.n_classes, dtype=bool)
        if self.placed_only and self.negative is not None:
            places[self.negative] = False
        return places

    def compared(
        self, named: NDArray[np.float64], n_pairs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Ratings that chance-corrected figures are about, shape (U, K).

        Where they are about what two raters placed, what one alone placed is no part of them;
        elsewhere single ratings tell how common classes are, as in irrCAC.
        """
        return named * (n_pairs > 0)[:, None] if self.placed_only else named

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """The two raters of each pair, shape (P, 2), in the order of raters."""
        return np.stack(np.triu_indices(self.n_raters, 1), axis=1)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every sum; those above the line depend on items only."""
        k, r, p = self.n_classes, self.n_raters, len(self.pairs)
        return {
            "items_paired": (),  # weight of items with at least two ratings
            "items_rated": (),  # ... with at least one
            "disagree": (),  # mean disagreement within an item
            "disagree_ratings": (),  # the same, times the item's ratings
            "disagree_class": (k,),  # mean disagreement on "is it c?"
            "share": (k,),  # part of an item's ratings that say c
            "items_named": (),  # as the two above, items that a single rater placed included
            "named": (k,),
            "paired_ratings": (k,),  # ratings of c on items with at least two
            "both": (k,),  # pairs of ratings that both say c
            "either": (k,),  # ... ratings of c in such pairs
            "both_present": (),  # the same for "found something"
            "either_present": (),
            # -----------------------------------------------------------------
            "said": (r, k),  # what each rater said
            "observed": (p, k),  # disagreement in cells of the pair's table that name c
            "first": (p, k),  # margins of the pair's table
            "second": (p, k),
            "found_both": (p,),
            "found_either": (p,),
        }

    @cached_property
    def item_width(self) -> int:
        """Length of the part of a row that depends on items only."""
        return int(self.slices["said"].start)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each sum stands in a row of totals."""
        stops = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()]).tolist()
        starts = [0, *stops[:-1]]
        return {name: slice(a, b) for name, a, b in zip(self.shapes, starts, stops, strict=True)}

    @property
    def width(self) -> int:
        """Length of a row of totals."""
        return int(self.slices["found_either"].stop)


@dataclass(frozen=True)
class Totals:
    """Rows of sums, by name.

    Parameters
    ----------
    scheme
        Says where which sum stands.
    rows : shape (B, width)
    """

    scheme: Scheme
    rows: NDArray[np.float64]

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        part = self.rows[:, self.scheme.slices[name]]
        return part.reshape(len(self.rows), *self.scheme.shapes[name])


def rater_counts(codes: NDArray[np.int32], n_classes: int) -> NDArray[np.float64]:
    """How many raters gave each pattern each class.

    Parameters
    ----------
    codes : shape (U, R)
    n_classes
        K.

    Returns
    -------
    shape (U, K)
    """
    counts = np.zeros((n_classes, len(codes))).T
    for column in codes.T:
        rows = np.flatnonzero(column != NOT_RATED)
        counts[rows, column[rows]] += 1
    return counts


def item_features(scheme: Scheme, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an item with these ratings adds to the sums, per unit of its weight.

    Pairs are ordered pairs of different raters.

    Parameters
    ----------
    counts : shape (U, K)
        From :func:`rater_counts`.

    Returns
    -------
    shape (U, item_width)
    """
    features = np.zeros((scheme.item_width, len(counts))).T  # written column by column
    at = scheme.slices
    named = counts * scheme.places
    n_named = named.sum(axis=1)
    n_pairs = n_named * (n_named - 1)
    placed = scheme.compared(named, n_pairs)
    n_ratings = placed.sum(axis=1)
    paired, rated = n_pairs > 0, n_ratings > 0
    per_pair = np.divide(1.0, n_pairs, out=np.zeros(len(counts)), where=paired)
    disagree = ((placed @ scheme.disagreement) * placed).sum(axis=1) * per_pair
    features[:, at["items_paired"].start] = paired
    features[:, at["items_rated"].start] = rated
    features[:, at["disagree"].start] = disagree
    features[:, at["disagree_ratings"].start] = disagree * n_ratings
    features[:, at["disagree_class"]] = (
        2 * placed * (n_ratings[:, None] - placed) * per_pair[:, None]
    )
    features[:, at["share"]] = placed / np.where(rated, n_ratings, 1)[:, None]
    features[:, at["items_named"].start] = n_named > 0
    features[:, at["named"]] = named / np.where(n_named > 0, n_named, 1)[:, None]
    features[:, at["paired_ratings"]] = placed * paired[:, None]
    everything = counts.sum(axis=1)
    features[:, at["both"]] = counts * (counts - 1)
    features[:, at["either"]] = counts * (everything[:, None] - 1)
    if scheme.negative is not None:
        present = everything - counts[:, scheme.negative]
        features[:, at["both_present"].start] = present * (present - 1)
        features[:, at["either_present"].start] = present * (everything - 1)
    return features


def group_totals(
    scheme: Scheme, weighted: WeightedPatterns, features: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sums of every group.

    Parameters
    ----------
    weighted
        Patterns of each of B groups.
    features : shape (U, item_width)
        From :func:`item_features`.

    Returns
    -------
    shape (B, width)
    """
    n_groups = len(weighted.groups)
    rows = np.zeros((n_groups, scheme.width))
    for column in range(scheme.item_width):
        amount = weighted.weight * features[weighted.pattern, column]
        rows[:, column] = sum_by(weighted.group, amount, n_groups)
    for name, index, part in _rater_sums(scheme, weighted):
        start = scheme.slices[name].start
        width = part.shape[1]
        rows[:, start + index * width : start + (index + 1) * width] = part
    return rows


def _rater_sums(
    scheme: Scheme, weighted: WeightedPatterns
) -> Iterator[tuple[str, int, NDArray[np.float64]]]:
    """Sums of each rater and of each pair of raters."""
    k, n_groups = scheme.n_classes, len(weighted.groups)
    n_patterns = len(weighted.codes)
    # -1 (not rated) picks the false at the end
    placed = np.append(scheme.places, False)[weighted.codes]
    rated = weighted.codes != NOT_RATED

    def by_class(
        use: NDArray[np.bool_], codes: NDArray[np.int32], amount: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        entries = np.flatnonzero(use[weighted.pattern])
        pattern = weighted.pattern[entries]
        key = weighted.group[entries] * k + codes[pattern]
        sums = sum_by(key, weighted.weight[entries] * amount[pattern], n_groups * k)
        return sums.reshape(n_groups, k)

    def overall(use: NDArray[np.bool_], amount: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = sum_by(weighted.group, weighted.weight * (use * amount)[weighted.pattern], n_groups)
        return sums.reshape(n_groups, 1)

    once = np.ones(n_patterns)
    compared = placed.sum(axis=1) >= (2 if scheme.placed_only else 1)
    for rater in range(scheme.n_raters):
        codes = weighted.codes[:, rater]
        yield "said", rater, by_class(placed[:, rater] & compared, codes, once)
    for pair, (a, b) in enumerate(scheme.pairs):
        first, second = weighted.codes[:, a], weighted.codes[:, b]
        use = placed[:, a] & placed[:, b]
        apart = scheme.disagreement[first, second]
        yield "first", pair, by_class(use, first, once)
        yield "second", pair, by_class(use, second, once)
        yield "observed", pair, by_class(use, first, apart) + by_class(use, second, apart)
        if scheme.negative is not None:
            use = rated[:, a] & rated[:, b]
            found_a = (first != scheme.negative).astype(np.float64)
            found_b = (second != scheme.negative).astype(np.float64)
            yield "found_both", pair, overall(use, found_a * found_b)
            yield "found_either", pair, overall(use, found_a + found_b)
