"""Figures with intervals over patients: each figure is a function of how often a patient counts.

All figures of one set of items share their draws, so that a difference of two is paired: what two
models share, as hard patients, falls out of it.

Shapes: n items, C patients, B replicates.

References
----------
Field & Welsh (2007), doi:10.1111/j.1467-9868.2007.00593.x, on resampling whole clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.agreement import check_resampling
from consensus.statistics.clusters import MIN_CLUSTERS, few_clusters
from consensus.statistics.intervals import Drawn, Resampled
from consensus.statistics.resampling import times_drawn
from consensus.statistics.statistic import Interval, Statistic

__all__ = ["Evaluate", "Figure", "PatientDraws", "difference"]

Evaluate = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A figure, (B,), of how often each patient counts, (B, C); NaN where it has no value."""


@dataclass(frozen=True)
class Figure:
    """A figure to compute.

    Attributes
    ----------
    evaluate
        Its formula.
    reason
        Why it has no value, where it has none.
    patients
        How many it rests on; None: all.
    """

    evaluate: Evaluate
    reason: str
    patients: int | None = None


def difference(one: Figure, other: Figure) -> Figure:
    """By how much one figure exceeds another on the same items."""

    def evaluate(often: NDArray[np.float64]) -> NDArray[np.float64]:
        apart: NDArray[np.float64] = one.evaluate(often) - other.evaluate(often)
        return apart

    return Figure(evaluate, one.reason, one.patients)


@dataclass(frozen=True, eq=False)
class PatientDraws:
    """The patients of n items, and how often each replicate has drawn each of them.

    Attributes
    ----------
    patient : shape (n,)
        Of each item, from 0 to C - 1.
    often : shape (B, C)
        No row where there are too few patients for an interval.
    """

    patient: NDArray[np.int64]
    n_patients: int
    often: NDArray[np.float64]

    @classmethod
    def of(cls, group: NDArray[np.int64], *, replicates: int, seed: int) -> PatientDraws:
        """Draw the patients of items.

        Parameters
        ----------
        group : shape (n,)
            The patient of each item, by any code.
        replicates
            B; 0 gives figures without intervals.
        """
        check_resampling(replicates, seed)
        codes, patient = np.unique(group, return_inverse=True)
        n_patients = len(codes)
        drawn = replicates if n_patients >= MIN_CLUSTERS else 0
        often = np.zeros((0, n_patients))
        if drawn:
            rng = np.random.default_rng(seed)
            ones = np.ones(n_patients, dtype=np.int64)
            often = times_drawn(rng, np.full(drawn, n_patients), ones)
        return cls(patient.reshape(-1).astype(np.int64), n_patients, often)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over each patient's items of their values (n,), shape (C,)."""
        summed = np.bincount(self.patient, weights=values, minlength=self.n_patients)
        return summed.astype(np.float64, copy=False)

    def count(self, items: NDArray[np.bool_]) -> int:
        """How many patients have any of these items."""
        return len(np.unique(self.patient[items]))

    def statistic(self, figure: Figure) -> Statistic:
        """The figure with its interval, or the reason why there is none."""
        whole = np.ones((1, self.n_patients))
        value = float(figure.evaluate(whole)[0]) if self.n_patients else np.nan
        if np.isnan(value):
            return Statistic.undefined(figure.reason)
        patients = self.n_patients if figure.patients is None else figure.patients
        if not len(self.often):
            status = few_clusters(patients)
            if not status.startswith("undefined"):
                status = "undefined: no bootstrap was asked for"
            return Statistic.of(value, Interval(status), interval_clusters=patients)
        drawn = Drawn(
            value,
            figure.evaluate(self.often),
            figure.evaluate(1.0 - np.eye(self.n_patients)),
            np.ones(self.n_patients, dtype=np.int64),
            None,
        )
        made = Resampled("patient", n_raters=0, asked=True, chosen="expanded")
        interval, beside = made.interval(drawn, patients)
        return Statistic.of(value, interval, **beside)

    def statistics(self, figures: Mapping[str, Figure]) -> dict[str, Statistic]:
        """Each of the figures with its interval."""
        return {name: self.statistic(figure) for name, figure in figures.items()}
