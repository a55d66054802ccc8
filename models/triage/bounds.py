"""How sure a share of patients is: exact one-sided lower bounds, and how many patients they need.

References
----------
Clopper & Pearson (1934), doi:10.1093/biomet/26.4.404. Geifman & El-Yaniv (2017),
arXiv:1705.08500, on thresholds with a guaranteed risk.
"""

from __future__ import annotations

import math

from scipy.stats import betabinom
from statsmodels.stats.proportion import proportion_confint

__all__ = ["chance_to_pass", "lower_bound", "most_misses", "patients_needed"]


def lower_bound(caught: int, patients: int, confidence: float) -> float:
    """The share that ``caught`` of ``patients`` shows at least, at this one-sided confidence; exact."""
    if not patients:
        return 0.0
    low, _ = proportion_confint(caught, patients, alpha=2 * (1 - confidence), method="beta")
    return float(low) if caught else 0.0


def patients_needed(target: float, confidence: float) -> int:
    """The fewest patients that can show a share, where none of them is missed.

    ``target ** n`` is at most ``1 - confidence``.
    """
    wanted = math.ceil(math.log(1 - confidence) / math.log(target))
    # The logarithms may be off in their last digit.
    while lower_bound(wanted, wanted, confidence) < target:
        wanted += 1
    while wanted > 1 and lower_bound(wanted - 1, wanted - 1, confidence) >= target:
        wanted -= 1
    return wanted


def most_misses(patients: int, target: float, confidence: float) -> int:
    """How many of these patients may be missed so that the bound still reaches the target; -1: none
    of them, and even that is too few patients."""
    allowed = -1
    while allowed + 1 <= patients and (
        lower_bound(patients - allowed - 1, patients, confidence) >= target
    ):
        allowed += 1
    return allowed


def chance_to_pass(missed: int, patients: int, others: int, allowed: int) -> float:
    """How probable it is that ``others`` have at most ``allowed`` misses.

    The threshold is where ``missed`` of ``patients`` lie below it and the next lies upon it, so that
    the share below it is Beta(missed + 1, patients - missed), whatever the measure's distribution.

    References
    ----------
    David & Nagaraja (2003), Order Statistics, section 7.2, on coverages.
    """
    return float(betabinom.cdf(allowed, others, missed + 1, patients - missed))
