"""Bootstrap over clusters, on the sums of each cluster.

A replicate draws as many clusters as there are, with replacement. Its sums are those of the
clusters times how often each was drawn, so that replicates cost one matrix product and the
formulas of the coefficients, whatever the number of items.

A second bootstrap draws raters as well. A rater drawn twice weighs twice, but is never
paired with its copy: agreement with oneself is no agreement.

Shapes: B replicates, C clusters, U patterns, R raters.

References
----------
Field & Welsh (2007), doi:10.1111/j.1467-9868.2007.00593.x, on resampling whole clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.patterns import Patterns, WeightedPatterns
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts

__all__ = [
    "Clusters",
    "Figures",
    "Replicates",
    "bootstrap",
    "clusters_of",
    "few_clusters",
    "times_drawn",
]

MIN_CLUSTERS = 5
FEW_CLUSTERS = 20
MIN_RATERS = 3
FEW_RATERS = 10

_CELLS = 1 << 23  # numbers in one temporary matrix: 64 MB
_DENSE = 50  # a table with one cell in so many filled is multiplied as a full matrix

Figures = dict[str, NDArray[np.float64]]
"""Figures by name; the first axis runs over replicates or groups."""


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


@dataclass(frozen=True)
class Replicates:
    """Figures of all replicates.

    Parameters
    ----------
    figures
        Clusters resampled.
    with_raters
        Clusters and raters resampled; None where there are too few raters.
    """

    figures: Figures
    with_raters: Figures | None


def bootstrap(
    scheme: Scheme,
    clusters: Clusters,
    evaluate: Callable[[Totals, NDArray[np.float64] | None], Figures],
    n_replicates: int,
    seed: int,
) -> Replicates:
    """Figures of replicates over clusters, and over clusters and raters.

    Parameters
    ----------
    evaluate
        Figures of totals; its second argument says how often each rater was drawn (B, R).
    n_replicates
        B.
    seed
        The same seed gives the same replicates.
    """
    rng = np.random.default_rng(seed)
    features = item_features(scheme, *rater_counts(clusters.weighted.codes, scheme.n_classes))
    times = None
    if scheme.n_raters >= MIN_RATERS:
        times = _draw_raters(rng, n_replicates, scheme.n_raters)
    figures: list[Figures] = []
    with_raters: list[Figures] = []
    n_patterns = len(clusters.weighted.codes)
    widest = max(scheme.width, n_patterns if times is not None else 1, 1)
    step = max(1, min(n_replicates, _CELLS // widest))
    for start in range(0, n_replicates, step):
        stop = min(start + step, n_replicates)
        rows, amounts = _replicate_sums(
            rng, scheme, clusters, features, stop - start, with_patterns=times is not None
        )
        figures.append(evaluate(Totals(scheme, rows), None))
        if times is not None and amounts is not None:
            drawn = times[start:stop]
            _resample_raters(scheme, clusters.weighted.codes, drawn, amounts, rows)
            with_raters.append(evaluate(Totals(scheme, rows), drawn))
    return Replicates(_stack(figures), _stack(with_raters) if with_raters else None)


def _stack(parts: list[Figures]) -> Figures:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _replicate_sums(
    rng: np.random.Generator,
    scheme: Scheme,
    clusters: Clusters,
    features: NDArray[np.float64],
    n_replicates: int,
    *,
    with_patterns: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Totals (B, width) of drawn clusters, and their weight of each pattern (B, U)."""
    from scipy.sparse import csr_array

    n_patterns = len(clusters.weighted.codes)
    rows = np.zeros((n_replicates, scheme.width))
    amounts = np.zeros((n_replicates, n_patterns)) if with_patterns else None
    for block, times, drawn in _draw_clusters(rng, scheme, clusters, n_replicates):
        sums = group_totals(scheme, block, features)
        cells = (block.weight, (block.group, block.pattern))
        held = csr_array(cells, shape=(len(times), n_patterns))
        if len(times) * n_patterns <= min(4 * _CELLS, _DENSE * len(block.weight)):
            held = held.toarray()
        step = max(1, _CELLS // max(len(times), 1))
        for start in range(0, n_replicates, step):
            some = slice(start, min(start + step, n_replicates))
            often = times_drawn(rng, drawn[some], times)
            rows[some] += often @ sums
            if amounts is not None:
                amounts[some] += (
                    often @ held if isinstance(held, np.ndarray) else (held.T @ often.T).T
                )
    return rows, amounts


def _draw_clusters(
    rng: np.random.Generator, scheme: Scheme, clusters: Clusters, n_replicates: int
) -> Iterator[tuple[WeightedPatterns, NDArray[np.int64], NDArray[np.int64]]]:
    """Runs of clusters whose sums fit into memory, and how many draws fall on each run."""
    n_distinct = len(clusters.times)
    size = max(1, 4 * _CELLS // scheme.width)
    starts = np.arange(0, n_distinct, size)
    in_block = np.add.reduceat(clusters.times, starts)
    draws = np.full(n_replicates, clusters.n_clusters)
    falls = rng.multinomial(draws, in_block / in_block.sum()) if len(starts) > 1 else draws[:, None]
    for number, start in enumerate(starts.tolist()):
        stop = min(start + size, n_distinct)
        yield clusters.block(start, stop), clusters.times[start:stop], falls[:, number]


def times_drawn(
    rng: np.random.Generator, draws: NDArray[np.int64], times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How often each cluster was drawn, shape (B, C)."""
    n = len(times)
    if not ((draws == draws[0]).all() and (times == 1).all()):
        return rng.multinomial(draws, times / times.sum()).astype(np.float64)
    picked = rng.integers(0, n, size=(len(draws), int(draws[0])))
    picked += np.arange(len(draws))[:, None] * n
    counts = np.bincount(picked.reshape(-1), minlength=len(draws) * n)
    return counts.reshape(len(draws), n).astype(np.float64)


def _draw_raters(rng: np.random.Generator, n_replicates: int, n_raters: int) -> NDArray[np.float64]:
    """How often each rater was drawn, shape (B, R); at least two different ones each time.

    Equal draws are neighbours, which costs nothing in a sample without order.
    """
    chances = np.full(n_raters, 1 / n_raters)
    times = rng.multinomial(n_raters, chances, size=n_replicates)
    while (alone := (times == n_raters).any(axis=1)).any():
        times[alone] = rng.multinomial(n_raters, chances, size=int(alone.sum()))
    drawn: NDArray[np.float64] = times[np.lexsort(times.T)].astype(np.float64)
    return drawn


def _resample_raters(
    scheme: Scheme,
    codes: NDArray[np.int32],
    times: NDArray[np.float64],
    amounts: NDArray[np.float64],
    rows: NDArray[np.float64],
) -> None:
    """Replace the item sums of rows by those for the raters drawn, in place."""
    changes = np.flatnonzero((np.diff(times, axis=0) != 0).any(axis=1)) + 1
    bounds = [0, *changes.tolist(), len(times)]
    shape = scheme.n_classes, len(codes)
    said = None  # (R, K * U), where that fits: one product is faster than many picks
    if scheme.n_raters * shape[0] * shape[1] <= 4 * _CELLS:
        classes = np.arange(scheme.n_classes)[:, None, None]
        said = (codes[None] == classes).astype(np.float64).transpose(2, 0, 1)
        said = said.reshape(scheme.n_raters, -1)
    for start, stop in pairwise(bounds):
        drawn = times[start]
        if said is None:
            counts, squares = rater_counts(codes, scheme.n_classes, drawn)
        else:
            counts, squares = (drawn @ said).reshape(shape).T, (drawn**2 @ said).reshape(shape).T
        features = item_features(scheme, counts, squares)
        rows[start:stop, : scheme.item_width] = amounts[start:stop] @ features
