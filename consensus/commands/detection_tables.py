"""What `agreement` prints of objects: found by both, named alike, and how it hangs on the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annotation.terminal import table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["show_detection"]


def show_detection(console: Console, document: dict[str, Any]) -> None:
    """Print the detection part of an agreement document, if it is of objects."""
    found = document.get("detection", {})
    if "f1_strict" not in found:
        return
    strict, kappa = found["f1_strict"], found["kappa_found"]
    console.print(
        f"F1 of pairs that keep to the threshold (IoU {found['iou']:g}; {found['distance_um']:g} um "
        f"where one has no area): {_value(strict)}{_interval(strict)}; {found['found_by_both']:,} "
        f"found by both, kappa on these {_value(kappa)}.",
        markup=False,
    )
    console.print("Specific: of one rater's objects of a class, found and called so by another.")
    console.print(
        table(
            "Specific agreement",
            "class",
            "share",
            "remark",
            rows=[
                [name, _value(one), "" if one["status"] == "ok" else one["status"]]
                for name, one in found["specific"].items()
            ],
        )
    )
    rungs = found.get("thresholds", [])
    if rungs:
        console.print(
            table(
                "By threshold",
                "threshold",
                "found by both",
                "F1",
                "kappa on these",
                "remark",
                rows=[
                    [
                        _threshold(rung),
                        rung["found_by_both"],
                        _value(rung["f1"]),
                        _value(rung["kappa"]),
                        "; ".join(
                            dict.fromkeys(
                                rung[figure]["status"]
                                for figure in ("f1", "kappa")
                                if rung[figure]["status"] != "ok"
                            )
                        ),
                    ]
                    for rung in rungs
                ],
            )
        )


def _threshold(rung: dict[str, Any]) -> str:
    if rung["varied"] == "iou":
        return f"IoU {rung['iou']:g}"
    return f"{rung['distance_um']:.4g} um"


def _value(statistic: dict[str, Any]) -> str:
    return "-" if statistic["value"] is None else f"{statistic['value']:.3f}"


def _interval(statistic: dict[str, Any]) -> str:
    if statistic["ci_low"] is None:
        return ""
    return f" ({statistic['ci_low']:.3f} to {statistic['ci_high']:.3f})"
