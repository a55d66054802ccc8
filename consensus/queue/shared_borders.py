"""Which polygons of a coverage are neighbours, and how long the border is that they share.

In a coverage (the regions of an overlay, disputes of one run) neighbours share their borders
vertex by vertex. Common edges are then equal pairs of points, and sorting finds them all, where
intersecting every pair of outlines would cost the square of a large region's vertices.

Frame: level-0 pixels, origin top left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["SharedBorders", "is_edge_matched", "shared_borders"]


@dataclass(frozen=True, eq=False)
class SharedBorders:
    """Pairs of polygons that share an edge at least; a common corner is none.

    Shapes: B pairs. ``first`` (B,) is below ``second`` (B,), and the pairs rise; ``length_px`` (B,)
    is the length of the border, positive.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    length_px: NDArray[np.float64]


def shared_borders(polygons: NDArray[np.object_]) -> SharedBorders:
    """The borders that polygons of a coverage share.

    Parameters
    ----------
    polygons : shape (n,)
        With disjoint interiors; other geometries share no border.

    Returns
    -------
    SharedBorders
        A length is added up in the order of the edges' places, so that it is the same to the last
        bit however the polygons are numbered.
    """
    ends, owner = _edges(polygons)
    same = (ends[1:] == ends[:-1]).all(axis=1) & (owner[1:] != owner[:-1])
    one, other = owner[:-1][same], owner[1:][same]
    edge = ends[:-1][same]
    length_px = np.hypot(edge[:, 2] - edge[:, 0], edge[:, 3] - edge[:, 1])
    key = np.minimum(one, other) * len(polygons) + np.maximum(one, other)
    pairs, place = np.unique(key, return_inverse=True)
    return SharedBorders(
        first=pairs // max(1, len(polygons)),
        second=pairs % max(1, len(polygons)),
        length_px=np.bincount(place, weights=length_px, minlength=len(pairs)).astype(np.float64),
    )


def is_edge_matched(polygons: NDArray[np.object_]) -> bool:
    """Whether polygons with disjoint interiors share their borders vertex by vertex.

    An edge on a common border that is not also the neighbour's lies along other edges that are
    nobody else's either, or crosses them by a rounding. Only the edges that belong to one polygon
    are looked at, which in a coverage are those of its outline:
    ``shapely.coverage_is_valid`` takes the square of a polygon's holes.
    """
    ends, _ = _edges(polygons)
    repeats = (ends[1:] == ends[:-1]).all(axis=1)
    lone = ~(np.append(repeats, False) | np.append(False, repeats)) if len(ends) else repeats
    lines = shapely.linestrings(ends[lone].reshape(-1, 2, 2))
    one, other = shapely.STRtree(lines).query(lines, "intersects")
    twice = one < other
    return not shapely.relate_pattern(lines[one[twice]], lines[other[twice]], "T********").any()


def _edges(polygons: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ends of all edges (E, 4), the lesser point first, in order; and each one's polygon (E,)."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    points = points + 0.0  # -0.0 is 0.0
    within = ring[1:] == ring[:-1]
    start, end = points[:-1][within], points[1:][within]
    falls = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
    ends = np.where(falls[:, None], np.hstack([end, start]), np.hstack([start, end]))
    order = np.lexsort(ends.T[::-1])
    return ends[order], owner[ring[1:][within]].astype(np.int64)[order]
