"""How good each rater was, by what the consensus holds to be true, with intervals.

The intervals come from drawing clusters (patients) anew while the consensus is held as it is:
they say how the figures vary with the patients read, not with the consensus, to which the rater
contributed.

Shapes: B replicates, C distinct clusters, U patterns, R raters, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.fused import Fused, RaterQuality
from consensus.fusion import staple_of_class
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.bootstrap_limits import IntervalName
from consensus.statistics.clusters import Clusters, clusters_of, few_clusters
from consensus.statistics.intervals import Drawn, Resampled
from consensus.statistics.patterns import Patterns, compress
from consensus.statistics.statistic import Interval

__all__ = [
    "REPLICATES",
    "QualityIntervals",
    "quality_basis",
    "quality_document",
    "staple_document",
]

REPLICATES = 1000

FIGURES = ("sensitivity", "specificity")

_CELLS = 1 << 23  # numbers in one temporary matrix: 64 MB

INTERVAL: IntervalName = "expanded"
"""As of agreement: BCa, widened for few clusters."""


def quality_basis(
    ratings: Ratings, fused: Fused, *, bootstrap: int, seed: int
) -> dict[str, object]:
    """What the figures of all raters rest on, as in the JSON document."""
    everywhere = ratings.negative is None or bool(ratings.joint_negatives)
    return {
        "against": "posterior" if fused.starts else "labels that are not open",
        "domain": "all that was rated" if everywhere else "what somebody marked",
        "intervals": "bootstrap over clusters, the consensus held fixed",
        "cluster_unit": ratings.cluster_unit,
        "bootstrap": bootstrap,
        "seed": seed,
    }


def quality_document(
    ratings: Ratings, fused: Fused, *, bootstrap: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """Each rater's figures by class, as in the JSON document.

    A sensitivity and a specificity always stand beside the weight they were taken over (um2 for
    areas, else items), as a larger domain raises a specificity without anybody rating better.
    """
    quality = fused.quality
    intervals = QualityIntervals.of(ratings, fused, bootstrap=bootstrap, seed=seed)
    areas = (ratings.codes != NOT_RATED).T @ ratings.weight
    return {
        rater: {
            "sensitivity": fused.sensitivity(index),
            "sensitivity_ci": _by_class(fused, intervals.sensitivity[index]),
            "sensitivity_over": _weights(fused, quality.of_class[index]),
            "specificity": fused.specificity(index),
            "specificity_ci": _by_class(fused, intervals.specificity[index]),
            "specificity_over": _weights(fused, quality.of_others[index]),
            "confusion": {
                name: _weights(fused, quality.confusion[index, row])
                for row, name in enumerate(fused.classes)
            },
            "domain_um2": float(areas[index]) if ratings.weight_unit == "um2" else None,
            "domain_weight": float(areas[index]),
        }
        for index, rater in enumerate(fused.raters)
    }


def staple_document(ratings: Ratings) -> dict[str, Any]:
    """STAPLE of each class against the rest, as in the JSON document."""
    return {name: _staple_of_class(ratings, name) for name in ratings.classes}


def _staple_of_class(ratings: Ratings, name: str) -> dict[str, Any]:
    fit = staple_of_class(ratings, name)
    return {
        "prevalence": fit.prevalence,
        "weight": float(ratings.weight @ (fit.posterior > 0.5)),
        "iterations": fit.iterations,
        "converged": fit.converged,
        "raters": {
            rater: {
                "sensitivity": _number(fit.sensitivity[index]),
                "sensitivity_over": float(fit.of_class[index]),
                "specificity": _number(fit.specificity[index]),
                "specificity_over": float(fit.of_others[index]),
            }
            for index, rater in enumerate(fit.raters)
        },
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _weights(fused: Fused, values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(fused.classes, values.tolist(), strict=True))


def _by_class(fused: Fused, intervals: tuple[Interval, ...]) -> dict[str, dict[str, object]]:
    return {
        name: {
            "se": one.se,
            "se_method": one.se_method,
            "ci_low": one.low,
            "ci_high": one.high,
            "ci_status": one.status,
        }
        for name, one in zip(fused.classes, intervals, strict=True)
    }


@dataclass(frozen=True)
class QualityIntervals:
    """Intervals of every rater's figures, by rater and class."""

    sensitivity: tuple[tuple[Interval, ...], ...]
    specificity: tuple[tuple[Interval, ...], ...]

    @classmethod
    def of(cls, ratings: Ratings, fused: Fused, *, bootstrap: int, seed: int) -> QualityIntervals:
        """Intervals over clusters, the consensus held fixed.

        What an interval rests on are the clusters in which the rater rated something that the
        consensus holds to be of the class (for a specificity: not of it); fewer than 5 give none.

        Parameters
        ----------
        bootstrap
            Replicates; 0 gives no interval.
        seed
            The same seed gives the same intervals, in whatever order raters and items stand.
        """
        if bootstrap < 0:
            raise InputError(f"{bootstrap} replicates are too few; give a number from 0 on")
        patterns = compress(ratings.codes, len(ratings.classes))
        clusters = clusters_of(ratings, patterns)
        truth = _of_patterns(patterns, fused.truth)
        labels = _of_patterns(patterns, fused.labels)
        resampled = Resampled(ratings.cluster_unit, len(ratings.raters), bootstrap > 0, INTERVAL)
        drawn = None
        if bootstrap and not few_clusters(clusters.n_clusters).startswith("undefined"):
            drawn = _draw(clusters, truth, bootstrap, seed)
        found: tuple[list[tuple[Interval, ...]], ...] = ([], [])
        for rater in range(len(ratings.raters)):
            holds = _clusters_with(clusters, labels, rater, len(ratings.classes))
            for kind, name in enumerate(FIGURES):
                value = getattr(fused.quality, name)[rater]
                found[kind].append(
                    tuple(
                        _interval(
                            resampled,
                            float(value[k]),
                            None if drawn is None else drawn.of(name, float(value[k]), rater, k),
                            int(holds[kind][k]),
                        )
                        for k in range(len(ratings.classes))
                    )
                )
        return cls(*(tuple(rows) for rows in found))


@dataclass(frozen=True, eq=False)
class _Replicates:
    """Raters' figures by name: of each replicate (R, B, K), and without one of each cluster (R, C, K)."""

    figures: dict[str, NDArray[np.float64]]
    left_out: dict[str, NDArray[np.float64]]
    times: NDArray[np.int64]

    def of(self, name: str, value: float, rater: int, k: int) -> Drawn:
        """The replicates of one figure."""
        return Drawn(
            value=value,
            figures=self.figures[name][rater, :, k],
            left_out=self.left_out[name][rater, :, k],
            times=self.times,
            with_raters=None,
        )


def _figures(confusion: NDArray[np.float64], n_classes: int) -> dict[str, NDArray[np.float64]]:
    """Figures of confusions (R, B, K true * K said)."""
    quality = RaterQuality(confusion.reshape(*confusion.shape[:2], n_classes, n_classes))
    return {name: getattr(quality, name) for name in FIGURES}


def _of_patterns(patterns: Patterns, of_items: NDArray[Any]) -> NDArray[Any]:
    """What items say, of each of their patterns: items of one pattern say the same."""
    some_item = np.zeros(len(patterns.codes), dtype=np.int64)
    some_item[patterns.of_item] = np.arange(len(patterns.of_item))
    return of_items[some_item]


def _clusters_with(
    clusters: Clusters, labels: NDArray[np.int64], rater: int, n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clusters in which a rater rated something of each class, and of something else, (K,)."""
    whole = clusters.weighted
    use = (whole.codes[whole.pattern, rater] != NOT_RATED) & (labels[whole.pattern] >= 0)
    held = np.zeros((len(clusters.times), n_classes), dtype=bool)
    held[whole.group[use], labels[whole.pattern[use]]] = True
    others = held.sum(axis=1, keepdims=True) - held > 0
    return clusters.times @ held, clusters.times @ others


def _interval(resampled: Resampled, value: float, drawn: Drawn | None, n_clusters: int) -> Interval:
    if np.isnan(value):
        return Interval("undefined: the consensus holds nothing of the kind")
    if not resampled.asked:
        return Interval("undefined: no replicates were asked for")
    interval, _ = resampled.interval(drawn, n_clusters)
    if interval.se_method is None:
        return interval
    return replace(interval, se_method=f"{interval.se_method}, the consensus held fixed")


def _draw(
    clusters: Clusters, truth: NDArray[np.float64], n_replicates: int, seed: int
) -> _Replicates:
    """Confusions of replicates that draw clusters with replacement, and of the jackknife."""
    sums = _of_clusters(clusters, truth)  # (R, C, K * K)
    n_raters, n_classes = len(sums), truth.shape[1]
    rng = np.random.default_rng(seed)
    chances = clusters.times / clusters.n_clusters
    replicates = np.empty((n_raters, n_replicates, n_classes**2))
    step = max(1, _CELLS // len(clusters.times))
    for start in range(0, n_replicates, step):
        some = slice(start, min(start + step, n_replicates))
        size = some.stop - start
        often = rng.multinomial(clusters.n_clusters, chances, size=size).astype(np.float64)
        replicates[:, some] = often @ sums
    whole = np.tensordot(sums, clusters.times, axes=(1, 0))  # (R, K * K)
    rest = np.maximum(whole[:, None] - sums, 0.0)  # rounding may leave a little less than nothing
    return _Replicates(_figures(replicates, n_classes), _figures(rest, n_classes), clusters.times)


def _of_clusters(clusters: Clusters, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Confusions of each rater in each distinct cluster, (R, C, K true * K said)."""
    from scipy.sparse import csr_array

    whole = clusters.weighted
    shape = len(clusters.times), len(whole.codes)
    held = csr_array((whole.weight, (whole.group, whole.pattern)), shape=shape)
    n_classes = truth.shape[1]
    sums = np.empty((whole.codes.shape[1], shape[0], n_classes**2))
    for rater, said in enumerate(whole.codes.T):
        says = (said[:, None] == np.arange(n_classes)).astype(np.float64)  # (U, K said)
        sums[rater] = held @ (truth[:, :, None] * says[:, None, :]).reshape(shape[1], -1)
    return sums
