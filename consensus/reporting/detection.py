"""What the report says of objects: did raters find the same, and did they name it the same?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.reporting.numbers import ShownStatistic, count_text, percent_text, shown

__all__ = ["DetectionSection", "Ladder", "Rung", "detection_section"]

TITLES: Final = {"iou": "Overlap (IoU)", "distance_um": "Distance"}
"""What a ladder of thresholds varies."""


@dataclass(frozen=True)
class Rung:
    """What two raters both found where this threshold counts as found."""

    threshold: str
    of_protocol: bool
    found_by_both: str
    f1: ShownStatistic
    kappa: ShownStatistic


@dataclass(frozen=True)
class Ladder:
    """One threshold varied, and what stays as the protocol has it."""

    title: str
    fixed: str
    rungs: list[Rung]


@dataclass(frozen=True)
class DetectionSection:
    """Finding and naming, apart.

    ``grouped`` is F1 of the groups that all other figures rest on, ``strict`` that of pairs which
    keep to the threshold themselves; ``gap`` is what the grouping may be short of the best one,
    as a share of a bound.
    """

    threshold: str
    grouped: ShownStatistic
    strict: ShownStatistic
    kappa: ShownStatistic
    found_by_both: str
    specific: list[tuple[str, ShownStatistic]]
    gap: str
    solved: str
    ladders: list[Ladder]

    @property
    def figures(self) -> list[ShownStatistic]:
        """All that may have an interval."""
        return [self.grouped, self.strict, *(r.f1 for one in self.ladders for r in one.rungs)]


def detection_section(document: Mapping[str, Any]) -> DetectionSection | None:
    """The figures of objects in an agreement document; None where it is of something else."""
    found, matching = document.get("detection", {}), document.get("matching")
    if matching is None or "f1_strict" not in found:
        return None
    return DetectionSection(
        threshold=(
            f"IoU of at least {found['iou']:g}, or centroids at most "
            f"{_microns(found['distance_um'])} apart where one of the two has no area"
        ),
        grouped=shown(found["f1"]),
        strict=shown(found["f1_strict"]),
        kappa=shown(found["kappa_found"]),
        found_by_both=count_text(found["found_by_both"]),
        specific=[(name, shown(one, as_percent=True)) for name, one in found["specific"].items()],
        gap=percent_text(matching["gap"]),
        solved=_solved(matching),
        ladders=list(_ladders(found, found.get("thresholds", []))),
    )


def _solved(matching: Mapping[str, Any]) -> str:
    """How the grouping was come by."""
    exact, searched = matching["exact_components"], matching["heuristic_components"]
    if not searched:
        return f"all {count_text(exact)} crowds of objects were matched exactly"
    return (
        f"{count_text(searched)} of {count_text(exact + searched)} crowds of objects were too "
        f"large to be matched exactly (more than {matching['exact_limit']} objects)"
    )


def _microns(length_um: float) -> str:
    return f"{length_um:.4g}\N{NO-BREAK SPACE}µm"


def _ladders(found: Mapping[str, Any], rungs: Sequence[Mapping[str, Any]]) -> Iterator[Ladder]:
    fixed = {
        "iou": f"centroids as the protocol has it, {_microns(found['distance_um'])}",
        "distance_um": f"overlap as the protocol has it, IoU {found['iou']:g}",
    }
    for varied, title in TITLES.items():
        of_kind = [rung for rung in rungs if rung["varied"] == varied]
        if of_kind:
            yield Ladder(title, fixed[varied], [_rung(found, rung) for rung in of_kind])


def _rung(found: Mapping[str, Any], rung: Mapping[str, Any]) -> Rung:
    varied = rung["varied"]
    value = rung[varied]
    return Rung(
        threshold=f"{value:g}" if varied == "iou" else _microns(value),
        of_protocol=value == found[varied],
        found_by_both=count_text(rung["found_by_both"]),
        f1=shown(rung["f1"]),
        kappa=shown(rung["kappa"]),
    )
