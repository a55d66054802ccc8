"""What `agreement` says of strips along boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotation.terminal import table
from consensus.commands.comparison_tables import interval_text, value_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["show_boundary"]


def show_boundary(
    console: Console, document: Mapping[str, Any], coefficients: Mapping[str, str]
) -> None:
    """Print the figures with and without strips, if there are any without.

    Parameters
    ----------
    coefficients
        Titles by name.
    """
    boundary = document.get("boundary")
    if not boundary:
        return
    left_out_um2, disputed_um2 = boundary["left_out_um2"], boundary["disputed_um2"]
    share = left_out_um2 / disputed_um2 if disputed_um2 else 0.0
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        (f"kappa of {name}", entry["kappa"], boundary["per_class"][name]["kappa"])
        for name, entry in document["per_class"].items()
    ]
    pairs += [
        (title, document["coefficients"][name], boundary["coefficients"][name])
        for name, title in coefficients.items()
    ]
    console.print(
        table(
            f"Without strips up to {boundary['tolerance_um']:g} um wide "
            f"({left_out_um2 / 1e6:.3g} mm2, {share:.1%} of what is disputed)",
            "figure",
            "with them",
            "95% interval",
            "without",
            "95% interval",
            rows=[
                [
                    title,
                    value_text(whole),
                    interval_text(whole),
                    value_text(kept),
                    interval_text(kept),
                ]
                for title, whole, kept in pairs
            ],
        )
    )
