"""Doubted labels with where they lie and who doubts them: the rows of the list for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import shapely

from models.evaluation.figures import Scored
from models.evaluation.label_issues import LabelIssue, label_issues

__all__ = ["THE_MODEL", "Doubt", "Place", "doubts_of", "ranked"]

THE_MODEL = "the model"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies: its slide, upper left corner and longer side in level-0 px, and area.

    Of a whole slide the name alone; the area only of what is no square.
    """

    slide: str
    x_px: float | None = None
    y_px: float | None = None
    side_px: float | None = None
    area_um2: float | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A doubted label.

    Attributes
    ----------
    part
        Of the split.
    by
        The model, or of what was trained on the model of the fold that lacks it.
    outline
        In level-0 pixels; None of a whole slide.
    """

    issue: LabelIssue
    place: Place
    part: str
    by: str
    outline: shapely.Geometry | None

    def document(self, rank: int) -> dict[str, Any]:
        """Its row in the list."""
        return {
            "rank": rank,
            **asdict(self.place),
            "part": self.part,
            "predicted_by": self.by,
            "given": self.issue.given,
            "suggested": self.issue.suggested,
            "p_given": self.issue.p_given,
            "p_suggested": self.issue.p_suggested,
            "reason": self.issue.reason,
        }


def doubts_of(
    of: Scored,
    places: Sequence[Place],
    *,
    part: str,
    by: Sequence[str] = (),
    bearing: Scored | None = None,
    outlines: Sequence[shapely.Geometry] = (),
) -> list[Doubt]:
    """The doubted among some items.

    Parameters
    ----------
    of, bearing
        See `label_issues`.
    places, by, outlines
        Of all items that were given to `scored`, in their order. Without ``by`` it is the model;
        without outlines they are the squares of the places.
    """
    found = []
    for issue in label_issues(of, bearing):
        number = int(of.numbers[issue.item])
        place = places[number]
        outline = outlines[number] if outlines else _square(place)
        found.append(Doubt(issue, place, part, by[number] if by else THE_MODEL, outline))
    return found


def ranked(doubts: Iterable[Doubt]) -> list[Doubt]:
    """By how much more probable the suggested class is than the given one."""
    return sorted(doubts, key=lambda one: one.issue.p_given - one.issue.p_suggested)


def _square(place: Place) -> shapely.Geometry | None:
    x_px, y_px, side_px = place.x_px, place.y_px, place.side_px
    if x_px is None or y_px is None or side_px is None:
        return None
    return shapely.box(x_px, y_px, x_px + side_px, y_px + side_px)
