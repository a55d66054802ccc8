"""Items with the same labels behave alike: ratings compressed to distinct label patterns.

A slide overlay has millions of faces and a few thousand patterns; what follows costs what the
patterns cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Patterns", "WeightedPatterns", "compress", "positions", "sum_by"]

_DENSE_KEYS = 1 << 22


@dataclass(frozen=True)
class Patterns:
    """Distinct rows of a matrix of codes.

    Parameters
    ----------
    codes : shape (n_patterns, n_raters)
        Class codes, -1 where not rated.
    of_item : shape (n_items,)
        Pattern of each item.
    """

    codes: NDArray[np.int32]
    of_item: NDArray[np.int64]

    def totals(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weight of each pattern, summed over its items."""
        return sum_by(self.of_item, weight, len(self.codes))

    def by_group(self, group: NDArray[np.int64], weight: NDArray[np.float64]) -> WeightedPatterns:
        """Weight of each pattern within each group of items; groups without weight vanish."""
        used = weight > 0
        key = group[used] * len(self.codes) + self.of_item[used]
        distinct, entry_of = np.unique(key, return_inverse=True)
        groups, group_of = np.unique(distinct // len(self.codes), return_inverse=True)
        return WeightedPatterns(
            codes=self.codes,
            groups=groups,
            group=group_of.reshape(-1),
            pattern=distinct % len(self.codes),
            weight=sum_by(entry_of.reshape(-1), weight[used], len(distinct)),
        )


@dataclass(frozen=True)
class WeightedPatterns:
    """How much of each pattern each group holds, as a sparse table.

    Parameters
    ----------
    codes : shape (n_patterns, n_raters)
        Class codes, -1 where not rated.
    groups : shape (n_groups,)
        What each group was called in the ratings (index of a cluster or slide).
    group, pattern, weight : shape (n_entries,)
        Non-zero cells, sorted by group.
    """

    codes: NDArray[np.int32]
    groups: NDArray[np.int64]
    group: NDArray[np.int64]
    pattern: NDArray[np.int64]
    weight: NDArray[np.float64]


def sum_by(
    group: NDArray[np.int64], amount: NDArray[np.float64], n_groups: int
) -> NDArray[np.float64]:
    """Sum of amounts in each group, shape (n_groups,)."""
    return np.bincount(group, weights=amount, minlength=n_groups).astype(np.float64, copy=False)


def positions(key: NDArray[np.int64], span: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct keys in order, and the place of each key among them; all are below ``span``."""
    if span > _DENSE_KEYS:
        distinct, place = np.unique(key, return_inverse=True)
        return distinct, place.reshape(-1).astype(np.int64)
    present = np.zeros(span, dtype=bool)
    present[key] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[key]


def compress(codes: NDArray[np.int32], n_classes: int) -> Patterns:
    """Distinct label patterns of items.

    Parameters
    ----------
    codes : shape (n_items, n_raters)
        Class codes, -1 where not rated.
    n_classes
        Codes are below it.
    """
    base = n_classes + 1
    key = np.zeros(len(codes), dtype=np.int64)
    span = 1  # keys are below it
    for column in codes.T:
        if span > np.iinfo(np.int64).max // base:
            distinct, inverse = np.unique(key, return_inverse=True)
            key, span = inverse.reshape(-1).astype(np.int64), len(distinct)
        key = key * base + (column + 1)
        span *= base
    of_item = positions(key, span)[1]
    n_patterns = int(of_item.max()) + 1 if len(of_item) else 0
    some_item = np.zeros(n_patterns, dtype=np.int64)
    some_item[of_item] = np.arange(len(codes))
    return Patterns(codes=codes[some_item], of_item=of_item)
