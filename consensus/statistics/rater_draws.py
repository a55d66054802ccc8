"""Sums that still tell raters apart, so that a replicate can weigh raters after they are summed.

What an item adds to a coefficient depends on who rated it: its disagreement is a mean over the
pairs of its raters. A rater drawn twice weighs twice in it, but is never paired with its copy:
agreement with oneself is no agreement. Items rated by the same set of raters share these
weights, so their sums are kept apart by set, rater and pair, and no replicate has to look at
items again.

Shapes: B replicates, C clusters, U patterns, G sets of raters, R raters, P pairs, K classes,
S sums (the columns of a :class:`RaterSums`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED
from consensus.statistics.patterns import positions
from consensus.statistics.totals import Scheme

__all__ = ["RaterSums", "draw_raters"]


def draw_raters(rng: np.random.Generator, n_replicates: int, n_raters: int) -> NDArray[np.float64]:
    """How often each rater was drawn, shape (B, R); at least two different ones each time."""
    chances = np.full(n_raters, 1 / n_raters)
    times = rng.multinomial(n_raters, chances, size=n_replicates)
    while (alone := (times == n_raters).any(axis=1)).any():
        times[alone] = rng.multinomial(n_raters, chances, size=int(alone.sum()))
    return times.astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Columns of one kind: which set of raters, who of it, and where it adds to.

    Parameters
    ----------
    start, stop
        Where they stand among the sums.
    of_set, who : shape (stop - start,)
        Index of the set, and of the rater or pair.
    cell : shape (stop - start,)
        Row of the (G * K) or (G) table that they add to.
    """

    start: int
    stop: int
    of_set: NDArray[np.int64]
    who: NDArray[np.int64]
    cell: NDArray[np.int64]

    def add_up(
        self, sums: NDArray[np.float64], factor: NDArray[np.float64], n_cells: int
    ) -> NDArray[np.float64]:
        """Weighed sums of each cell, shape (n_cells, B)."""
        from scipy.sparse import csr_array

        n = self.stop - self.start
        ones = csr_array((np.ones(n), (self.cell, np.arange(n))), shape=(n_cells, n))
        added: NDArray[np.float64] = ones @ (sums[self.start : self.stop] * factor)
        return added


class RaterSums:
    """Which sums are kept of clusters, and the item sums of a replicate made from them.

    Parameters
    ----------
    codes : shape (U, R)
        Label patterns.
    """

    def __init__(self, scheme: Scheme, codes: NDArray[np.int32]) -> None:
        self._scheme = scheme
        k, pairs = scheme.n_classes, scheme.pairs
        rated = codes != NOT_RATED
        placed = np.append(scheme.places, False)[codes]  # -1 (not rated) picks the false
        both_masks = np.concatenate([rated, placed], axis=1)
        masks, of_set = np.unique(both_masks, axis=0, return_inverse=True)
        of_set = of_set.reshape(-1).astype(np.int64)
        self._rated = masks[:, : scheme.n_raters].astype(np.float64)  # (G, R)
        self._placed = masks[:, scheme.n_raters :].astype(np.float64)
        n_sets, everyone = len(masks), np.arange(len(codes))
        self._patterns: list[NDArray[np.int64]] = [everyone]
        self._places: list[NDArray[np.int64]] = [of_set]
        self._amounts: list[NDArray[np.float64]] = [np.ones(len(codes))]
        self._width = n_sets

        pattern, rater = np.nonzero(rated)
        cell = of_set[pattern] * k + codes[pattern, rater]
        self._said = self._columns(pattern, cell, rater, np.ones(len(pattern)), scheme.n_raters, k)

        left, right = codes[:, pairs[:, 0]], codes[:, pairs[:, 1]]
        pattern, pair = np.nonzero((left == right) & (left != NOT_RATED))
        cell = of_set[pattern] * k + left[pattern, pair]
        self._both = self._columns(pattern, cell, pair, np.ones(len(pattern)), len(pairs), k)

        compared = placed[:, pairs[:, 0]] & placed[:, pairs[:, 1]]
        pattern, pair = np.nonzero((left != right) & compared)
        apart = scheme.disagreement[left[pattern, pair], right[pattern, pair]]
        self._apart = self._columns(pattern, of_set[pattern], pair, apart, len(pairs), 1)

    def _columns(
        self,
        pattern: NDArray[np.int64],
        cell: NDArray[np.int64],
        who: NDArray[np.int64],
        amount: NDArray[np.float64],
        n_who: int,
        n_per_set: int,
    ) -> _Columns:
        """Give every combination that occurs a column, and note what patterns add to it."""
        n_sets = len(self._rated)
        distinct, place = positions(cell * n_who + who, n_sets * n_per_set * n_who)
        start = self._width
        self._width += len(distinct)
        self._patterns.append(pattern)
        self._places.append(place + start)
        self._amounts.append(amount)
        cells = distinct // n_who
        return _Columns(start, self._width, cells // n_per_set, distinct % n_who, cells)

    @property
    def width(self) -> int:
        """S, or the largest table made on the way, if that is larger."""
        return max(self._width, len(self._rated) * self._scheme.n_classes)

    def of_patterns(self) -> Any:
        """What a unit of each pattern adds to each sum, a sparse table of shape (U, S)."""
        from scipy.sparse import csr_array

        at = np.concatenate(self._patterns), np.concatenate(self._places)
        return csr_array(
            (np.concatenate(self._amounts), at), shape=(len(self._patterns[0]), self._width)
        )

    def resample(
        self, rows: NDArray[np.float64], sums: NDArray[np.float64], times: NDArray[np.float64]
    ) -> None:
        """Replace the item sums of totals by those for the raters drawn, in place.

        Parameters
        ----------
        rows : shape (B, width of totals)
            Totals with every rater once.
        sums : shape (S, B)
            Of the same clusters.
        times : shape (B, R)
            How often each rater was drawn.
        """
        scheme, m = self._scheme, np.ascontiguousarray(times.T)
        n_sets, k = len(self._rated), scheme.n_classes
        together = m[scheme.pairs[:, 0]] * m[scheme.pairs[:, 1]]  # (P, B)
        held = sums[:n_sets]  # weight of the items of each set, (G, B)
        n_named = self._placed @ m
        n_pairs = n_named**2 - self._placed @ m**2
        paired = n_pairs > 0
        n_ratings = np.where(paired, n_named, 0) if scheme.placed_only else n_named
        per_pair = _inverse(n_pairs)

        def by_class(columns: _Columns, factor: NDArray[np.float64]) -> NDArray[np.float64]:
            return columns.add_up(sums, factor, n_sets * k).reshape(n_sets, k, -1)

        said, both, apart = self._said, self._both, self._apart
        drawn = m[said.who]
        counted = by_class(said, drawn)
        placed = counted * scheme.places[:, None]
        # ratings of a class, each paired with all others of its item: factor 0 where there is none
        paired_off = by_class(said, drawn * ((self._rated @ m)[said.of_set] - drawn))
        agreeing = 2 * by_class(both, together[both.who])
        disagree = 2 * per_pair * apart.add_up(sums, together[apart.who], n_sets)
        named_pairs = by_class(said, drawn * (n_named[said.of_set] - drawn)) - agreeing
        disagree_class = 2 * np.maximum(named_pairs, 0) * scheme.places[:, None]

        def put(name: str, value: NDArray[np.float64]) -> None:
            at = scheme.slices[name]
            rows[:, at] = value.reshape(at.stop - at.start, -1).T

        put("items_paired", (held * paired).sum(axis=0))
        put("items_rated", (held * (n_ratings > 0)).sum(axis=0))
        put("items_named", (held * (n_named > 0)).sum(axis=0))
        put("disagree", disagree.sum(axis=0))
        put("disagree_ratings", (disagree * n_ratings).sum(axis=0))
        put("disagree_class", (disagree_class * per_pair[:, None]).sum(axis=0))
        put("share", (placed * _inverse(n_ratings)[:, None]).sum(axis=0))
        put("named", (placed * _inverse(n_named)[:, None]).sum(axis=0))
        put("paired_ratings", (placed * paired[:, None]).sum(axis=0))
        put("both", agreeing.sum(axis=0))
        put("either", paired_off.sum(axis=0))
        if scheme.negative is not None:
            found = rows[:, scheme.slices["found_both"]], rows[:, scheme.slices["found_either"]]
            put("both_present", 2 * (found[0] * together.T).sum(axis=1))
            put("either_present", (found[1] * together.T).sum(axis=1))


def _inverse(count: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over a count, and 0 for none."""
    return np.divide(1.0, count, out=np.zeros(count.shape), where=count > 0)
