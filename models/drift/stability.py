"""The population stability index: how the shares of bins have moved against the reference.

A rule of thumb calls more than 0.25 a major shift whatever the numbers behind it; chance alone makes
more than that of small samples. So it is told beside what chance makes of it, and never alarms.

References
----------
Siddiqi (2006), Credit Risk Scorecards, on the index and its thresholds.
Yurdakul (2018), Statistical Properties of Population Stability Index, Western Michigan University:
where nothing has changed it is about (1/n + 1/m) times chi-squared with bins - 1 degrees of freedom.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

__all__ = ["MAJOR", "Stability", "stability_of_categories", "stability_of_numbers"]

MAJOR = 0.25

_MOST_BINS = 10
_IN_A_BIN = 5
_EMPTY = 0.5  # of a count: the index has no value where a bin is empty


@dataclass(frozen=True)
class Stability:
    """The index and its bins; what it is on average where nothing has changed, and at most in 19 of 20."""

    psi: float
    bins: int
    by_chance: float
    by_chance_95: float

    def to_dict(self) -> dict[str, Any]:
        """The part of a document."""
        return asdict(self)


def stability_of_numbers(
    reference: NDArray[np.float64], current: NDArray[np.float64]
) -> Stability | None:
    """The index of numbers, in bins that hold equal parts of the reference.

    Ten bins, or fewer so that each holds five of the reference; the outer ones have no end. None
    where that leaves no two bins.
    """
    if not len(current):
        return None
    wanted = min(_MOST_BINS, len(reference) // _IN_A_BIN)
    if wanted < 2:
        return None
    edges = np.unique(np.quantile(reference, np.arange(1, wanted) / wanted))
    if len(edges) == 1 and (edges[0] in (reference.min(), reference.max())):
        edges = np.unique(np.append(edges, np.nextafter(edges[0], np.inf)))
    bins = len(edges) + 1
    counts = [
        np.bincount(np.searchsorted(edges, values, side="right"), minlength=bins)
        for values in (reference, current)
    ]
    return _stability(counts[0].astype(np.float64), counts[1].astype(np.float64))


def stability_of_categories(
    reference: NDArray[np.float64], current: NDArray[np.float64]
) -> Stability | None:
    """The index of counts (C,) in categories; None where there are no two."""
    used = (reference > 0) | (current > 0)
    if used.sum() < 2 or not reference.sum() or not current.sum():
        return None
    return _stability(reference[used], current[used])


def _stability(reference: NDArray[np.float64], current: NDArray[np.float64]) -> Stability:
    """Of counts in bins (bins,); an empty bin counts as half a patient."""
    totals = float(reference.sum()), float(current.sum())
    expected = np.maximum(reference, _EMPTY) / totals[0]
    found = np.maximum(current, _EMPTY) / totals[1]
    psi = float(((found - expected) * np.log(found / expected)).sum())
    bins = len(reference)
    of_counts = 1 / totals[0] + 1 / totals[1]
    return Stability(psi, bins, (bins - 1) * of_counts, float(chdtri(bins - 1, 0.05)) * of_counts)
