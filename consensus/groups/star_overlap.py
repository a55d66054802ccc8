"""Area that two polygons share, for many pairs at once.

Outlines of nuclei and glands are nearly always star-shaped: seen from a point in the middle, each
direction meets the outline once. For two such outlines and one such point the common area is
that of the nearer outline in every direction, which is a sum over the wedges between rays through
all their vertices. Outlines that lie around one point, those of several raters of one nucleus,
share the rays: how far each of them reaches along each ray is worked out once, and serves all
pairs of them. It is as exact as clipping, to rounding, and takes numpy a small part of the time of
clipping them one by one; pairs that have no such point are clipped.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.groups.outlines import Outlines

__all__ = ["MOST_RAYS", "common_area_px2"]

BATCH_CELLS = 100_000
"""Outlines times rays that are worked on at a time: what fits in a processor's cache."""

EDGE_ON = 1e-7
"""An edge whose triangle with the origin is smaller than this share of the largest is edge-on."""

INDEX_BITS = 9
"""Low bits of an angle that make room for a vertex's place among those around one point."""

MOST_RAYS = 1 << INDEX_BITS
"""Most vertices around one point."""


def common_area_px2(
    outlines: Outlines,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    place: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Area of the intersection of each pair of polygons; shape (n_pairs,).

    Parameters
    ----------
    one, other : shape (n_pairs,)
        Polygons, ``one`` < ``other``.
    place : shape (n_polygons,)
        Polygons of the same number, at most ``MOST_RAYS`` vertices in all, are measured around
        the point in the middle of them; below zero, and None: every pair around its own. It sets
        the time that is taken and, to rounding, nothing else.
    """
    count = np.diff(outlines.start)
    area_px2 = np.full(len(one), np.nan)
    star = np.minimum(count[one], count[other]) > 0
    if place is not None:
        together = np.flatnonzero(star & (place[one] == place[other]) & (place[one] >= 0))
        area_px2[together] = _at_places(outlines, one[together], other[together], place)
    left = np.flatnonzero(star & np.isnan(area_px2))
    area_px2[left] = _of_points(
        outlines,
        np.stack([one[left], other[left]], axis=1).ravel(),
        np.full(len(left), 2),
        np.arange(len(left)),
        np.zeros(len(left), dtype=np.int64),
    )
    clip = np.flatnonzero(np.isnan(area_px2))
    polygons = outlines.polygons
    area_px2[clip] = shapely.area(shapely.intersection(polygons[one[clip]], polygons[other[clip]]))
    return area_px2


def _at_places(
    outlines: Outlines,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    place: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Common area of pairs of one place each; NaN where one is no star around its middle."""
    used = np.zeros(len(place), dtype=bool)
    used[one] = used[other] = True
    member = np.flatnonzero(used)
    member = member[np.argsort(place[member], kind="stable")]
    first = np.flatnonzero(np.diff(place[member], prepend=-1))
    n_members = np.diff(first, append=len(member))
    point = np.empty(len(place), dtype=np.int64)
    point[member] = np.repeat(np.arange(len(first)), n_members)
    rank = np.empty(len(place), dtype=np.int64)
    rank[member] = np.arange(len(member)) - np.repeat(first, n_members)
    i, j, of_pair = rank[one], rank[other], point[one]
    column = i * n_members[of_pair] - i * (i + 3) // 2 + j - 1
    return _of_points(outlines, member, n_members, of_pair, column)


def _of_points(
    outlines: Outlines,
    member: NDArray[np.int64],
    n_members: NDArray[np.int64],
    point: NDArray[np.int64],
    column: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Common area of pairs around points; shape (n_pairs,), NaN where one is no star.

    Parameters
    ----------
    member
        Polygons around the first point, then those around the second, and so on.
    n_members : shape (n_points,)
        How many there are around each point.
    point, column : shape (n_pairs,)
        Where a pair lies, and its number among the pairs there.
    """
    area_px2 = np.empty(len(point))
    if not len(point):
        return area_px2
    first = np.cumsum(n_members) - n_members
    length = np.maximum.reduceat(np.diff(outlines.start)[member], first)
    points = np.lexsort((length, n_members))  # points of like size need little padding
    rank = np.empty(len(points), dtype=np.int64)
    rank[points] = np.arange(len(points))
    pairs = np.argsort(rank[point], kind="stable")
    row, column = rank[point[pairs]], column[pairs]
    cuts = np.searchsorted(row, np.arange(len(points) + 1))
    begin = 0
    while begin < len(points):
        size = n_members[points[begin]]
        batch = points[begin : begin + max(1, BATCH_CELLS // int(size**2 * length[points[begin]]))]
        batch = batch[n_members[batch] == size]
        end = begin + len(batch)
        table = member[first[batch][:, None] + np.arange(size)]
        found = _of_stars(*_padded(outlines, table, int(length[batch[-1]])))
        some = slice(cuts[begin], cuts[end])
        area_px2[pairs[some]] = found[row[some] - begin, column[some]]
        begin = end
    return area_px2


def _padded(
    outlines: Outlines, table: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float64], ...]:
    """Outlines around the point in the middle of them, and the way to the next vertex.

    Shapes: ``table`` (P, M) holds the M polygons around each of P points; ``x``, ``y``,
    ``step_x`` and ``step_y`` that come out are (P, M, size). Shorter outlines repeat their last
    vertex.
    """
    start, end = outlines.start[table][:, :, None], outlines.start[table + 1][:, :, None]
    at = np.minimum(start + np.arange(size), end - 1)
    x, y = outlines.x.take(at), outlines.y.take(at)
    after = at + 1
    after = np.where(after < end, after, start)
    columns = []
    for values, every in ((x, outlines.x), (y, outlines.y)):
        columns.append(every.take(after) - values)
        values -= values.mean(axis=(1, 2), keepdims=True)
    return x, y, *columns


def _of_stars(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    step_x: NDArray[np.float64],
    step_y: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Common area of every two outlines around the origin; NaN where one is no star.

    Shapes: P points, M outlines around each, of V vertices, and R = M V rays. What comes out is
    (P, M (M - 1) / 2), by the first of the two outlines, then by the second.
    """
    n_points, n_outlines, n = x.shape
    n_rays = n_outlines * n
    cross = x * step_y - y * step_x  # twice the triangle of an edge with the origin
    # The origin sees all of an outline, none of it edge-on.
    seen = (cross > EDGE_ON * cross.max(axis=2, keepdims=True)).all(axis=2)  # [P, M]
    order = _by_angle(x.reshape(n_points, n_rays), y.reshape(n_points, n_rays))
    edge, n_over = _edges(order, n_outlines)
    apart = (n_over < 0).any(axis=2)
    seen &= ~apart
    n_over[apart] = np.append(n_rays + 1, np.zeros(n, dtype=np.int64))
    order += n_rays * np.arange(n_points)[:, None]
    ray_x, ray_y = (values.reshape(-1).take(order) for values in (x, y))  # [P, R + 1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Along a ray to (x, y) an edge is 1 / (x a - y b) times as far off.
        spread = (
            np.repeat((step / cross).reshape(-1).take(edge).ravel(), n_over.ravel())
            for step in (step_y, step_x)
        )
        reach, b = (values.reshape(n_points, n_outlines, n_rays + 1) for values in spread)
        reach *= ray_x[:, None]
        b *= ray_y[:, None]
        reach -= b
        np.divide(1, reach, out=reach)
        reach[:, :, -1] = reach[:, :, 0]
        wedge = ray_x[:, :-1] * ray_y[:, 1:] - ray_x[:, 1:] * ray_y[:, :-1]
        twice_px2 = _of_nearer(reach, wedge)
    first, second = _every_two(n_outlines)
    return np.where(seen[:, first] & seen[:, second], twice_px2 / 2, np.nan)


def _of_nearer(reach: NDArray[np.float64], wedge: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the area within both of every two outlines.

    ``reach`` (P, M, R + 1) is how far each outline reaches along each ray, the first one again at
    the end, and ``wedge`` (P, R) twice the triangle between two rays at a reach of 1. Seen from
    the origin the nearer outline bounds what is common: between two crossings that is a part of
    the area within it, which is known from the sums up to each ray.
    """
    n_points, n_outlines, n_rays = reach.shape
    n_rays -= 1
    sums = np.zeros(reach.shape)
    np.multiply(reach[:, :, :-1], reach[:, :, 1:], out=sums[:, :, 1:])
    sums[:, :, 1:] *= wedge[:, None]
    np.cumsum(sums, axis=2, out=sums)
    first, second = _every_two(n_outlines)
    n_pairs = len(first)
    within = np.empty((n_points, n_pairs, n_rays + 1), dtype=bool)  # the first within the second
    begin = 0
    for one in range(n_outlines - 1):
        end = begin + n_outlines - 1 - one
        np.less(reach[:, one, None], reach[:, one + 1 :], out=within[:, begin:end])
        begin = end
    whole = sums[:, :, -1]
    twice_px2 = np.where(within[:, :, 0], whole[:, first], whole[:, second])
    # Between these rays and the next ones the outlines cross.
    swaps = np.flatnonzero(within[:, :, :-1] != within[:, :, 1:])
    pair, ray = np.divmod(swaps, n_rays)
    point, column = np.divmod(pair, n_pairs)
    origin = point * n_outlines
    ends = ((origin + end[column]) * (n_rays + 1) + ray for end in (first, second))
    one, other = ends
    under = within.reshape(-1)[swaps + pair]
    inner, outer = np.where(under, one, other), np.where(under, other, one)
    far, total = reach.reshape(-1), sums.reshape(-1)
    near_here, near_there = far[inner], far[outer + 1]
    here, there = near_here / far[outer], near_there / far[inner + 1]
    # What lies on this side of the chord of the wedge, and what the crossing has beyond it.
    chord = wedge.reshape(-1)[point * n_rays + ray] * near_here * near_there
    chord *= 1 + (1 - here) * (1 - there) / (1 - here * there)
    chord += total[inner] - total[outer + 1]
    crossed = np.bincount(pair, weights=chord, minlength=twice_px2.size)
    found: NDArray[np.float64] = twice_px2 + crossed.reshape(twice_px2.shape)
    return found


@lru_cache
def _every_two(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the second of every two of n."""
    return np.triu_indices(n, 1)


def _by_angle(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of each row's vertices by their angles, the first one again at the end; (P, R + 1)."""
    with np.errstate(invalid="ignore"):
        slope = y / (np.abs(x) + np.abs(y))
    angle = 3 - np.copysign(1 - slope, x)  # a measure from 1 to 5, from straight down
    # Positive floats sort as their bits do; sorting numbers is faster than sorting places by them.
    # Angles alike to 13 digits go by place, so that an outline's repeated vertices stay together.
    low = MOST_RAYS - 1
    order = np.empty((len(x), x.shape[1] + 1), dtype=np.int64)
    key = order[:, :-1]
    np.bitwise_and(angle.view(np.int64), ~low, out=key)
    key |= np.arange(x.shape[1])
    key.sort(axis=1)
    order &= low
    order[:, -1] = order[:, 0]
    return order


def _edges(
    order: NDArray[np.int64], n_outlines: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges of each outline in the order in which the rays pass over them.

    Returns
    -------
    edge : shape (P, M, V + 1)
        Place of the vertex that begins it, among those of all points; the edge over the first ray
        stands at the end as well.
    n_over : shape (P, M, V + 1)
        Rays over it, those through its first vertex with it. One below zero: no star.
    """
    n_points, n_rays = order.shape
    n_rays -= 1
    n = n_rays // n_outlines
    rows = np.arange(n_points)[:, None] * n_rays
    rank = np.empty(n_points * n_rays, dtype=np.int64)
    rank[order[:, :-1] + rows] = np.arange(n_rays)
    begin = rank.reshape(-1, n).argmin(axis=1)[:, None]
    edge = begin + np.arange(-1, n)
    edge += n * ((edge < 0).view(np.int8) - (edge >= n).view(np.int8))
    edge += n * np.arange(len(edge))[:, None]
    n_over = np.diff(rank[edge[:, 1:]], axis=1, prepend=0, append=n_rays + 1)
    shape = n_points, n_outlines, n + 1
    return edge.reshape(shape), n_over.reshape(shape)
