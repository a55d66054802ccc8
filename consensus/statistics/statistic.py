"""A figure with its uncertainty, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Interval", "Statistic"]


@dataclass(frozen=True, slots=True)
class Interval:
    """Standard error and 95 % confidence limits, and how they were come by.

    ``status`` is ``ok``, ``few clusters`` or ``undefined: <reason>``; then there are no limits.
    """

    status: str
    low: float | None = None
    high: float | None = None
    se: float | None = None
    se_method: str | None = None


@dataclass(frozen=True, slots=True)
class Statistic:
    """One reported figure.

    ``status`` is ``ok`` or ``undefined: <reason>``, and then ``value`` is None: a figure that
    can't be computed is never NaN and never a perfect 1.
    """

    value: float | None
    se: float | None
    se_method: str | None
    ci_low: float | None
    ci_high: float | None
    ci_status: str
    status: str
    extra: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def undefined(cls, reason: str, **extra: object) -> Statistic:
        """A statistic that can't be computed, and why."""
        status = f"undefined: {reason}"
        return cls(None, None, None, None, None, status, status, extra)

    @classmethod
    def of(cls, value: float, interval: Interval, **extra: object) -> Statistic:
        """A statistic with its interval."""
        return cls(
            float(value),
            interval.se,
            interval.se_method if interval.se is not None else None,
            interval.low,
            interval.high,
            interval.status,
            "ok",
            extra,
        )

    def to_dict(self) -> dict[str, object]:
        """Plain numbers and text, as in the JSON document."""
        return {
            "value": self.value,
            "se": self.se,
            "se_method": self.se_method,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "ci_status": self.ci_status,
            "status": self.status,
            **self.extra,
        }
