"""Area that two polygons share, for many pairs at once.

Outlines of nuclei and glands are nearly always star-shaped: seen from a point in the middle, each
direction meets the outline once. For two such outlines and one such point the common area is
that of the nearer outline in every direction, which is a sum over the wedges between all their
vertices, and which numpy takes for thousands of pairs at a time. It is as exact as clipping, to
rounding, and ten times as fast as clipping them one by one; pairs that have no such point are
clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Outlines", "common_area_px2"]

POLYGON = 3  # shapely.get_type_id

MOST_VERTICES = 200
"""Longer outlines are clipped: they gain little, and would swell the table."""

BATCH_CELLS = 100_000
"""Vertices of pairs that are worked on at a time: what fits in a processor's cache."""

EDGE_ON = 1e-7
"""An edge whose triangle with the origin is smaller than this share of the largest is edge-on."""

INDEX_BITS = 9
"""Low bits of an angle that make room for a vertex's place among the two outlines' vertices."""


@dataclass(frozen=True)
class Outlines:
    """Polygons, and their outlines as one list of vertices, counterclockwise and not closed.

    ``start`` (n + 1,) bounds each polygon's vertices in ``x`` and ``y``; a polygon with holes, several
    parts or too many vertices has none.
    """

    polygons: NDArray[np.object_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    start: NDArray[np.int64]

    @classmethod
    def of(cls, polygons: NDArray[np.object_]) -> Outlines:
        """Take the outlines of polygons and multipolygons."""
        simple = shapely.get_type_id(polygons) == POLYGON
        simple &= shapely.get_num_interior_rings(polygons) == 0
        length = shapely.get_num_coordinates(polygons)
        simple &= length <= MOST_VERTICES + 1
        count = np.where(simple, length - 1, 0)  # without the vertex that closes the ring
        start = np.concatenate([[0], np.cumsum(count)])
        x, y = shapely.get_coordinates(polygons[simple]).T
        first = np.cumsum(length[simple]) - length[simple]
        closing = np.zeros(len(x), dtype=bool)
        closing[first + count[simple]] = True
        clockwise = np.zeros(len(polygons), dtype=bool)
        if len(x):
            # Twice the area from each ring's first vertex, so that far-off places cost no digits.
            from_x, from_y = (
                x - np.repeat(x[first], length[simple]),
                y - np.repeat(y[first], length[simple]),
            )
            cross = from_x[:-1] * from_y[1:] - from_y[:-1] * from_x[1:]
            twice_px2 = np.add.reduceat(np.append(cross, 0.0), first)
            clockwise[simple] = twice_px2 < 0
        x, y = x[~closing], y[~closing]
        if clockwise.any():
            turned = np.repeat(clockwise, count)
            mirrored = np.repeat(start[:-1] + start[1:] - 1, count) - np.arange(len(x))
            at = np.where(turned, mirrored, np.arange(len(x)))
            x, y = x[at], y[at]
        return cls(polygons, x, y, start)


def common_area_px2(
    outlines: Outlines, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Area of the intersection of each pair of polygons; shape (n_pairs,)."""
    count = np.diff(outlines.start)
    most = np.maximum(count[one], count[other])
    area_px2 = np.full(len(one), np.nan)
    star = np.flatnonzero(np.minimum(count[one], count[other]) > 0)
    star = star[np.argsort(most[star], kind="stable")]  # pairs of like size need little padding
    first = 0
    while first < len(star):
        size = int(most[star[first]])
        batch = star[first : first + max(1, BATCH_CELLS // (2 * size))]
        size = int(most[batch[-1]])
        area_px2[batch] = _of_stars(*_padded(outlines, one[batch], other[batch], size))
        first += len(batch)
    clip = np.flatnonzero(np.isnan(area_px2))
    polygons = outlines.polygons
    area_px2[clip] = shapely.area(shapely.intersection(polygons[one[clip]], polygons[other[clip]]))
    return area_px2


def _padded(
    outlines: Outlines, one: NDArray[np.int64], other: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Closed outlines of pairs around a point in the middle of both, (P, 2, size + 1) each.

    Shorter outlines repeat their last vertex. The middle is a point inside both where they have
    most in common.
    """
    pair = np.stack([one, other], axis=1)[:, :, None]
    start, end = outlines.start[pair], outlines.start[pair + 1]
    at = start + np.arange(size + 1)
    np.minimum(at, end - 1, out=at)
    at[:, :, -1:] = start
    x, y = outlines.x.take(at), outlines.y.take(at)
    for values in (x, y):
        values -= values[:, :, :-1].mean(axis=(1, 2), keepdims=True)
    return x, y


def _of_stars(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Common area of pairs of closed outlines around the origin; NaN where one is no star.

    Shapes: P pairs, V vertices of an outline. Seen from the origin the nearer outline bounds what
    is common. Along the ray through a vertex that is the vertex itself, or the edge of the other
    outline that spans the ray; between neighbouring rays it is straight, but where the outlines
    cross.
    """
    n_pairs, _, n = x.shape
    n -= 1
    step_x, step_y = np.diff(x, axis=2), np.diff(y, axis=2)  # [P, 2, V]
    x, y = x[:, :, :-1], y[:, :, :-1]
    cross = x * step_y - y * step_x  # twice the triangle of an edge with the origin
    padding = (step_x == 0) & (step_y == 0)
    # The origin sees all of both outlines, none of it edge-on.
    seen = ((cross > EDGE_ON * cross.max(axis=2, keepdims=True)) | padding).all(axis=(1, 2))
    order, edge = _around(x, y)
    x, y = x.reshape(-1).take(order), y.reshape(-1).take(order)  # [P, 2 V + 1], by rising angle
    step_x, step_y = step_x.reshape(-1).take(edge), step_y.reshape(-1).take(edge)
    with np.errstate(divide="ignore", invalid="ignore"):
        # How far off the other outline is, in lengths from the origin to the vertex.
        reach = cross.reshape(-1).take(edge) / (x * step_y - y * step_x)
        nearer = np.minimum(reach, 1)
        x *= nearer
        y *= nearer
        wedge = x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]
        twice_px2 = wedge.sum(axis=1)
        # Where the outlines cross between two rays, what the chord of the wedge cuts off is added.
        inner = (reach - 1) * np.where(order % (2 * n) < n, 1, -1)
        swaps = (inner[:, :-1] * inner[:, 1:] < 0).ravel().nonzero()[0]
        pair = swaps // (2 * n)
        here, there = reach.ravel()[swaps + pair], reach.ravel()[swaps + pair + 1]
        here, there = np.minimum(here, 1 / here), np.minimum(there, 1 / there)
        beyond = wedge.ravel()[swaps] * (1 - here) * (1 - there) / (1 - here * there)
        twice_px2 += np.bincount(pair, weights=beyond, minlength=n_pairs)
    return np.where(seen, twice_px2 / 2, np.nan)


def _around(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices of pairs of outlines in the order of their angles, the first one again at the end.

    Returns
    -------
    order : shape (P, 2 V + 1)
        Places of the vertices among those of all pairs.
    edge : shape (P, 2 V + 1)
        Place of the vertex that begins the other outline's edge over each.
    """
    n_pairs, _, n = x.shape
    with np.errstate(invalid="ignore"):
        slope = y / (np.abs(x) + np.abs(y))
    angle = 3 - np.copysign(1 - slope, x)  # a measure from 1 to 5, from straight down
    # Positive floats sort as their bits do; sorting numbers is faster than sorting places by them.
    # Angles alike to 13 digits go by place, so that an outline's repeated vertices stay together.
    order = np.empty((n_pairs, 2 * n + 1), dtype=np.int64)
    key = order[:, :-1]
    low = (1 << INDEX_BITS) - 1
    np.bitwise_and(angle.reshape(n_pairs, 2 * n).view(np.int64), ~low, out=key)
    key |= np.arange(2 * n)
    key.sort(axis=1)
    order &= low
    order[:, -1] = order[:, 0]
    of_other = order >= n
    n_before = np.cumsum(of_other, axis=1)  # vertices of the other outline up to this one
    # The order begins with these vertices of the two outlines.
    at = np.arange(n_pairs)
    begin = order[at, of_other.argmin(axis=1)], order[at, of_other.argmax(axis=1)] - n
    edge = np.where(
        of_other,
        begin[0][:, None] + np.arange(2 * n + 1) - n_before,
        begin[1][:, None] + n_before - 1,
    )
    edge += n * ((edge < 0).view(np.int8) - (edge >= n).view(np.int8) + ~of_other)
    row = 2 * n * at[:, None]
    edge += row
    order += row
    return order, edge
