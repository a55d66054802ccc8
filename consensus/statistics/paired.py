"""Bootstrap of two arms over the clusters that both hold: the same draws for the one and the other.

What two arms share, as hard patients, moves both alike and falls out of their difference; drawn
apart, it would widen the interval. Two equal arms differ by exactly 0 in every replicate.

Shapes: B replicates, C clusters.

References
----------
Efron & Tibshirani (1993), An Introduction to the Bootstrap, section 8.3 and 10.3, on paired data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.figures import figures_of
from consensus.statistics.patterns import WeightedPatterns, compress
from consensus.statistics.resampling import Figures, sums_of_others, times_drawn
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts

__all__ = ["PairedReplicates", "paired_replicates", "rated_clusters"]

_CELLS = 1 << 23  # numbers in one temporary matrix: 64 MB


@dataclass(frozen=True)
class PairedReplicates:
    """Figures of all replicates of each arm, and without each cluster.

    Parameters
    ----------
    figures
        Of each arm; row b of every arm comes from the same draw.
    left_out
        Of each arm without one of each kind of cluster, first axis of length C.
    times : shape (C,)
        How many clusters are of each kind.
    equal
        Whether the arms hold the same, cluster by cluster.
    """

    figures: list[Figures]
    left_out: list[Figures]
    times: NDArray[np.int64]
    equal: bool


def rated_clusters(ratings: Ratings) -> set[str]:
    """Names of the clusters in which anything was rated."""
    rated = (ratings.codes != NOT_RATED).any(axis=1) & (ratings.weight > 0)
    return {ratings.cluster_names[index] for index in np.unique(ratings.cluster[rated])}


def paired_replicates(
    arms: Sequence[tuple[Ratings, NDArray[np.float64]]],
    shared: Sequence[str],
    n_replicates: int,
    seed: int,
) -> PairedReplicates:
    """Draw the clusters of all arms together.

    Parameters
    ----------
    arms
        Ratings and their disagreement weights.
    shared
        Names of the clusters that are drawn, all of them rated in every arm.
    n_replicates
        B.
    """
    held = [_ClusterPatterns.of(ratings, weights, shared) for ratings, weights in arms]
    alike, times = _alike(held, len(shared))
    sums = [arm.sums(alike) for arm in held]
    rng = np.random.default_rng(seed)
    figures: list[list[Figures]] = [[] for _ in arms]
    widest = max(len(times), *(part.shape[1] for part in sums))
    for size in _blocks(n_replicates, max(1, _CELLS // widest)):
        often = times_drawn(rng, np.full(size, len(shared)), times)
        for arm, part, found in zip(held, sums, figures, strict=True):
            found.append(figures_of(Totals(arm.scheme, often @ part)))
    return PairedReplicates(
        figures=[
            {name: np.concatenate([block[name] for block in found]) for name in found[0]}
            for found in figures
        ],
        left_out=[
            figures_of(Totals(arm.scheme, _without_each(part, times)))
            for arm, part in zip(held, sums, strict=True)
        ],
        times=times,
        equal=all(
            part.shape == sums[0].shape and np.allclose(part, sums[0], rtol=1e-12, atol=0)
            for part in sums
        ),
    )


def _without_each(sums: NDArray[np.float64], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Totals without one cluster of each kind."""
    often = times[:, None]
    return sums_of_others(sums * often) + sums * (often - 1)


def _blocks(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)


@dataclass(frozen=True)
class _ClusterPatterns:
    """The patterns that each shared cluster holds in one arm, in the order of ``shared``."""

    scheme: Scheme
    weighted: WeightedPatterns

    @classmethod
    def of(
        cls, ratings: Ratings, weights: NDArray[np.float64], shared: Sequence[str]
    ) -> _ClusterPatterns:
        place = {name: index for index, name in enumerate(shared)}
        group_of = np.array([place.get(name, -1) for name in ratings.cluster_names])
        group = group_of[ratings.cluster]
        rated = (ratings.codes != NOT_RATED).any(axis=1)
        weight = np.where(rated & (group >= 0), ratings.weight, 0.0)
        # by name, so that the order of raters has no say in which clusters a seed draws
        by_name = sorted(range(len(ratings.raters)), key=ratings.raters.__getitem__)
        patterns = compress(ratings.codes[:, by_name], len(ratings.classes))
        return cls(Scheme.of(ratings, weights), patterns.by_group(group, weight))

    def sums(self, clusters: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sums of some clusters, shape (C, width of totals)."""
        row_of = np.full(len(self.weighted.groups), -1)
        row_of[clusters] = np.arange(len(clusters))
        row = row_of[self.weighted.group]
        used = row >= 0
        counts = rater_counts(self.weighted.codes, self.scheme.n_classes)
        picked = WeightedPatterns(
            codes=self.weighted.codes,
            groups=self.weighted.groups[clusters],
            group=row[used],
            pattern=self.weighted.pattern[used],
            weight=self.weighted.weight[used],
        )
        return group_totals(self.scheme, picked, item_features(self.scheme, counts))


def _alike(
    arms: Sequence[_ClusterPatterns], n_clusters: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One of each kind of cluster, and how many are of its kind; of a million items a few are."""
    if any(len(arm.weighted.group) > n_clusters for arm in arms):  # several patterns in a cluster
        return np.arange(n_clusters), np.ones(n_clusters, dtype=np.int64)
    columns = [part for arm in arms for part in (arm.weighted.pattern, arm.weighted.weight)]
    _, first, times = np.unique(
        np.stack(columns, axis=1), axis=0, return_index=True, return_counts=True
    )
    return first.astype(np.int64), times.astype(np.int64)
