"""What the report says of boundaries: the figures with and without strips along them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consensus.reporting.numbers import (
    AreaScale,
    ShownStatistic,
    length_text,
    percent_text,
    shown,
)

__all__ = ["BoundaryRow", "BoundarySection", "boundary_section"]


@dataclass(frozen=True)
class BoundaryRow:
    """One figure, with strips and without."""

    title: str
    whole: ShownStatistic
    kept: ShownStatistic


@dataclass(frozen=True)
class BoundarySection:
    """How wide strips are, how much lies in them, and what the figures are without."""

    tolerance: str
    left_out: str
    share: str
    rows: list[BoundaryRow]

    @property
    def figures(self) -> list[ShownStatistic]:
        """All that may have an interval."""
        return [row.kept for row in self.rows]


def boundary_section(
    document: Mapping[str, Any], coefficients: Mapping[str, str]
) -> BoundarySection | None:
    """The part of an agreement document; None where it has none.

    Parameters
    ----------
    coefficients
        Titles of the coefficients that stand on the page, by name.
    """
    boundary = document.get("boundary")
    if not boundary:
        return None
    rows = [
        BoundaryRow(f"Kappa of {name}", shown(entry["kappa"]), shown(kept["kappa"]))
        for (name, entry), kept in zip(
            document["per_class"].items(), boundary["per_class"].values(), strict=True
        )
    ]
    rows += [
        BoundaryRow(title, shown(document["coefficients"][name]), shown(kept))
        for name, title in coefficients.items()
        if (kept := boundary["coefficients"].get(name)) is not None
    ]
    left_out_um2, disputed_um2 = boundary["left_out_um2"], boundary["disputed_um2"]
    scale = AreaScale.of([left_out_um2, disputed_um2])
    return BoundarySection(
        tolerance=length_text(boundary["tolerance_um"]),
        left_out=f"{scale.text(left_out_um2)} {scale.unit}",
        share=percent_text(left_out_um2 / disputed_um2 if disputed_um2 else 0.0),
        rows=rows,
    )
