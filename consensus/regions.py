"""From faces to regions: what a person can look at and a release can export.

Frame: level-0 pixels, origin top left; areas in square pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike
from shapely import Geometry

from annotation.errors import InputError
from consensus.boundary import Boundary
from consensus.faces.outlines import GRID_PX

__all__ = [
    "Components",
    "connected_components",
    "disputed_components",
    "dissolve_by_label",
    "same_region",
]

POLYGON, MULTIPOLYGON = 3, 6  # shapely.get_type_id


def dissolve_by_label(geometries: ArrayLike, labels: Sequence[int]) -> dict[int, Geometry]:
    """Join the geometries of each label; labels come in rising order.

    They may overlap or touch in any way; borders that two labels share stay shared only as far
    as their vertices were the same before.
    """
    shapes, codes = np.asarray(geometries, dtype=object), np.asarray(labels, dtype=np.int64)
    if len(shapes) != len(codes):
        raise InputError(
            f"{len(shapes)} geometries and {len(codes)} labels; give one label per geometry"
        )
    return {
        int(code): _areal(shapely.disjoint_subset_union_all(shapes[codes == code]))
        for code in np.unique(codes)
    }


def connected_components(geometry: Geometry) -> list[Geometry]:
    """Polygons that a region consists of, in reading order (top to bottom, then left to right).

    Parts that share no more than a corner are two components. Order and number depend on the
    region alone, not on how it was put together.
    """
    return _components(_areal(shapely.disjoint_subset_union_all(shapely.get_parts(geometry))))


def _components(area: Geometry) -> list[Geometry]:
    parts = shapely.get_parts(area)
    parts = parts[~shapely.is_empty(parts)]
    if len(parts) == 0:
        return []
    x_min, y_min, x_max, y_max = shapely.bounds(parts).T
    order = np.lexsort((shapely.area(parts), x_max, y_max, x_min, y_min))
    return list(parts[order])


@dataclass(frozen=True)
class Components:
    """Components of a disputed region that are worth a person's look, and what was left out.

    ``dropped_px2`` is the area of the ``n_dropped`` components that were too small or too thin.
    """

    kept: list[Geometry]
    dropped_px2: float
    n_dropped: int


def disputed_components(
    geometry: Geometry, *, min_area_px2: float = 0.0, boundary: Boundary | None = None
) -> Components:
    """Leave out what nobody should be asked about: specks, and strips along a boundary.

    Parameters
    ----------
    geometry
        A disputed region; a polygon, a multipolygon or a collection of them.
    min_area_px2
        Components below this area are left out.
    boundary
        The slide's strips. A component is left out where less lies outside them than the least
        area, or than half a disc of the tolerance; else it stays whole.
    """
    if not min_area_px2 >= 0:
        raise InputError(f"least area {min_area_px2} px2 is negative; give 0 or more")
    parts = np.array(connected_components(geometry), dtype=object)
    area_px2 = shapely.area(parts)
    kept = area_px2 >= min_area_px2
    if boundary is not None:
        least_px2 = max(min_area_px2, boundary.least_core_px2)
        kept[kept] = boundary.core_px2(parts[kept]) >= least_px2
    return Components(
        kept=list(parts[kept]),
        dropped_px2=float(area_px2[~kept].sum()),
        n_dropped=int((~kept).sum()),
    )


def same_region(
    one: Geometry, other: Geometry, *, tolerance_px2: float = 1e-2, relative: float = 1e-6
) -> bool:
    """Whether two regions are one and the same, but for rounding.

    Their vertices, rings and parts may differ, if the area that only one of them covers is at
    most ``tolerance_px2`` and at most the share ``relative`` of the larger one's, the grid's
    rounding along both outlines apart. Two empty regions are the same; an empty one and another
    are not.
    """
    if shapely.is_empty(one) or shapely.is_empty(other):
        return bool(shapely.is_empty(one) and shapely.is_empty(other))
    larger_px2 = max(one.area, other.area)
    rounding_px2 = GRID_PX * (one.length + other.length)
    allowed_px2 = min(tolerance_px2, relative * larger_px2) + rounding_px2
    if abs(one.area - other.area) > allowed_px2:
        return False
    if bool(shapely.equals_identical(one, other)):
        return True
    return bool(shapely.symmetric_difference(one, other).area <= allowed_px2)


def _areal(geometry: Geometry) -> Geometry:
    """The polygons of a geometry, without the points and lines that a union can leave."""
    parts = shapely.get_parts(geometry)
    kind = shapely.get_type_id(parts)
    if np.isin(kind, (POLYGON, MULTIPOLYGON)).all():
        return geometry
    solid = shapely.get_parts(parts[np.isin(kind, (POLYGON, MULTIPOLYGON))])
    return solid[0] if len(solid) == 1 else shapely.multipolygons(solid)
