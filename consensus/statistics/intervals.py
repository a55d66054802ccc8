"""Standard errors and 95 % intervals of figures, analytic or from replicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.clusters import few_clusters
from consensus.statistics.resampling import MIN_RATERS
from consensus.statistics.statistic import Interval

__all__ = [
    "AREAS_NEED_BOOTSTRAP",
    "Resampled",
    "mean_interval",
    "proportion_interval",
]

FEW_RATERS = 10
CONFIDENCE = 0.95
MAX_UNDEFINED = 0.05
"""Above this part of undefined replicates the rest says little about the statistic."""

AREAS_NEED_BOOTSTRAP = Interval("undefined: areas are not counts; resample clusters (bootstrap)")


def mean_interval(value: float, se: float, n: float, method: str, n_clusters: int) -> Interval:
    """Interval by Student's t with n - 1 degrees of freedom, cut at 1, as irrCAC prints it.

    Parameters
    ----------
    n
        Items that the standard error rests on.
    n_clusters
        What the status is about.
    """
    from scipy.special import stdtrit

    status = few_clusters(n_clusters)
    if np.isnan(se) or n < 2:
        return Interval("undefined: no variance estimate from so few items")
    if status.startswith("undefined"):
        return Interval(status, se=float(se), se_method=method)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * float(se)
    return Interval(status, float(value - half), float(min(value + half, 1.0)), float(se), method)


def proportion_interval(value: float, se: float, n: float, n_clusters: int) -> Interval:
    """Wilson's interval at the effective number of items.

    A proportion over items that hold several ratings varies as one over fewer independent
    items would: ``p (1 - p) / se**2`` of them. At 0 and 1 the standard error says nothing,
    and the number of items stands in.

    References
    ----------
    Wilson (1927), doi:10.1080/01621459.1927.10502953. Korn & Graubard (1998), Survey
    Methodology 24, for the effective sample size.
    """
    from statsmodels.stats.proportion import proportion_confint

    status = few_clusters(n_clusters)
    if np.isnan(se) or n < 1:
        return Interval("undefined: no variance estimate from so few items")
    method = "analytic (ratio over items; Wilson interval)"
    if status.startswith("undefined"):
        return Interval(status, se=float(se), se_method=method)
    effective = value * (1 - value) / se**2 if 0 < value < 1 and se > 0 else n
    low, high = proportion_confint(value * effective, effective, 1 - CONFIDENCE, method="wilson")
    return Interval(status, float(low), float(high), float(se), method)


@dataclass(frozen=True)
class Resampled:
    """Turns the replicates of one figure into its interval.

    Parameters
    ----------
    cluster_unit, n_raters
        For what the interval is said to be about.
    asked
        Whether replicates were asked for; too few clusters allow none.
    """

    cluster_unit: str
    n_raters: int
    asked: bool

    def interval(
        self, replicates: NDArray[np.float64] | None, n_clusters: int
    ) -> tuple[Interval, dict[str, object]]:
        """Percentile interval, and how many replicates there were and had no value."""
        if replicates is None:
            return Interval(few_clusters(n_clusters)), {}
        method = f"bootstrap over clusters ({self.cluster_unit}), percentile interval"
        return self._percentiles(replicates, few_clusters(n_clusters), method)

    def with_raters(
        self, replicates: NDArray[np.float64] | None, n_clusters: int
    ) -> Mapping[str, object]:
        """The interval for other raters like these, labelled as such."""
        status = few_clusters(n_clusters)
        if self.n_raters < MIN_RATERS and not status.startswith("undefined"):
            status = f"undefined: {self.n_raters} raters"
        elif status == "ok" and self.n_raters < FEW_RATERS:
            status = "few raters"
        method = f"bootstrap over clusters ({self.cluster_unit}) and raters, percentile interval"
        interval, counted = (
            (Interval(status), {})
            if replicates is None
            else self._percentiles(replicates, status, method)
        )
        return {
            "se": interval.se,
            "se_method": interval.se_method,
            "ci_low": interval.low,
            "ci_high": interval.high,
            "ci_status": interval.status,
            **counted,
        }

    @staticmethod
    def _percentiles(
        replicates: NDArray[np.float64], status: str, method: str
    ) -> tuple[Interval, dict[str, object]]:
        n = len(replicates)
        defined = replicates[~np.isnan(replicates)]
        n_undefined = n - len(defined)
        counted: dict[str, object] = {"replicates": n, "replicates_undefined": n_undefined}
        if status.startswith("undefined"):
            return Interval(status), counted
        if len(defined) < 2 or n_undefined > MAX_UNDEFINED * n:
            return Interval(f"undefined: no value in {n_undefined} of {n} replicates"), counted
        tail = (1 - CONFIDENCE) / 2
        low, high = np.percentile(defined, [100 * tail, 100 * (1 - tail)])
        se = float(defined.std(ddof=1))
        return Interval(status, float(low), float(high), se, method), counted
