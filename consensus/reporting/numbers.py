"""How numbers stand on the report's page: sensible digits, units, and reasons in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

__all__ = [
    "AreaScale",
    "ShownStatistic",
    "area_um2_text",
    "count_text",
    "length_text",
    "marks_of",
    "moment_text",
    "number_text",
    "percent_text",
    "shown",
    "signed",
]

MINUS: Final = "\N{MINUS SIGN}"
UM_PER_MM: Final = 1000.0
UM2_PER_MM2: Final = 1e6

MARKS: Final = {"few clusters": "†", "few raters": "‡"}
"""What stands behind an interval of this status."""


def number_text(value: float) -> str:
    """A coefficient with two decimals; what is not 1 never looks like 1."""
    if 0.995 <= value < 1:
        return ">0.99"
    if -1 < value <= -0.995:
        return f"<{MINUS}0.99"
    text = f"{value:.2f}"
    return text.replace("-", MINUS) if float(text) else "0.00"


def percent_text(share: float) -> str:
    """A share as a percentage; what is not all or nothing never looks like it."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{100 * share:.1f} %"


def count_text(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{round(number):,}"


def area_um2_text(area_um2: float) -> str:
    """An area as whole square microns."""
    return "<1" if 0 < area_um2 < 0.5 else count_text(area_um2)


def length_text(length_um: float) -> str:
    """A length with its unit, in millimetres from one on."""
    if length_um >= UM_PER_MM:
        return f"{length_um / UM_PER_MM:.3g} mm"
    return f"{length_um:.3g} µm"


def moment_text(at: datetime) -> str:
    """A moment in UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class AreaScale:
    """One unit and one number of decimals for a column of areas."""

    unit: str
    um2_per_unit: float
    decimals: int

    @classmethod
    def of(cls, areas_um2: Iterable[float]) -> AreaScale:
        """The scale that shows the largest of these areas with about five digits."""
        largest = max(areas_um2, default=0.0)
        if largest < UM2_PER_MM2 / 10:
            return cls("µm²", 1.0, 0)
        whole_digits = len(str(int(largest / UM2_PER_MM2)))
        return cls("mm²", UM2_PER_MM2, max(0, 5 - whole_digits))

    def text(self, area_um2: float) -> str:
        """The area without its unit, which stands in the column's head."""
        value = area_um2 / self.um2_per_unit
        least = 10.0**-self.decimals
        if 0 < value < least / 2:
            return f"<{least:.{self.decimals}f}"
        return f"{value:,.{self.decimals}f}"


@dataclass(frozen=True)
class ShownStatistic:
    """A statistic in the words of the page.

    ``text`` is the figure, or ``undefined: <reason>``, and then ``defined`` is False and the rest
    is empty. Intervals that rest on little end in one of :data:`MARKS`.
    """

    text: str
    defined: bool
    interval: str = ""
    with_raters: str = ""
    median: str = ""


def shown(statistic: Mapping[str, Any], *, as_percent: bool = False) -> ShownStatistic:
    """A statistic of the agreement document in the words of the page."""
    write = percent_text if as_percent else number_text
    if statistic["value"] is None:
        return ShownStatistic(str(statistic["status"]), defined=False)
    median = statistic.get("median_over_slides") or {"value": None}
    other_raters = statistic.get("with_raters")
    return ShownStatistic(
        text=write(statistic["value"]),
        defined=True,
        interval=_interval(statistic, as_percent),
        with_raters=_interval(other_raters, as_percent) if other_raters else "",
        median="" if median["value"] is None else write(median["value"]),
    )


def signed(statistic: Mapping[str, Any]) -> ShownStatistic:
    """A difference in the words of the page: what is above zero bears its sign."""
    difference = shown(statistic)
    value = statistic["value"]
    if value is None or value <= 0 or difference.text == number_text(0.0):
        return difference
    return replace(difference, text=f"+{difference.text}")


def marks_of(figures: Iterable[ShownStatistic]) -> dict[str, str]:
    """The marks behind the intervals of figures, and what they stand for."""
    texts = [figure.interval + figure.with_raters for figure in figures]
    return {mark: why for why, mark in MARKS.items() if any(mark in text for text in texts)}


def _interval(statistic: Mapping[str, Any], as_percent: bool) -> str:
    """Confidence limits, or the reason why there are none."""
    low, high = statistic["ci_low"], statistic["ci_high"]
    if low is None or high is None:
        return str(statistic["ci_status"])
    text = (
        f"{percent_text(low).removesuffix(' %')} to {percent_text(high)}"
        if as_percent
        else f"{number_text(low)} to {number_text(high)}"
    )
    mark = MARKS.get(str(statistic["ci_status"]))
    return f"{text} {mark}" if mark else text
