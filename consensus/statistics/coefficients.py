"""Agreement coefficients over all raters, as functions of sums over items.

Definitions are those of irrCAC's functions for raw ratings (Gwet 2014), which allow for
missing ratings: raters agree on an item as far as pairs of its ratings do, and every item
counts by its weight. What a coefficient takes from an item, and what it expects by chance,
are written as disagreements, so that a single class gives exactly 0 / 0 and is seen.

Shapes: B replicates, R raters, P pairs, K classes.

References
----------
Cohen (1968), doi:10.1037/h0026256. Conger (1980), doi:10.1037/0033-2909.88.2.322.
Fleiss (1971), doi:10.1037/h0031619. Gwet (2008), doi:10.1348/000711006X126600.
Brennan & Prediger (1981), doi:10.1177/001316448104100307.
Krippendorff (1970), doi:10.1177/001316447003000105. Light (1971), doi:10.1037/h0031643.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.totals import Scheme, Totals

__all__ = [
    "COEFFICIENTS",
    "PairTables",
    "coefficients",
    "fleiss_null_errors",
    "pair_tables",
    "quotient",
]

COEFFICIENTS = (
    "percent",
    "cohen_mean",
    "cohen_pooled",
    "conger",
    "fleiss",
    "krippendorff",
    "gwet",
    "brennan_prediger",
)
"""Names, in the order of the report."""


def quotient(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Elementwise ratio; NaN, without a warning, where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    ratio = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio


@dataclass(frozen=True)
class PairTables:
    """Observed and expected disagreement in the tables of pairs of raters.

    Both are scaled to the pair's co-rated weight, so that summing them over pairs weighs
    each pair by it. A cell counts for the classes of its row and of its column.

    Parameters
    ----------
    observed, expected : shape (B, P, K)
        In the cells where at least one of the two said the class.
    pair_weight : shape (B, P)
        How often each pair was drawn; all 1 unless raters are resampled.
    """

    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    pair_weight: NDArray[np.float64]

    @property
    def kappa(self) -> NDArray[np.float64]:
        """Cohen's weighted kappa of each pair, shape (B, P)."""
        return 1 - quotient(self.observed.sum(axis=2), self.expected.sum(axis=2))


def pair_tables(totals: Totals, multiplicity: NDArray[np.float64] | None = None) -> PairTables:
    """Tables of all pairs of raters.

    Parameters
    ----------
    multiplicity : shape (B, R)
        How often each rater was drawn; None: once.
    """
    scheme = totals.scheme
    first, second = totals["first"], totals["second"]
    # all cells of row c, and all of column c; the one they share has no disagreement
    cells = first * (second @ scheme.disagreement) + second * (first @ scheme.disagreement)
    expected = np.nan_to_num(quotient(cells, first.sum(axis=2, keepdims=True)))
    pair_weight = np.ones(first.shape[:2])
    if multiplicity is not None:
        pair_weight = multiplicity[:, scheme.pairs[:, 0]] * multiplicity[:, scheme.pairs[:, 1]]
    return PairTables(totals["observed"], expected, pair_weight)


def coefficients(
    totals: Totals, pairs: PairTables, multiplicity: NDArray[np.float64] | None = None
) -> dict[str, NDArray[np.float64]]:
    """All coefficients of :data:`COEFFICIENTS`, each of shape (B,); NaN where undefined.

    ``cohen_mean`` is the plain mean over pairs (Light), those without a kappa left out;
    ``cohen_pooled`` sums disagreements over pairs first, each pair by its co-rated weight.
    ``percent`` is the weighted agreement, ``fleiss`` for two raters is Scott's pi.
    """
    scheme = totals.scheme
    within = quotient(totals["disagree"], totals["items_paired"])
    share = quotient(totals["share"], totals["items_rated"][:, None])
    by_chance = _disagreement_between(scheme, share, share)
    several = by_chance > 0
    agreement_sum, n_classes = agreement_total(scheme), int(scheme.places.sum())
    gwet_chance = np.full(len(within), np.nan)
    if n_classes > 1:
        spread = (share * (1 - share)).sum(axis=1)
        gwet_chance = agreement_sum * spread / (n_classes * (n_classes - 1))
    uniform_chance = np.full(len(within), agreement_sum / n_classes**2)
    kappa, defined = pairs.kappa, pairs.pair_weight * (pairs.expected.sum(axis=2) > 0)
    weighted = pairs.pair_weight[:, :, None]
    observed = (pairs.observed * weighted).sum(axis=(1, 2))
    expected = (pairs.expected * weighted).sum(axis=(1, 2))
    return {
        "percent": 1 - within,
        "cohen_mean": quotient((np.nan_to_num(kappa) * defined).sum(axis=1), defined.sum(axis=1)),
        "cohen_pooled": 1 - quotient(observed, expected),
        "conger": 1 - quotient(within, _between_raters(totals, multiplicity)),
        "fleiss": 1 - quotient(within, by_chance),
        "krippendorff": _krippendorff(totals),
        "gwet": np.where(several, 1 - quotient(within, 1 - gwet_chance), np.nan),
        "brennan_prediger": np.where(several, 1 - quotient(within, 1 - uniform_chance), np.nan),
    }


def agreement_total(scheme: Scheme) -> float:
    """Sum of the agreement weights between the classes in play (``sum(w)`` in irrCAC)."""
    between = scheme.disagreement[np.ix_(scheme.places, scheme.places)]
    return float(between.size - between.sum())


def _disagreement_between(
    scheme: Scheme, left: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected disagreement of two independent draws, over the last axis."""
    between: NDArray[np.float64] = ((left @ scheme.disagreement) * right).sum(axis=-1)
    return between


def _between_raters(
    totals: Totals, multiplicity: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Conger's chance disagreement: mean over pairs of different raters' own margins."""
    said = totals["said"]  # (B, R, K)
    ratings = said.sum(axis=2)
    margins = np.nan_to_num(quotient(said, ratings[:, :, None]))
    times = (ratings > 0).astype(np.float64)
    if multiplicity is not None:
        times = times * multiplicity
    drawn = (margins * times[:, :, None]).sum(axis=1)  # (B, K)
    with_itself = _disagreement_between(totals.scheme, margins, margins)  # (B, R)
    among_all = _disagreement_between(totals.scheme, drawn, drawn)
    n_pairs = times.sum(axis=1) ** 2 - (times**2).sum(axis=1)
    return quotient(among_all - (with_itself * times**2).sum(axis=1), n_pairs)


def _krippendorff(totals: Totals) -> NDArray[np.float64]:
    """Alpha. The small-sample term holds for counts of ratings, not for areas."""
    ratings = totals["paired_ratings"].sum(axis=1)
    share = quotient(totals["paired_ratings"], ratings[:, None])
    by_chance = _disagreement_between(totals.scheme, share, share)
    within = quotient(totals["disagree_ratings"], ratings)
    if totals.scheme.counts:
        within = within * (1 - quotient(np.ones(len(ratings)), ratings))
    return 1 - quotient(within, by_chance)


def fleiss_null_errors(
    share: NDArray[np.float64], n_items: float, n_raters: float
) -> tuple[float, float]:
    """Standard errors of Fleiss' kappa if raters guessed: overall, and of each class.

    What textbooks print beside kappa, for testing it against 0; not for an interval.

    Parameters
    ----------
    share : shape (K,)
        Part of all ratings that each class got; at least two are positive.
    n_items
        Items.
    n_raters
        Raters of every item, the same for all.

    References
    ----------
    Fleiss, Levin & Paik (2003), eq. 18.57 to 18.59 and table 18.8.
    """
    each = float(np.sqrt(2 / (n_items * n_raters * (n_raters - 1))))
    spread = share * (1 - share)
    skew = (spread * (1 - 2 * share)).sum()
    return each * float(np.sqrt(spread.sum() ** 2 - skew) / spread.sum()), each
