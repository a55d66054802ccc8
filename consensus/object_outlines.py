"""One outline for a matched object: the one of its raters' outlines that is nearest to the others.

A run keeps the union of what was matched, which nobody drew. The outlines themselves are revisions
in the store, and are found again by rater, class and place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.revisions import revisions_in_force
from annotation.tables import Slide
from consensus.consensus_items import Consensus, ResolvedItem
from consensus.runs import last_pull_before
from consensus.study.counted_reads import counted_reads

__all__ = ["medoid", "object_outlines"]

_COVERED = 1 - 1e-6
"""Share of an outline inside the union that it is a part of; the union's vertices are rounded."""


def object_outlines(
    session: Session, consensus: Consensus, slide: Slide, items: Sequence[ResolvedItem]
) -> list[shapely.Geometry]:
    """The outline of each object, in the order of the items.

    An object whose outlines are not found again keeps the union.
    """
    drawn = _drawn(session, consensus, slide)
    places = np.array([item.geometry for item in items], dtype=object)
    members: list[list[shapely.Geometry]] = [[] for _ in items]
    for (rater, label), outlines in sorted(drawn.items(), key=lambda entry: entry[0]):
        said = np.array([item.pattern.get(rater) == label for item in items], dtype=bool)
        for item, outline in _within(places, said, outlines).items():
            members[item].append(outline)
    return [
        medoid(found) if found else item.geometry
        for item, found in zip(items, members, strict=True)
    ]


def _drawn(
    session: Session, consensus: Consensus, slide: Slide
) -> dict[tuple[str, str], NDArray[np.object_]]:
    """What each rater drew on the slide when the run was made, by rater and class."""
    pull = last_pull_before(session, consensus.run)
    reads, _ = counted_reads(session, consensus.protocol_row, pull)
    drawn: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for read in reads:
        if read.slide.id != slide.id:
            continue
        for _, revision in revisions_in_force(session, [read.read], pull):
            wkb = revision.rated_geometry or revision.geometry
            if revision.mapped_class is not None and wkb is not None:
                drawn[read.annotator, revision.mapped_class].append(wkb)
    return {key: shapely.from_wkb(np.array(wkbs, dtype=object)) for key, wkbs in drawn.items()}


def _within(
    places: NDArray[np.object_], wanted: NDArray[np.bool_], outlines: NDArray[np.object_]
) -> dict[int, shapely.Geometry]:
    """For each wanted place, the largest outline that is a part of it."""
    candidates = np.flatnonzero(wanted)
    if len(candidates) == 0:
        return {}
    place, outline = shapely.STRtree(outlines).query(places[candidates], predicate="intersects")
    area_px2 = shapely.area(outlines[outline])
    shared_px2 = shapely.area(shapely.intersection(places[candidates[place]], outlines[outline]))
    part = np.where(area_px2 > 0, shared_px2 >= _COVERED * area_px2, True)
    found: dict[int, shapely.Geometry] = {}
    for i in np.flatnonzero(part)[np.argsort(area_px2[part], kind="stable")].tolist():
        found[int(candidates[place[i]])] = outlines[outline[i]]
    return found


def medoid(outlines: Sequence[shapely.Geometry]) -> shapely.Geometry:
    """The outline that is most like the others; of equally near ones the largest.

    By intersection over union where all have an area, else by the distance of centroids. The
    order of the outlines has no say.
    """
    shapes = np.array(outlines, dtype=object)
    if len(shapes) == 1:
        return shapes[0]
    area_px2 = shapely.area(shapes)
    if (area_px2 > 0).all():
        shared_px2 = shapely.area(shapely.intersection(shapes[:, None], shapes[None, :]))
        union_px2 = area_px2[:, None] + area_px2[None, :] - shared_px2
        likeness = (shared_px2 / union_px2).sum(axis=1)
    else:
        x, y = shapely.get_coordinates(shapely.centroid(shapes)).T
        likeness = -np.hypot(x[:, None] - x, y[:, None] - y).sum(axis=1)
    text = shapely.to_wkb(shapely.normalize(shapes))
    best = min(
        range(len(shapes)), key=lambda i: (-round(float(likeness[i]), 9), -area_px2[i], text[i])
    )
    return shapes[best]
