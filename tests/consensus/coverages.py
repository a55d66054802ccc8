"""Coverages for tests: cells that tile a square, sharing their borders vertex by vertex."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

SIDE_PX = 100.0


def cells(seed: int, count: int) -> NDArray[np.object_]:
    """Voronoi cells of random places; those that reach beyond twice the square are left out."""
    places = np.random.default_rng(seed).uniform(0, SIDE_PX, (count, 2))
    found = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(places)))
    bounds = shapely.bounds(found)
    inside = (bounds[:, :2] > -SIDE_PX).all(axis=1) & (bounds[:, 2:] < 2 * SIDE_PX).all(axis=1)
    return np.asarray(found[inside], dtype=object)


def squares(n_columns: int, n_rows: int, side_px: float = 1.0) -> NDArray[np.object_]:
    """Squares in rows, from left to right and from top to bottom."""
    row, column = np.divmod(np.arange(n_columns * n_rows), n_columns)
    x, y = column * side_px, row * side_px
    return np.asarray(shapely.box(x, y, x + side_px, y + side_px), dtype=object)
