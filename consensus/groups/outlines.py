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
