"""What a bootstrap draws: patients, slides or items, with all that they hold.

Shapes: C clusters, P pairs of raters.
"""

from __future__ import annotations

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
    """

    weighted: WeightedPatterns
    times: NDArray[np.int64]

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


def clusters_of(ratings: Ratings, patterns: Patterns) -> Clusters:
    """The clusters of ratings that hold at least one rating, in an order of their own.

    The order doesn't depend on that of the items, so that neither does a seeded bootstrap.
    """
    rated = (patterns.codes != NOT_RATED).any(axis=1)[patterns.of_item]
    weight = np.where(rated, ratings.weight, 0.0)
    if ratings.cluster_unit == "item" and ratings.weight_unit == "count":
        times = patterns.totals(weight)
        used = np.flatnonzero(times > 0)
        each = np.arange(len(used))
        ones = WeightedPatterns(patterns.codes, each, each, used, np.ones(len(used)))
        return Clusters(ones, times[used].astype(np.int64))
    weighted = patterns.by_group(ratings.cluster, weight)
    if len(weighted.group) == len(weighted.groups):  # one pattern each, as items are
        order = np.lexsort((weighted.weight, weighted.pattern))
        pattern, amount = weighted.pattern[order], weighted.weight[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(pattern) != 0) | (np.diff(amount) != 0)
        first = np.flatnonzero(new)
        each = np.arange(len(first))
        like = WeightedPatterns(weighted.codes, each, each, pattern[first], amount[first])
        return Clusters(like, np.diff(np.append(first, len(order))))
    names = [ratings.cluster_names[group] for group in weighted.groups]
    by_name = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    place = np.empty_like(by_name)
    place[by_name] = np.arange(len(by_name))
    group = place[weighted.group]
    order = np.argsort(group, kind="stable")
    sorted_by_name = WeightedPatterns(
        weighted.codes,
        weighted.groups[by_name],
        group[order],
        weighted.pattern[order],
        weighted.weight[order],
    )
    return Clusters(sorted_by_name, np.ones(len(names), dtype=np.int64))
