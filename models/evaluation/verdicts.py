"""What a paired difference shows, in one sentence that claims no more than its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.reporting.numbers import number_text

__all__ = ["verdict"]


def verdict(difference: Mapping[str, Any], other: str, figure: str) -> str:
    """How the model stands to another, by a figure of which more is better.

    Parameters
    ----------
    difference
        The statistic of the model's figure less the other's.
    other, figure
        What they are called.
    """
    value = difference["value"]
    if value is None:
        return f"{figure} is not comparable with that of {other}: {difference['status']}"
    low, high = difference["ci_low"], difference["ci_high"]
    apart = f"{figure} beside {other}: {'+' if value > 0 else ''}{number_text(value)}"
    if low is None:
        return f"{apart}, without an interval ({difference['ci_status']}): nothing is shown"
    apart = f"{apart}, 95 % interval {number_text(low)} to {number_text(high)}"
    if low > 0:
        return f"{apart}: the model is better"
    if high < 0:
        return f"{apart}: the model is worse"
    return f"{apart}: no difference is shown"
