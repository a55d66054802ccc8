"""Bootstrap and jackknife over clusters, on the sums of each cluster.

A replicate draws as many clusters as there are, with replacement. Its sums are those of the
clusters times how often each was drawn, so that replicates cost one matrix product and the
formulas of the coefficients, whatever the number of items. The jackknife leaves out one
cluster at a time: its sums are those of all less those of the cluster.

A second bootstrap draws raters as well (:mod:`consensus.statistics.rater_draws`).

Shapes: B replicates, C clusters, S sums that tell raters apart.

References
----------
Field & Welsh (2007), doi:10.1111/j.1467-9868.2007.00593.x, on resampling whole clusters.
Owen (2007), doi:10.1214/07-AOAS122, on resampling clusters and raters independently: the
variance is overstated, by at most the part that belongs to neither alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.clusters import Clusters
from consensus.statistics.rater_draws import RaterSums, draw_raters
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts

__all__ = ["MIN_RATERS", "Evaluate", "Figures", "Replicates", "bootstrap"]

MIN_RATERS = 3
"""Two raters drawn with replacement are too often the same one."""

_CELLS = 1 << 23  # numbers in one temporary matrix: 64 MB
_DENSE = 50  # a table with one cell in so many filled is multiplied as a full matrix
_PIECE = 512  # replicates at a time: what the formulas make of them stays in the cache

Figures = dict[str, NDArray[np.float64]]
"""Figures by name; the first axis runs over replicates or groups."""

Evaluate = Callable[[Totals, NDArray[np.float64] | None], Figures]
"""Figures of totals; the second argument says how often each rater was drawn (B, R)."""


@dataclass(frozen=True)
class Replicates:
    """Figures of all replicates.

    Parameters
    ----------
    figures
        Clusters resampled.
    left_out : first axis of length C
        Without one of each distinct cluster.
    times : shape (C,)
        How many clusters are alike, and so give the same figures when left out.
    with_raters
        Clusters and raters resampled; None where there are too few raters.
    """

    figures: Figures
    left_out: Figures
    times: NDArray[np.int64]
    with_raters: Figures | None


def bootstrap(
    scheme: Scheme, clusters: Clusters, evaluate: Evaluate, n_replicates: int, seed: int
) -> Replicates:
    """Figures of replicates over clusters, without each cluster, and over clusters and raters.

    Parameters
    ----------
    n_replicates
        B.
    seed
        The same seed gives the same replicates.
    """
    rng = np.random.default_rng(seed)
    sums = _ClusterSums(scheme, clusters, with_raters=scheme.n_raters >= MIN_RATERS)
    times = None
    if sums.raters is not None:
        times = draw_raters(rng, n_replicates, scheme.n_raters)[:, clusters.rater_place]
    figures: list[Figures] = []
    with_raters: list[Figures] = []
    step = max(1, min(n_replicates, _CELLS // sums.width))
    for first in range(0, n_replicates, step):
        rows, by_rater = sums.drawn(rng, min(step, n_replicates - first))
        for piece in _pieces(len(rows)):
            totals = Totals(scheme, rows[piece])
            figures.append(evaluate(totals, None))
            if times is not None and sums.raters is not None and by_rater is not None:
                drawn = times[first + piece.start : first + piece.stop]
                sums.raters.resample(totals.rows, by_rater[:, piece], drawn)
                with_raters.append(evaluate(totals, drawn))
    return Replicates(
        _stack(figures),
        _stack(list(sums.without_each(evaluate))),
        clusters.times,
        _stack(with_raters) if with_raters else None,
    )


def _stack(parts: list[Figures]) -> Figures:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pieces(stop: int) -> Iterator[slice]:
    for start in range(0, stop, _PIECE):
        yield slice(start, min(start + _PIECE, stop))


@dataclass(frozen=True, eq=False)
class _Block:
    """A run of clusters whose sums fit into memory.

    Parameters
    ----------
    times : shape (C,)
        How many clusters are like each.
    totals : shape (C, width)
    by_rater : shape (S, C), perhaps sparse
        None where raters are not resampled.
    """

    times: NDArray[np.int64]
    totals: NDArray[np.float64]
    by_rater: Any


class _ClusterSums:
    """Sums of every cluster, from which those of replicates are made."""

    def __init__(self, scheme: Scheme, clusters: Clusters, *, with_raters: bool) -> None:
        codes = clusters.weighted.codes
        self._scheme = scheme
        self._clusters = clusters
        self._features = item_features(scheme, rater_counts(codes, scheme.n_classes))
        self.raters = RaterSums(scheme, codes) if with_raters else None
        self._by_pattern = None if self.raters is None else self.raters.of_patterns()
        self.width = max(scheme.width, 0 if self.raters is None else self.raters.width)
        n_distinct = len(clusters.times)
        size = max(1, 4 * _CELLS // scheme.width)
        self._starts = np.arange(0, n_distinct, size)
        self._stops = np.append(self._starts[1:], n_distinct)
        self._only = self._block(0, n_distinct) if len(self._starts) == 1 else None

    def _block(self, start: int, stop: int) -> _Block:
        weighted = self._clusters.block(start, stop)
        by_rater = None
        if self._by_pattern is not None:
            from scipy.sparse import csr_array

            shape = stop - start, len(weighted.codes)
            held = csr_array((weighted.weight, (weighted.group, weighted.pattern)), shape=shape)
            by_rater = (held @ self._by_pattern).T.tocsr()
            cells = by_rater.shape[0] * by_rater.shape[1]
            if cells <= min(4 * _CELLS, _DENSE * by_rater.nnz):
                by_rater = by_rater.toarray()
        totals = group_totals(self._scheme, weighted, self._features)
        return _Block(self._clusters.times[start:stop], totals, by_rater)

    def _blocks(self) -> Iterator[_Block]:
        if self._only is not None:
            yield self._only
            return
        for start, stop in zip(self._starts.tolist(), self._stops.tolist(), strict=True):
            yield self._block(start, stop)

    def drawn(
        self, rng: np.random.Generator, n_replicates: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Totals (B, width) of drawn clusters, and their sums by rater (S, B)."""
        rows = np.zeros((n_replicates, self._scheme.width))
        by_rater = None
        if self._by_pattern is not None:
            by_rater = np.zeros((self._by_pattern.shape[1], n_replicates))
        in_block = np.add.reduceat(self._clusters.times, self._starts)
        draws = np.full(n_replicates, self._clusters.n_clusters)
        falls = draws[:, None]  # how many draws fall on each block
        if len(in_block) > 1:
            falls = rng.multinomial(draws, in_block / in_block.sum())
        for number, block in enumerate(self._blocks()):
            step = max(1, min(_PIECE, _CELLS // len(block.times)))
            for start in range(0, n_replicates, step):
                some = slice(start, min(start + step, n_replicates))
                often = _multinomial(rng, falls[some, number], block.times)
                rows[some] += often @ block.totals
                if by_rater is not None:
                    by_rater[:, some] += block.by_rater @ often.T
        return rows, by_rater

    def without_each(self, evaluate: Evaluate) -> Iterator[Figures]:
        """Figures without one cluster of each distinct kind, in order.

        The rest is added up from both sides, not subtracted: what only one cluster holds is
        gone without it, and not left as a rounding error that a ratio would take for a value.
        """
        pieces = ((block, piece) for block in self._blocks() for piece in _pieces(len(block.times)))
        of_piece = np.array([block.times[some] @ block.totals[some] for block, some in pieces])
        others = _sums_of_others(of_piece)
        number = 0
        for block in self._blocks():
            for some in _pieces(len(block.times)):
                times = block.times[some, None]
                own = block.totals[some]
                rest = _sums_of_others(own * times) + own * (times - 1) + others[number]
                yield evaluate(Totals(self._scheme, rest), None)
                number += 1


def _sums_of_others(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of all rows but one, for each."""
    rest = np.zeros_like(rows)
    rest[1:] = np.cumsum(rows[:-1], axis=0)
    rest[:-1] += np.cumsum(rows[:0:-1], axis=0)[::-1]
    return rest


def _multinomial(
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
