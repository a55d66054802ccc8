"""Label issues on their way back to people: a table for everyone, outlines for QuPath."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import quoted_cell
from annotation.digests import derive_uuid, geometry_digests
from annotation.errors import InputError
from annotation.push import SlideObjects
from annotation.pushed import PREDICTIONS
from annotation.records import PathObject
from annotation.tables import Slide
from models.evaluation.doubts import Doubt

__all__ = ["REVIEW_CLASS", "review_objects", "review_origin", "review_table", "reviewed_weights"]

REVIEW_CLASS = "Review"
"""Of the outlines in QuPath: no class of a protocol, since nothing is said but that one should look."""

_ORIGIN = f"{PREDICTIONS}review/"

COLUMNS = (
    "rank", "slide", "part", "predicted_by", "x_px", "y_px", "side_px", "area_um2", "given", "suggested",
    "p_given", "p_suggested", "reason",
)  # fmt: skip


def review_table(issues: Sequence[Mapping[str, Any]]) -> bytes:
    """The list as CSV, the most doubtful first; no cell is a formula."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for issue in issues:
        writer.writerow(["" if issue[c] is None else quoted_cell(issue[c]) for c in COLUMNS])
    return stream.getvalue().encode()


def review_origin(weights_sha256: str, manifest_sha256: str, part: str) -> str:
    """The name under which a list's outlines are recorded as ours.

    They are a model's: who reads with them in sight has seen its predictions.
    """
    return f"{_ORIGIN}{weights_sha256[:16]}/{manifest_sha256[:16]}/{part}"


def reviewed_weights(origin: str) -> str | None:
    """How the digest of the weights begins whose list a push was; None for any other push."""
    if not origin.startswith(_ORIGIN):
        return None
    return origin.removeprefix(_ORIGIN).partition("/")[0]


def review_objects(session: Session, origin: str, doubts: Sequence[Doubt]) -> list[SlideObjects]:
    """The outlines of doubted tiles, objects and regions, by slide, as locked annotations.

    Parameters
    ----------
    doubts
        The most doubtful first.

    Raises
    ------
    InputError
        The doubts are of whole slides, which have no outline.
    """
    of_slide: dict[str, list[tuple[shapely.Geometry, Mapping[str, Any]]]] = defaultdict(list)
    for rank, doubt in enumerate(doubts, start=1):
        if doubt.outline is None:
            raise InputError(
                "whole slides have no outline to show in QuPath; work through review.csv, or leave "
                "out --review"
            )
        of_slide[doubt.place.slide].append((doubt.outline, doubt.document(rank)))
    slides = session.scalars(select(Slide).order_by(Slide.name))
    return [
        SlideObjects(slide.id, slide.name, _objects(origin, slide.name, of_slide[slide.name]))
        for slide in slides
        if slide.name in of_slide
    ]


def _objects(
    origin: str, slide: str, outlined: Sequence[tuple[shapely.Geometry, Mapping[str, Any]]]
) -> list[PathObject]:
    outlines = [outline for outline, _ in outlined]
    digests = geometry_digests(outlines)
    return [
        PathObject(
            uuid=derive_uuid(f"{origin}/{slide}", digest, 0),
            object_type="annotation",
            path_class=REVIEW_CLASS,
            name=f"{issue['rank']}: {issue['given']}, or {issue['suggested']}?",
            locked=True,
            geometry=outline,
            measurements={
                "pathquorum rank": float(issue["rank"]),
                f"pathquorum p {issue['given']}": round(issue["p_given"], 6),
                f"pathquorum p {issue['suggested']}": round(issue["p_suggested"], 6),
            },
            extra={"metadata": {"pathquorum": origin, "pathquorum reason": issue["reason"]}},
        )
        for (outline, issue), digest in zip(outlined, digests, strict=True)
    ]
