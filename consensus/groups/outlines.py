"""Polygons without holes as lists of vertices, for work on thousands of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["MOST_VERTICES", "Outlines"]

POLYGON = 3  # shapely.get_type_id

MOST_VERTICES = 200
"""Longer outlines have none here: they gain little, and would swell the tables."""


@dataclass(frozen=True)
class Outlines:
    """Polygons, and their outlines as one list of vertices, counterclockwise and not closed.

    ``start`` (n + 1,) bounds each polygon's vertices in ``x`` and ``y``, of which no two in a row
    are the same; a polygon with holes, several parts or too many vertices has none.
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
        x, y = shapely.get_coordinates(polygons[simple]).T
        length = np.where(simple, length, 0)
        first = np.cumsum(length) - length
        # The vertex that begins a ring closes it as well; others may stand twice by mistake.
        kept = np.append(False, (np.diff(x) != 0) | (np.diff(y) != 0))[: len(x)]
        kept[first[simple]] = False
        sums = np.append(0, np.cumsum(kept))
        start = np.append(sums[first], sums[-1])
        x, y = x[kept], y[kept]
        count = np.diff(start)
        clockwise = np.zeros(len(polygons), dtype=bool)
        some = count > 0
        if some.any():
            # Twice the area from each ring's first vertex, so that far-off places cost no digits.
            begin = start[:-1][some]
            from_x = x - np.repeat(x[begin], count[some])
            from_y = y - np.repeat(y[begin], count[some])
            cross = from_x[:-1] * from_y[1:] - from_y[:-1] * from_x[1:]
            cross[begin[1:] - 1] = 0
            clockwise[some] = np.add.reduceat(np.append(cross, 0.0), begin) < 0
        if clockwise.any():
            turned = np.repeat(clockwise, count)
            mirrored = np.repeat(start[:-1] + start[1:] - 1, count) - np.arange(len(x))
            at = np.where(turned, mirrored, np.arange(len(x)))
            x, y = x[at], y[at]
        return cls(polygons, x, y, start)

    def most_common_px2(
        self, one: NDArray[np.int64], other: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """At least the area that two polygons share: what their octagons do; shape (n_pairs,).

        The octagons are their boxes with the corners cut off at 45 degrees; infinite for polygons
        without an outline.
        """
        some = np.flatnonzero(np.diff(self.start))
        begin = self.start[some]
        x, y = self.x, self.y
        low, high = np.full((2, len(self.polygons), 4), np.inf)
        low[:] = -np.inf
        for column, along in enumerate((x, y, x + y, x - y)):
            low[some, column] = np.minimum.reduceat(along, begin) if len(begin) else 0
            high[some, column] = np.maximum.reduceat(along, begin) if len(begin) else 0
        low, high = np.maximum(low[one], low[other]), np.minimum(high[one], high[other])
        x, y, rising, falling = np.stack([low, high], axis=2).transpose(1, 2, 0)
        with np.errstate(invalid="ignore"):
            width, height = np.maximum(x[1] - x[0], 0), np.maximum(y[1] - y[0], 0)
            most_px2 = width * height
            # A corner is cut off as far as cuts can't meet.
            deepest = np.minimum(width, height) / 2
            for cut in (
                x[1] + y[1] - rising[1],
                rising[0] - x[0] - y[0],
                x[1] - y[0] - falling[1],
                falling[0] - x[0] + y[1],
            ):
                most_px2 -= np.clip(cut, 0, deepest) ** 2 / 2
            diamond_px2 = np.maximum(rising[1] - rising[0], 0) * np.maximum(
                falling[1] - falling[0], 0
            )
        bounded = np.diff(self.start) > 0
        found: NDArray[np.float64] = np.where(
            bounded[one] & bounded[other], np.minimum(most_px2, diamond_px2 / 2), np.inf
        )
        return found
