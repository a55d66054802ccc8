"""Standard errors and 95 % intervals of figures, analytic or from replicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.bootstrap_limits import (
    CONFIDENCE,
    IntervalName,
    Limits,
    bca_limits,
    percentile_limits,
    quantile,
)
from consensus.statistics.clusters import few_clusters
from consensus.statistics.resampling import MIN_RATERS
from consensus.statistics.statistic import Interval

__all__ = [
    "AREAS_NEED_BOOTSTRAP",
    "Drawn",
    "Resampled",
    "mean_interval",
    "proportion_interval",
]

FEW_RATERS = 10
_NO_VARIANCE = 1e-24
MAX_UNDEFINED = 0.05
"""Above this part of undefined replicates the rest says little about the statistic."""

METHODS: dict[IntervalName, str] = {
    "expanded": "expanded BCa",
    "bca": "BCa",
    "percentile": "percentile",
}

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
class Drawn:
    """The replicates of one figure.

    Parameters
    ----------
    value
        Of all clusters and raters.
    figures, with_raters : shape (B,)
        Clusters resampled; clusters and raters resampled, None where that is not done. NaN
        where a replicate has no value.
    left_out, times : shape (C,)
        The figure without one of each distinct cluster, and how many are alike.
    """

    value: float
    figures: NDArray[np.float64]
    left_out: NDArray[np.float64]
    times: NDArray[np.int64]
    with_raters: NDArray[np.float64] | None


@dataclass(frozen=True)
class Resampled:
    """Turns the replicates of one figure into its intervals.

    Parameters
    ----------
    cluster_unit, n_raters
        For what the interval is said to be about.
    asked
        Whether replicates were asked for; too few clusters allow none.
    chosen
        The interval that stands as the limits; all of them stand beside it.
    """

    cluster_unit: str
    n_raters: int
    asked: bool
    chosen: IntervalName

    def interval(self, drawn: Drawn | None, n_clusters: int) -> tuple[Interval, dict[str, object]]:
        """The interval for these raters, and what is told beside it.

        Parameters
        ----------
        n_clusters
            Clusters that the figure rests on.
        """
        status = few_clusters(n_clusters)
        beside: dict[str, object] = {"interval_clusters": n_clusters}
        if drawn is None:
            return Interval(status), beside
        defined, counted, reason = _defined(drawn.figures)
        beside |= counted
        if status.startswith("undefined"):
            return Interval(status), beside
        if reason:
            return Interval(reason), beside
        z, wide = quantile(), quantile(n_clusters)
        each = {
            "expanded": bca_limits(drawn.value, defined, drawn.left_out, drawn.times, wide),
            "bca": bca_limits(drawn.value, defined, drawn.left_out, drawn.times, z),
            "percentile": percentile_limits(defined, z),
        }
        method = f"bootstrap over clusters ({self.cluster_unit}), {METHODS[self.chosen]} interval"
        se = float(defined.std(ddof=1))
        made = {name: _interval(limits, status, se, method) for name, limits in each.items()}
        beside["intervals"] = {name: _limits_told(one) for name, one in made.items()}
        return made[self.chosen], beside

    def with_raters(
        self, drawn: Drawn | None, n_clusters: int, *, proportion: bool
    ) -> Mapping[str, object]:
        """The interval for other raters like these, labelled as such.

        Percentiles over a handful of raters end where the replicates do, and there is no one
        acceleration of two samples that cross. So this is Student's interval on the standard
        error of the replicates, whose degrees of freedom count clusters and raters each by
        its part of the variance (Satterthwaite 1946, doi:10.2307/3002019).

        Parameters
        ----------
        n_clusters
            Clusters that the figure rests on.
        proportion
            Whether the figure is never below 0.
        """
        status = few_clusters(n_clusters)
        if self.n_raters < MIN_RATERS and not status.startswith("undefined"):
            status = f"undefined: {self.n_raters} raters"
        elif status == "ok" and self.n_raters < FEW_RATERS:
            status = "few raters"
        made = None if drawn is None else drawn.with_raters
        interval = Interval(status)
        counted: dict[str, object] = {}
        if drawn is not None and made is not None:
            defined, counted, reason = _defined(made)
            reason = reason or _defined(drawn.figures)[2]
            if not status.startswith("undefined"):
                interval = (
                    Interval(reason)
                    if reason
                    else self._student(drawn, defined, status, n_clusters, proportion)
                )
        return {
            "se": interval.se,
            "se_method": interval.se_method,
            **_limits_told(interval),
            **counted,
        }

    def _student(
        self,
        drawn: Drawn,
        defined: NDArray[np.float64],
        status: str,
        n_clusters: int,
        proportion: bool,
    ) -> Interval:
        from scipy.special import stdtrit

        both = float(defined.var(ddof=1))
        if both <= _NO_VARIANCE:
            return Interval("undefined: all replicates are alike")
        of_clusters = float(np.nanvar(drawn.figures, ddof=1))
        of_raters = max(both - of_clusters, 0.0)
        freedom = both**2 / (of_clusters**2 / (n_clusters - 1) + of_raters**2 / (self.n_raters - 1))
        # below that only where chance gave the clusters more variance than both together
        freedom = max(freedom, min(n_clusters, self.n_raters) - 1)
        half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * both**0.5
        low, high = drawn.value - half, min(drawn.value + half, 1.0)
        method = f"bootstrap over clusters ({self.cluster_unit}) and raters, Student's t interval"
        return _interval((max(low, 0.0) if proportion else low, high), status, both**0.5, method)


def _defined(
    replicates: NDArray[np.float64],
) -> tuple[NDArray[np.float64], dict[str, object], str | None]:
    """Replicates with a value, how many have one, and why the others are too many."""
    n = len(replicates)
    defined = replicates[~np.isnan(replicates)]
    n_undefined = n - len(defined)
    reason = None
    if len(defined) < 2 or n_undefined > MAX_UNDEFINED * n:
        reason = f"undefined: no value in {n_undefined} of {n} replicates"
    return defined, {"replicates": n, "replicates_undefined": n_undefined}, reason


def _interval(limits: Limits, status: str, se: float, method: str) -> Interval:
    if isinstance(limits, str):
        return Interval(f"undefined: {limits}", se=se, se_method=method)
    return Interval(status, *limits, se, method)


def _limits_told(interval: Interval) -> dict[str, object]:
    return {
        "ci_low": interval.low,
        "ci_high": interval.high,
        "ci_status": interval.status,
    }
