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

BATCH_CELLS = 400_000
"""Vertices of pairs that are worked on at a time: what fits in a processor's cache."""


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
        simple &= shapely.get_num_coordinates(polygons) <= MOST_VERTICES + 1
        rings = shapely.get_exterior_ring(shapely.orient_polygons(polygons[simple]))
        coords, ring = shapely.get_coordinates(rings, return_index=True)
        closing = np.append(ring[1:] != ring[:-1], True)[: len(ring)]
        count = np.zeros(len(polygons), dtype=np.int64)
        count[simple] = np.bincount(ring[~closing], minlength=len(rings))
        x, y = coords[~closing].T.copy()
        return cls(polygons, x, y, np.concatenate([[0], np.cumsum(count)]))


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
        a, b = _padded(outlines, one[batch], size), _padded(outlines, other[batch], size)
        # The middle of both, which is a point inside both where they have most in common.
        x, y = ((p.mean(axis=1) + q.mean(axis=1))[:, None] / 2 for p, q in zip(a, b, strict=True))
        area_px2[batch] = _of_stars(_Star.of(a[0] - x, a[1] - y), _Star.of(b[0] - x, b[1] - y))
        first += len(batch)
    clip = np.flatnonzero(np.isnan(area_px2))
    polygons = outlines.polygons
    area_px2[clip] = shapely.area(shapely.intersection(polygons[one[clip]], polygons[other[clip]]))
    return area_px2


def _padded(
    outlines: Outlines, index: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertices of some outlines, (n, size) each; shorter ones repeat their last vertex."""
    start, end = outlines.start[index], outlines.start[index + 1]
    at = np.minimum(start[:, None] + np.arange(size), end[:, None] - 1)
    return outlines.x[at], outlines.y[at]


@dataclass(frozen=True)
class _Star:
    """Outlines around the origin, each begun so that its angles rise.

    Shapes: P outlines, V vertices. ``x``, ``y`` and ``angle``, a measure that rises with the
    angle, are (P, V); so are ``step_x``, ``step_y`` and ``cross`` of the edge from each vertex to
    the next, ``cross`` being twice its triangle with the origin. ``seen`` (P,): the origin sees
    all of the outline, none of it edge-on.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    angle: NDArray[np.float64]
    step_x: NDArray[np.float64]
    step_y: NDArray[np.float64]
    cross: NDArray[np.float64]
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64]) -> _Star:
        n_outlines, n = x.shape
        with np.errstate(invalid="ignore"):
            slope = y / (np.abs(x) + np.abs(y))
        angle = np.where(x < 0, 2 - slope, slope)  # -1 to 3, from straight down
        turn = angle.argmin(axis=1)[:, None] + np.arange(n + 1)
        turn -= n * (turn >= n)
        turn += n * np.arange(n_outlines)[:, None]
        x, y, angle = x.ravel()[turn], y.ravel()[turn], angle.ravel()[turn[:, :-1]]
        step_x, step_y = np.diff(x, axis=1), np.diff(y, axis=1)
        x, y = x[:, :-1], y[:, :-1]
        cross = x * step_y - y * step_x
        padding = (step_x == 0) & (step_y == 0)
        seen = ((cross > 1e-9 * cross.max(axis=1, keepdims=True)) | padding).all(axis=1)
        return cls(x, y, angle, step_x, step_y, cross, seen)

    def reach(
        self,
        edge: NDArray[np.int64],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        x_next: NDArray[np.float64],
        y_next: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How far off the edge over each wedge is, in lengths of the wedge's two sides."""
        n_outlines, n = self.x.shape
        at = np.where(edge < 0, n - 1, edge) + n * np.arange(n_outlines)[:, None]
        step_x, step_y = self.step_x.ravel()[at], self.step_y.ravel()[at]
        cross = self.cross.ravel()[at]
        return cross / (x * step_y - y * step_x), cross / (x_next * step_y - y_next * step_x)


def _of_stars(a: _Star, b: _Star) -> NDArray[np.float64]:
    """Common area of outlines around the origin; NaN where one of them is no star."""
    n_pairs, n = a.x.shape
    order = np.argsort(np.concatenate([a.angle, b.angle], axis=1), axis=1)  # [P, 2V]
    of_a = order < n
    # The edge of each outline that spans the wedge behind each vertex; -1 is the last.
    edge_a = np.cumsum(of_a, axis=1) - 1
    edge_b = np.arange(2 * n) - edge_a - 1
    at = order + 2 * n * np.arange(n_pairs)[:, None]
    at = np.concatenate([at, at[:, :1]], axis=1)
    x = np.concatenate([a.x, b.x], axis=1).ravel()[at]  # [P, 2V + 1]: the sides of the wedges
    y = np.concatenate([a.y, b.y], axis=1).ravel()[at]
    sides = x[:, :-1], y[:, :-1], x[:, 1:], y[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        a_from, a_to = a.reach(edge_a, *sides)
        b_from, b_to = b.reach(edge_b, *sides)
        twice = np.minimum(a_from, b_from) * np.minimum(a_to, b_to)
        cross = (a_from - b_from) * (a_to - b_to) < 0
        twice[cross] = _crossing(a_from[cross], a_to[cross], b_from[cross], b_to[cross])
        wedge = sides[0] * sides[3] - sides[1] * sides[2]
        area_px2 = np.where(wedge > 0, wedge * twice, 0.0).sum(axis=1) / 2
    return np.where(a.seen & b.seen, area_px2, np.nan)


def _crossing(
    a_from: NDArray[np.float64],
    a_to: NDArray[np.float64],
    b_from: NDArray[np.float64],
    b_to: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Area before two edges that cross in a wedge, in units of the wedge."""
    # With the wedge's sides as axes the edges are the lines u / from + v / to = 1.
    scale = 1 / (a_from * b_to) - 1 / (b_from * a_to)
    u, v = (1 / b_to - 1 / a_to) / scale, (1 / a_from - 1 / b_from) / scale
    return np.minimum(a_from, b_from) * v + np.minimum(a_to, b_to) * u
