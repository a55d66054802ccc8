"""How far raters agree: the door to every figure about ratings.

``agreement(ratings, weights="nominal").to_dict()`` is the JSON document of the command.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.ratings import Ratings
from consensus.statistics.bootstrap_limits import interval_name
from consensus.statistics.figures import figures_of
from consensus.statistics.findings import Findings, PairAgreement, PairDetection
from consensus.statistics.patterns import Patterns, WeightedPatterns, compress
from consensus.statistics.precision import Precision
from consensus.statistics.standard_errors import Sample
from consensus.statistics.statistic import Statistic
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts
from consensus.statistics.weights import disagreement_weights

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True)
class Agreement:
    """Everything that is reported about ratings.

    ``kappa_on`` says what the chance-corrected figures are about: ``all rated``, or
    ``placed by both`` where nothing is negative for everyone. ``clusters`` are what the
    intervals rest on, ``interval`` is their kind where they come from replicates, and ``notes``
    are what their reader has to know.
    """

    items: int
    raters: tuple[str, ...]
    classes: tuple[str, ...]
    weights: str
    weight_unit: str
    domain_um2: float | None
    cluster_unit: str
    clusters: int
    kappa_on: str
    bootstrap: int
    seed: int
    interval: str | None
    coefficients: dict[str, Statistic]
    per_class: dict[str, dict[str, Statistic]]
    f1: Statistic
    f1_pairs: tuple[PairDetection, ...]
    pairs: tuple[PairAgreement, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The document, of plain numbers and text."""
        return {
            "items": self.items,
            "raters": list(self.raters),
            "classes": list(self.classes),
            "weights": self.weights,
            "weight_unit": self.weight_unit,
            "domain_um2": self.domain_um2,
            "cluster_unit": self.cluster_unit,
            "clusters": self.clusters,
            "kappa_on": self.kappa_on,
            "bootstrap": self.bootstrap,
            "seed": self.seed,
            "interval": self.interval,
            "coefficients": {name: one.to_dict() for name, one in self.coefficients.items()},
            "per_class": {
                name: {kind: one.to_dict() for kind, one in figures.items()}
                for name, figures in self.per_class.items()
            },
            "detection": {
                "f1": self.f1.to_dict(),
                "pairs": [pair.to_dict() for pair in self.f1_pairs],
            },
            "pairs": [pair.to_dict() for pair in self.pairs],
            "notes": list(self.notes),
        }


def agreement(
    ratings: Ratings,
    *,
    weights: str | NDArray[np.float64],
    bootstrap: int = 0,
    seed: int = 0,
    interval: str = "expanded",
) -> Agreement:
    """All agreement figures of ratings, with intervals.

    Parameters
    ----------
    weights
        ``nominal``, ``linear`` or ``quadratic``, or a matrix of disagreements between classes.
    bootstrap
        Replicates over clusters; 0 gives analytic intervals where weights are counts, and
        none where they are areas.
    seed
        Of the bootstrap; the same seed gives the same intervals.
    interval
        Which interval from replicates stands as the limits: one of
        :data:`consensus.statistics.bootstrap_limits.INTERVALS`. The others stand beside it.

    Raises
    ------
    UnorderedClassesError
        Linear or quadratic weights on classes without an order.
    """
    if bootstrap < 0:
        raise InputError(f"--bootstrap {bootstrap} is negative; give a number of replicates, or 0")
    if seed < 0:
        raise InputError(f"--seed {seed} is negative; give a whole number from 0 on")
    chosen = interval_name(interval)
    disagreement = disagreement_weights(weights, ratings.classes, ratings.rank)
    scheme = Scheme.of(ratings, disagreement)
    patterns = compress(ratings.codes, scheme.n_classes)
    pattern_weight = patterns.totals(ratings.weight)
    counts = rater_counts(patterns.codes, scheme.n_classes)
    features = item_features(scheme, counts)
    whole = _as_one_group(patterns, pattern_weight)
    totals = Totals(scheme, group_totals(scheme, whole, features))
    named = counts * scheme.places
    placed = scheme.compared(named, named.sum(axis=1) * (named.sum(axis=1) - 1))
    sample = Sample(patterns.codes, pattern_weight, placed, features, totals)
    figures = figures_of(totals)
    precision = Precision.of(ratings, patterns, sample, figures, bootstrap, seed, chosen)
    pattern_items = pattern_weight
    if not scheme.counts:
        pattern_items = patterns.totals((ratings.weight > 0).astype(np.float64))
    findings = Findings(
        ratings, patterns, totals, figures, precision, pattern_items, pattern_weight
    )
    nominal = isinstance(weights, str) and weights == "nominal"
    return Agreement(
        items=findings.n_items,
        raters=ratings.raters,
        classes=ratings.classes,
        weights=weights if isinstance(weights, str) else "custom",
        weight_unit=ratings.weight_unit,
        domain_um2=ratings.domain_um2,
        cluster_unit=ratings.cluster_unit,
        clusters=precision.n_clusters,
        kappa_on="placed by both" if scheme.placed_only else "all rated",
        bootstrap=bootstrap,
        seed=seed,
        interval=chosen if bootstrap else None,
        coefficients=findings.coefficients(nominal=nominal),
        per_class=findings.per_class(nominal=nominal),
        f1=findings.f1(),
        f1_pairs=findings.f1_pairs(),
        pairs=findings.pairs(),
        notes=ratings.notes + precision.notes,
    )


def _as_one_group(patterns: Patterns, weight: NDArray[np.float64]) -> WeightedPatterns:
    used = np.flatnonzero(weight > 0)
    none = np.zeros(len(used), dtype=np.int64)
    return WeightedPatterns(patterns.codes, np.zeros(1, dtype=np.int64), none, used, weight[used])
