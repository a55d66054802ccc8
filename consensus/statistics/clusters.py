"""What a bootstrap draws: patients, slides or items, with all that they hold.

Shapes: C clusters, P pairs of raters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.patterns import Patterns, WeightedPatterns

__all__ = ["Clusters", "clusters_of", "few_clusters"]

MIN_CLUSTERS = 5
FEW_CLUSTERS = 20


def few_clusters(n_clusters: int) -> str:
    """Status of an interval that rests on so many clusters."""
    if n_clusters < MIN_CLUSTERS:
        return f"undefined: {n_clusters} clusters"
    return "few clusters" if n_clusters < FEW_CLUSTERS else "ok"


@dataclass(frozen=True, eq=False)
class Clusters:
    """What is drawn. Clusters that hold the same are one row, drawn more often.

    Parameters
    ----------
    weighted
        Patterns of each of C distinct clusters.
    times : shape (C,)
        How many clusters are like it.
    rater_place : shape (R,)
        Place of each rater in the order of their names.
    """

    weighted: WeightedPatterns
    times: NDArray[np.int64]
    rater_place: NDArray[np.int64]

    @property
    def n_clusters(self) -> int:
        """Clusters in all."""
        return int(self.times.sum())

    def block(self, start: int, stop: int) -> WeightedPatterns:
        """A run of clusters by themselves."""
        whole = self.weighted
        low, high = np.searchsorted(whole.group, (start, stop))
        return WeightedPatterns(
            codes=whole.codes,
            groups=whole.groups[start:stop],
            group=whole.group[low:high] - start,
            pattern=whole.pattern[low:high],
            weight=whole.weight[low:high],
        )

    def co_rated(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Clusters in which both raters of a pair rated something together, shape (P,)."""
        whole = self.weighted
        rated = whole.codes != NOT_RATED
        counts = np.zeros(len(pairs), dtype=np.int64)
        for pair, (a, b) in enumerate(pairs):
            together = (rated[:, a] & rated[:, b])[whole.pattern]
            counts[pair] = self.times[np.unique(whole.group[together])].sum()
        return counts

    def naming(self, n_classes: int) -> NDArray[np.int64]:
        """Clusters in which somebody gave each class, shape (K,)."""
        whole = self.weighted
        counts = np.zeros(n_classes, dtype=np.int64)
        for c in range(n_classes):
            named = (whole.codes == c).any(axis=1)[whole.pattern]
            counts[c] = self.times[np.unique(whole.group[named])].sum()
        return counts


def clusters_of(ratings: Ratings, patterns: Patterns) -> Clusters:
    """The clusters of ratings that hold at least one rating, in an order of their own.

    The order doesn't depend on that of the items or raters, so that neither does a seeded
    bootstrap.
    """
    by_rater = _order_of_names(ratings.raters)
    rater_place = np.argsort(by_rater)
    rated = (patterns.codes != NOT_RATED).any(axis=1)[patterns.of_item]
    weight = np.where(rated, ratings.weight, 0.0)
    if ratings.cluster_unit == "item" and ratings.weight_unit == "count":
        times = patterns.totals(weight)
        in_order = np.lexsort(patterns.codes[:, by_rater].T)
        used = in_order[times[in_order] > 0]
        each = np.arange(len(used))
        ones = WeightedPatterns(patterns.codes, each, each, used, np.ones(len(used)))
        return Clusters(ones, times[used].astype(np.int64), rater_place)
    weighted = patterns.by_group(ratings.cluster, weight)
    if len(weighted.group) == len(weighted.groups):  # one pattern each, as items are
        codes = weighted.codes[weighted.pattern][:, by_rater]
        order = np.lexsort((weighted.weight, *codes.T))
        pattern, amount = weighted.pattern[order], weighted.weight[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(pattern) != 0) | (np.diff(amount) != 0)
        first = np.flatnonzero(new)
        each = np.arange(len(first))
        like = WeightedPatterns(weighted.codes, each, each, pattern[first], amount[first])
        return Clusters(like, np.diff(np.append(first, len(order))), rater_place)
    names = [ratings.cluster_names[group] for group in weighted.groups]
    by_name = _order_of_names(names)
    group = np.argsort(by_name)[weighted.group]
    order = np.argsort(group, kind="stable")
    sorted_by_name = WeightedPatterns(
        weighted.codes,
        weighted.groups[by_name],
        group[order],
        weighted.pattern[order],
        weighted.weight[order],
    )
    return Clusters(sorted_by_name, np.ones(len(names), dtype=np.int64), rater_place)


def _order_of_names(names: Sequence[str]) -> NDArray[np.int64]:
    return np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
