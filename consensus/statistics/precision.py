"""How sure each figure is: analytic errors, replicates, and the spread over slides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import Ratings
from consensus.statistics.bootstrap_limits import IntervalName, replicates_needed
from consensus.statistics.clusters import clusters_of, few_clusters
from consensus.statistics.coefficients import pair_tables
from consensus.statistics.figures import figures_of
from consensus.statistics.intervals import (
    AREAS_NEED_BOOTSTRAP,
    Drawn,
    Resampled,
    mean_interval,
    proportion_interval,
)
from consensus.statistics.patterns import Patterns
from consensus.statistics.resampling import Figures, Replicates, bootstrap
from consensus.statistics.standard_errors import (
    ANALYTIC,
    LINEARISED,
    Sample,
    class_fleiss_errors,
    coefficient_errors,
    pair_errors,
    pair_f1_errors,
    ratio_error,
)
from consensus.statistics.statistic import Interval
from consensus.statistics.totals import Scheme, Totals, group_totals

__all__ = ["Precision"]

_PROPORTIONS = ("dice", "prevalence", "f1", "pair_f1")
_BY_PAIR = ("pair_kappa", "pair_f1")
_WHERE_NAMED = ("kappa", "fleiss_class", "dice")
"""Figures of a class to which clusters that nobody gave the class add nothing."""


@dataclass(frozen=True)
class _Analytic:
    """Standard error, items and method of each figure, arrays as the figures themselves."""

    se: Figures
    items: Figures
    method: dict[str, str]


@dataclass(frozen=True)
class Precision:
    """Interval of every figure, by name and position.

    Parameters
    ----------
    n_clusters, pair_clusters, class_clusters
        What intervals rest on: clusters with ratings, those that each pair co-rated, and
        those in which somebody gave each class.
    """

    n_clusters: int
    pair_clusters: NDArray[np.int64]
    class_clusters: NDArray[np.int64]
    figures: Figures
    replicates: Replicates | None
    analytic: _Analytic | None
    by_slide: Figures | None
    resampled: Resampled
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        ratings: Ratings,
        patterns: Patterns,
        sample: Sample,
        figures: Figures,
        n_replicates: int,
        seed: int,
        chosen: IntervalName,
    ) -> Precision:
        """Compute what the ratings allow: replicates, else analytic errors of counts.

        Parameters
        ----------
        figures
            Of all items; first axis of length 1.
        chosen
            The interval from replicates that stands as the limits.
        """
        scheme: Scheme = sample.totals.scheme
        clusters = clusters_of(ratings, patterns)
        replicates = None
        analytic = None
        notes: list[str] = []
        if n_replicates and not few_clusters(clusters.n_clusters).startswith("undefined"):
            replicates = bootstrap(scheme, clusters, figures_of, n_replicates, seed)
            needed = replicates_needed(clusters.n_clusters)
            if chosen == "expanded" and n_replicates < needed:
                notes.append(
                    f"over {clusters.n_clusters} clusters {n_replicates} replicates don't reach as "
                    f"far out as an expanded interval looks; give --bootstrap {needed} or more"
                )
        elif not n_replicates and scheme.counts:
            analytic = _analytic(sample, figures)
            if ratings.cluster_unit != "item":
                notes.append(
                    "analytic intervals take items as independent; --bootstrap resamples the "
                    f"{clusters.n_clusters} clusters ({ratings.cluster_unit}) instead"
                )
        by_slide = None
        if ratings.slide is not None and not scheme.counts:
            slides = patterns.by_group(ratings.slide, ratings.weight)
            by_slide = figures_of(Totals(scheme, group_totals(scheme, slides, sample.features)))
        return cls(
            n_clusters=clusters.n_clusters,
            pair_clusters=clusters.co_rated(scheme.pairs),
            class_clusters=clusters.naming(scheme.n_classes),
            figures=figures,
            replicates=replicates,
            analytic=analytic,
            by_slide=by_slide,
            resampled=Resampled(ratings.cluster_unit, scheme.n_raters, n_replicates > 0, chosen),
            notes=tuple(notes),
        )

    def interval(self, name: str, index: int | None = None) -> tuple[Interval, dict[str, object]]:
        """Interval of one figure, and what is told beside it.

        Parameters
        ----------
        name
            Key of :func:`consensus.statistics.figures.figures_of`.
        index
            Class or pair, where the figure has one each.
        """

        def column(figures: Figures) -> NDArray[np.float64]:
            return figures[name] if index is None else figures[name][:, index]

        k = self.n_clusters
        if name in _BY_PAIR and index is not None:
            k = int(self.pair_clusters[index])
        extra: dict[str, object] = {}
        if self.by_slide is not None:
            extra["median_over_slides"] = _median(column(self.by_slide))
        if self.resampled.asked:
            if name in _WHERE_NAMED and index is not None:
                k = int(self.class_clusters[index])
            drawn = self._drawn(column)
            proportion = name in _PROPORTIONS
            interval, beside = self.resampled.interval(drawn, k)
            extra.update(beside)
            if name not in _BY_PAIR:
                extra["with_raters"] = self.resampled.with_raters(drawn, k, proportion=proportion)
            return interval, extra
        if self.analytic is None:
            return AREAS_NEED_BOOTSTRAP, extra
        value = float(column(self.figures)[0])
        se, items = float(column(self.analytic.se)[0]), float(column(self.analytic.items)[0])
        if name in _PROPORTIONS:
            return proportion_interval(value, se, items, k), extra
        return mean_interval(value, se, items, self.analytic.method[name], k), extra

    def _drawn(self, column: Callable[[Figures], NDArray[np.float64]]) -> Drawn | None:
        made = self.replicates
        if made is None:
            return None
        return Drawn(
            value=float(column(self.figures)[0]),
            figures=column(made.figures),
            left_out=column(made.left_out),
            times=made.times,
            with_raters=None if made.with_raters is None else column(made.with_raters),
        )


def _median(values: NDArray[np.float64]) -> dict[str, object]:
    """Median over the slides that have the figure, and how many have and haven't."""
    defined = values[~np.isnan(values)]
    return {
        "value": float(np.median(defined)) if len(defined) else None,
        "slides": len(defined),
        "undefined": len(values) - len(defined),
    }


def _analytic(sample: Sample, figures: Figures) -> _Analytic:
    """Standard errors of all figures."""
    scheme, totals = sample.totals.scheme, sample.totals
    rated, paired = totals["items_rated"][0], float(totals["items_paired"][0])
    se: Figures = {}
    items: Figures = {}
    method: dict[str, str] = {}
    per_class = np.ones((1, scheme.n_classes))
    singles = {name: float(array[0]) for name, array in figures.items() if array.ndim == 1}
    for name, (error, n) in coefficient_errors(sample, singles).items():
        se[name], items[name], method[name] = np.full(1, error), np.full(1, n), ANALYTIC
    se["fleiss_class"] = class_fleiss_errors(sample, figures["fleiss_class"][0])[None]
    items["fleiss_class"], method["fleiss_class"] = rated * per_class, ANALYTIC
    for name, errors in pair_errors(sample, pair_tables(totals)).items():
        se[name], method[name] = errors[None], LINEARISED
        items[name] = np.full(se[name].shape, paired)
    items["pair_kappa"] = totals["first"].sum(axis=2)
    each = sample.feature("items_named")[:, None]
    ratios = {
        "dice": (sample.feature("both"), sample.feature("either")),
        "prevalence": (sample.feature("named"), each * per_class),
        "f1": (sample.feature("both_present")[:, None], sample.feature("either_present")[:, None]),
    }
    for name, (above, below) in ratios.items():
        errors, n_items = ratio_error(above, below, sample.times)
        se[name], items[name] = (errors, n_items) if name == "f1" else (errors[None], n_items[None])
    errors, n_items = pair_f1_errors(sample)
    se["pair_f1"], items["pair_f1"] = errors[None], n_items[None]
    return _Analytic(se, items, method)
