"""What the report says of what each rater said where the consensus said otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.reporting.numbers import AreaScale

__all__ = ["COLUMNS", "ConfusionPart", "ConfusionSection", "confusion_section"]

COLUMNS: Final = 6
"""Classes beside each other; more go into a further table, so that paper shows all."""


@dataclass(frozen=True)
class ConfusionPart:
    """Some columns of the tables of all raters.

    ``raters`` holds of each rater a row for each class of the consensus: its name, and for each of
    ``columns`` the amount and whether it is the same class.
    """

    columns: list[str]
    raters: list[tuple[str, list[tuple[str, list[tuple[str, bool]]]]]]


@dataclass(frozen=True)
class ConfusionSection:
    """The confusion tables of a run; ``unit`` is one of area, or None where items are counted."""

    against: str
    unit: str | None
    parts: list[ConfusionPart]


def confusion_section(
    summary: Mapping[str, Any], classes: Sequence[str]
) -> ConfusionSection | None:
    """The confusion tables in a run's summary; None for a run that was made before it had them.

    Parameters
    ----------
    classes
        The run's classes, in their order.
    """
    of_raters: Mapping[str, Any] = summary.get("raters_quality", {})
    tables = {rater: one["confusion"] for rater, one in of_raters.items() if "confusion" in one}
    if not tables:
        return None
    areal = summary["weight_unit"] == "um2"
    amounts = [
        amount for table in tables.values() for row in table.values() for amount in row.values()
    ]
    scale = AreaScale.of(amounts) if areal else AreaScale("", 1.0, 0)
    return ConfusionSection(
        against=summary["quality_basis"]["against"],
        unit=scale.unit if areal else None,
        parts=[
            _part(tables, classes, list(classes[start : start + COLUMNS]), scale)
            for start in range(0, len(classes), COLUMNS)
        ],
    )


def _part(
    tables: Mapping[str, Any], classes: Sequence[str], columns: list[str], scale: AreaScale
) -> ConfusionPart:
    return ConfusionPart(
        columns,
        [
            (
                rater,
                [
                    (name, [(_amount(table[name][said], scale), said == name) for said in columns])
                    for name in classes
                ],
            )
            for rater, table in tables.items()
        ],
    )


def _amount(amount: float, scale: AreaScale) -> str:
    """An amount; what never happened is a plain 0 among so many."""
    return scale.text(amount) if amount else "0"
