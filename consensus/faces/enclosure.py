"""Which rings enclose which points, where both come in millions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.faces.turns import Ints
from consensus.ragged import spread

__all__ = ["Rings"]

Floats = NDArray[np.floating[Any]]


class Rings:
    """Closed rings, one after the other, without the vertex that closes them.

    Parameters
    ----------
    x_px, y_px : shape (n_vertices,)
    start : shape (n_rings + 1,)
        Where each ring begins.
    """

    def __init__(self, x_px: Floats, y_px: Floats, start: Ints) -> None:
        self._x, self._y, self._start = x_px, y_px, start

    def around(
        self,
        x_px: Floats,
        y_px: Floats,
        eligible: Callable[[Ints, Ints], NDArray[np.bool_]],
    ) -> tuple[Ints, Ints]:
        """Pairs of a point and a ring that encloses it.

        Parameters
        ----------
        x_px, y_px : shape (n_points,)
            Points, on none of the rings that are eligible for them.
        eligible
            Says of pairs of a point and a ring which ones are to be looked at.
        """
        first = self._start[:-1]
        boxes = shapely.box(
            np.minimum.reduceat(self._x, first),
            np.minimum.reduceat(self._y, first),
            np.maximum.reduceat(self._x, first),
            np.maximum.reduceat(self._y, first),
        )
        point, ring = shapely.STRtree(boxes).query(shapely.points(x_px, y_px))
        chosen = eligible(point, ring)
        point, ring = point[chosen], ring[chosen]
        rings, place = np.unique(ring, return_inverse=True)
        areas = self._areas(rings)
        shapely.prepare(areas)
        inside = shapely.contains_xy(areas[place.reshape(-1)], x_px[point], y_px[point])
        return point[inside], ring[inside]

    def _areas(self, rings: Ints) -> NDArray[np.object_]:
        """What some rings enclose, as polygons; one of two vertices encloses nothing."""
        areas = np.full(len(rings), shapely.Polygon(), dtype=object)
        n = self._start[rings + 1] - self._start[rings]
        solid = np.flatnonzero(n > 2)
        if len(solid) == 0:
            return areas
        of, step = spread(n[solid])
        vertex = self._start[rings[solid]][of] + step
        coords = np.stack([self._x[vertex], self._y[vertex]], axis=1)
        areas[solid] = shapely.polygons(shapely.linearrings(coords, indices=of))
        return areas
