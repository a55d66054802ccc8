"""Figures, their intervals and their reasons, put together to statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.bootstrap_limits import IntervalName
from consensus.statistics.coefficients import COEFFICIENTS, fleiss_null_errors
from consensus.statistics.figures import figures_of
from consensus.statistics.patterns import Patterns, WeightedPatterns, compress
from consensus.statistics.precision import Precision
from consensus.statistics.reasons import Reasons
from consensus.statistics.resampling import Figures
from consensus.statistics.standard_errors import Sample
from consensus.statistics.statistic import Statistic
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts

__all__ = ["AMONG_RATERS", "GIVEN_REFERENCE", "Findings", "PairAgreement", "PairDetection"]

AMONG_RATERS = {
    "kappa": "kappa",
    "fleiss": "fleiss_class",
    "dice": "dice",
    "prevalence": "prevalence",
    "prevalence_index": "prevalence_index",
    "bias_index": "bias_index",
}
"""Figures of a class among raters: names in the report, and of the figures behind them."""

GIVEN_REFERENCE = {
    "kappa": "kappa",
    "conditional_kappa": "conditional_kappa",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
"""Figures of a class of one rater given a reference."""


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of two raters on the items that both rated."""

    a: str
    b: str
    items: int
    weight: float
    kappa: Statistic

    def to_dict(self) -> dict[str, object]:
        """Plain numbers and text, as in the JSON document."""
        return {
            "a": self.a,
            "b": self.b,
            "items": self.items,
            "weight": self.weight,
            "kappa": self.kappa.to_dict(),
        }


@dataclass(frozen=True)
class PairDetection:
    """How far two raters find the same things."""

    a: str
    b: str
    f1: Statistic

    def to_dict(self) -> dict[str, object]:
        """Plain numbers and text, as in the JSON document."""
        return {"a": self.a, "b": self.b, "f1": self.f1.to_dict()}


class Findings:
    """Makes the statistics of a report.

    Parameters
    ----------
    totals
        One row, over all items.
    figures
        Of the same; first axis of length 1.
    pattern_items, pattern_weight : shape (n_patterns,)
        Items that show each pattern, and their weight.
    """

    def __init__(
        self,
        ratings: Ratings,
        patterns: Patterns,
        totals: Totals,
        figures: Figures,
        precision: Precision,
        pattern_items: NDArray[np.float64],
        pattern_weight: NDArray[np.float64],
    ) -> None:
        self._ratings = ratings
        self._rated = patterns.codes != NOT_RATED
        self._totals = totals
        self._figures = figures
        self._precision = precision
        self._items = pattern_items
        self._weight = pattern_weight
        self._reasons = Reasons(totals)

    @classmethod
    def of(
        cls,
        ratings: Ratings,
        disagreement: NDArray[np.float64],
        *,
        bootstrap: int,
        seed: int,
        interval: IntervalName,
        directed: bool = False,
    ) -> Findings:
        """Compute all figures of ratings.

        Parameters
        ----------
        disagreement
            From :func:`consensus.statistics.weights.disagreement_weights`.
        bootstrap, seed
            Replicates over clusters, and their seed; 0 gives analytic intervals.
        interval
            The interval from replicates that stands as the limits.
        directed
            Whether the second of two raters is a reference for the first.
        """
        scheme = Scheme.of(ratings, disagreement, directed=directed)
        patterns = compress(ratings.codes, scheme.n_classes)
        weight = patterns.totals(ratings.weight)
        counts = rater_counts(patterns.codes, scheme.n_classes)
        features = item_features(scheme, counts)
        totals = Totals(scheme, group_totals(scheme, _as_one_group(patterns, weight), features))
        named = counts * scheme.places
        placed = scheme.compared(named, named.sum(axis=1) * (named.sum(axis=1) - 1))
        sample = Sample(patterns.codes, weight, placed, features, totals)
        figures = figures_of(totals)
        precision = Precision.of(ratings, patterns, sample, figures, bootstrap, seed, interval)
        items = weight
        if not scheme.counts:
            items = patterns.totals((ratings.weight > 0).astype(np.float64))
        return cls(ratings, patterns, totals, figures, precision, items, weight)

    @property
    def scheme(self) -> Scheme:
        """What was compared with what."""
        return self._totals.scheme

    @property
    def precision(self) -> Precision:
        """What the intervals rest on."""
        return self._precision

    @property
    def n_items(self) -> int:
        """Items with at least one rating."""
        return round(float(self._items[self._rated.any(axis=1)].sum()))

    def coefficients(self, *, nominal: bool) -> dict[str, Statistic]:
        """The coefficients over all raters."""
        null = self._null_errors() if nominal else None
        kappa = self._figures["pair_kappa"][0]
        beside: dict[str, dict[str, object]] = {
            "cohen_mean": {"pairs": len(kappa), "pairs_undefined": int(np.isnan(kappa).sum())},
            "gwet": {"name": "AC1" if nominal else "AC2"},
        }
        if null is not None:
            beside["fleiss"] = {"se_null": null[0]}
        trivial = self._reasons.trivial()
        found = {}
        for name in COEFFICIENTS:
            reason = trivial or self._reasons.coefficient()
            denied = trivial is not None
            found[name] = self._statistic(name, None, reason, denied, beside.get(name, {}))
        return found

    def pooled_kappa(self) -> Statistic:
        """Cohen's kappa, pooled over the pairs of raters."""
        reason = self._reasons.coefficient()
        return self._statistic("cohen_pooled", None, reason, False, {})

    def per_class(
        self, kinds: Mapping[str, str] = AMONG_RATERS, *, nominal: bool
    ) -> dict[str, dict[str, Statistic]]:
        """Figures of each class, as ``kinds`` names them."""
        null = self._null_errors() if nominal else None
        found = {}
        for c, name in enumerate(self._ratings.classes):
            expected = float(self._figures["expected"][0, c])
            beside: dict[str, dict[str, object]] = {"kappa": {"denominator": expected}}
            if null is not None:
                beside["fleiss"] = {"se_null": null[1]}
            found[name] = {
                kind: self._statistic(
                    figure,
                    c,
                    self._reasons.of_class(c, kind),
                    self._reasons.denied(c, kind),
                    beside.get(kind, {}),
                )
                for kind, figure in kinds.items()
            }
        return found

    def f1(self) -> Statistic:
        """F1 of finding anything, pooled over pairs of raters."""
        return self._statistic("f1", None, self._reasons.detection(), False, {})

    def f1_pairs(self) -> tuple[PairDetection, ...]:
        """F1 of each pair; none where there is no class that means nothing was found."""
        if self._ratings.negative is None:
            return ()
        return tuple(
            PairDetection(
                self._ratings.raters[a],
                self._ratings.raters[b],
                self._statistic(
                    "pair_f1",
                    pair,
                    self._reasons.pair_detection(self._co_rated(a, b)[1]),
                    False,
                    {},
                ),
            )
            for pair, (a, b) in enumerate(self._totals.scheme.pairs)
        )

    def pairs(self) -> tuple[PairAgreement, ...]:
        """Cohen's kappa of each pair of raters."""
        found = []
        for pair, (a, b) in enumerate(self._totals.scheme.pairs):
            items, weight = self._co_rated(a, b)
            kappa = self._statistic("pair_kappa", pair, self._reasons.pair(pair, weight), False, {})
            names = self._ratings.raters[a], self._ratings.raters[b]
            found.append(PairAgreement(*names, round(items), weight, kappa))
        return tuple(found)

    def _co_rated(self, a: int, b: int) -> tuple[float, float]:
        together = self._rated[:, a] & self._rated[:, b]
        return float(self._items[together].sum()), float(self._weight[together].sum())

    def _statistic(
        self, figure: str, index: int | None, reason: str, denied: bool, beside: dict[str, object]
    ) -> Statistic:
        """One statistic; ``denied`` withholds a value that would mean nothing."""
        value = float(self._figures[figure][0 if index is None else (0, index)])
        if denied or np.isnan(value):
            return Statistic.undefined(reason, **beside)
        interval, extra = self._precision.interval(figure, index)
        return Statistic.of(value, interval, **beside, **extra)

    def _null_errors(self) -> tuple[float, float] | None:
        """Errors under guessing: of counts, with as many ratings for every item."""
        n_ratings = self._rated.sum(axis=1)[self._weight > 0]
        n_ratings = n_ratings[n_ratings > 0]
        scheme, share = self._totals.scheme, self._totals["share"][0]
        same = len(set(n_ratings.tolist())) == 1 and n_ratings[0] > 1
        if not (scheme.counts and same and not scheme.placed_only and (share > 0).sum() > 1):
            return None
        n_items = float(self._totals["items_rated"][0])
        return fleiss_null_errors(share / n_items, n_items, float(n_ratings[0]))


def _as_one_group(patterns: Patterns, weight: NDArray[np.float64]) -> WeightedPatterns:
    used = np.flatnonzero(weight > 0)
    none = np.zeros(len(used), dtype=np.int64)
    return WeightedPatterns(patterns.codes, np.zeros(1, dtype=np.int64), none, used, weight[used])
