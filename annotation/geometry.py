"""What of an outline can be rated: repaired where it must be, clipped where it hangs over.

Frame: level-0 pixels, origin top left, x right, y down. Everything works on arrays of shapely
geometries at once; those that are valid and inside, nearly all, are only looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

__all__ = ["RatedGeometry", "from_wkb", "rate_geometries", "to_wkb"]

Geometries: TypeAlias = NDArray[np.object_]
Mask: TypeAlias = NDArray[np.bool_]

_AREA = 2
_POLYGON, _MULTI_POLYGON = 3, 6

_LARGE_VERTICES = 10_000
"""From here on shapely's make_valid takes seconds to keep collapsed vertices, which we drop."""

_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93], dtype=np.uint64)
"""Odd constants that spread the bits of a key."""


def to_wkb(geometries: ArrayLike) -> list[bytes]:
    """Two-dimensional little-endian WKB of each geometry."""
    array = np.asarray(geometries, dtype=object)
    blobs: list[bytes] = shapely.to_wkb(array, output_dimension=2, byte_order=1).tolist()
    return blobs


def from_wkb(blobs: Iterable[bytes]) -> Geometries:
    """Undo :func:`to_wkb`."""
    geometries: Geometries = np.asarray(shapely.from_wkb(np.array(list(blobs), dtype=object)))
    return geometries


@dataclass(slots=True)
class RatedGeometry:
    """Outlines as they are rated, parallel to those that were pulled.

    Attributes
    ----------
    geometries : shape (n,)
        Valid and within the slide; empty where nothing is left. What had an area has polygons only.
    repaired : shape (n,)
        It was invalid: even-odd, as ``shapely.make_valid`` does it.
    area_change_px2 : shape (n,)
        By the repair: area after minus area before.
    overhang_px2 : shape (n,)
        Area that lay beyond the slide's edge.
    outside : shape (n,)
        Nothing of it lies on the slide.
    """

    geometries: Geometries
    repaired: Mask
    area_change_px2: NDArray[np.float64]
    overhang_px2: NDArray[np.float64]
    outside: Mask


def rate_geometries(geometries: ArrayLike, width_px: float, height_px: float) -> RatedGeometry:
    """Repair what is invalid and clip what hangs over the slide's edge.

    Parameters
    ----------
    geometries : shape (n,)
        As pulled; none of them is empty.
    width_px, height_px
        Of the slide.
    """
    pulled = np.asarray(geometries, dtype=object)
    rated = pulled.copy()
    n = len(pulled)
    area_change_px2, overhang_px2 = np.zeros(n), np.zeros(n)

    areal = shapely.get_dimensions(pulled) == _AREA
    repaired: Mask = areal & ~shapely.is_valid(pulled)
    # A collection may cover a place twice, though each of its members is valid.
    remade = np.flatnonzero(repaired | (areal & ~_is_polygonal(pulled)))
    for i in remade.tolist():
        rated[i] = _repair(pulled[i])
    area_change_px2[remade] = shapely.area(rated[remade]) - shapely.area(pulled[remade])

    left, top, right, bottom = shapely.bounds(pulled).T
    outside: Mask = (right < 0) | (bottom < 0) | (left > width_px) | (top > height_px)
    beyond = np.flatnonzero((left < 0) | (top < 0) | (right > width_px) | (bottom > height_px))
    whole = rated[beyond]
    clipped = shapely.intersection(whole, shapely.box(0, 0, width_px, height_px))
    for i in np.flatnonzero(areal[beyond] & ~_is_polygonal(clipped)).tolist():
        clipped[i] = _keep_area(clipped[i])
    # An outline that only touches the edge has nothing on the slide; a point there is on it. What
    # had no area to begin with is judged by its bounds alone.
    outside[beyond] |= shapely.is_empty(clipped) & ~shapely.is_empty(whole)
    overhang_px2[beyond] = shapely.area(whole) - shapely.area(clipped)
    rated[beyond] = clipped
    return RatedGeometry(rated, repaired, area_change_px2, overhang_px2, outside)


def _is_polygonal(geometries: Geometries) -> Mask:
    kinds = shapely.get_type_id(geometries)
    mask: Mask = (kinds == _POLYGON) | (kinds == _MULTI_POLYGON)
    return mask


def _keep_area(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons among the parts of a geometry."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = shapely.get_parts(geometry)
    while (shapely.get_type_id(parts) > _POLYGON).any():
        parts = shapely.get_parts(parts)
    polygons = parts[shapely.get_type_id(parts) == _POLYGON]
    polygons = polygons[~shapely.is_empty(polygons)]
    if len(polygons) == 1:
        kept: BaseGeometry = polygons[0]
        return kept
    return shapely.union_all(polygons) if len(polygons) else shapely.Polygon()


def _repair(geometry: BaseGeometry) -> BaseGeometry:
    """The area of a geometry by the even-odd rule, as a valid polygon or multipolygon."""
    if geometry.geom_type == "GeometryCollection":
        parts = [_repair(part) for part in shapely.get_parts(geometry)]
        return _keep_area(shapely.union_all(parts)) if parts else shapely.Polygon()
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        return shapely.Polygon()
    if shapely.is_valid(geometry):
        return geometry
    if shapely.get_num_coordinates(geometry) < _LARGE_VERTICES:
        return _keep_area(shapely.make_valid(geometry))
    return _make_large_valid(geometry)


def _make_large_valid(geometry: BaseGeometry) -> BaseGeometry:
    """What ``shapely.make_valid`` gives, less the lines and points it keeps of what collapsed.

    Each round takes the area that the remaining edges enclose and drops the edges that bound it;
    what a later round finds inside an earlier one is taken out again.
    """
    edges = shapely.get_parts(shapely.unary_union(shapely.boundary(geometry)))
    area: BaseGeometry = shapely.Polygon()
    while len(edges):
        enclosed = shapely.build_area(shapely.multilinestrings(edges))
        if shapely.is_empty(enclosed):
            break
        area = shapely.symmetric_difference(area, enclosed)
        edges = _drop_bounding(edges, enclosed)
    return _keep_area(area)


def _drop_bounding(edges: Geometries, area: BaseGeometry) -> Geometries:
    """Those of the noded edges that are not part of the boundary of an area made of them.

    An edge is part of it wholly or not at all, so its first segment decides, vertex for vertex.
    """
    xy, ring_of = shapely.get_coordinates(
        shapely.get_rings(shapely.get_parts(area)), return_index=True
    )
    same_ring = ring_of[1:] == ring_of[:-1]
    boundary = _segment_keys(xy[:-1][same_ring], xy[1:][same_ring])
    start, end = (shapely.get_coordinates(shapely.get_point(edges, i)) for i in (0, 1))
    return edges[~np.isin(_segment_keys(start, end), boundary)]


def _segment_keys(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.uint64]:
    """A 64-bit key per segment, whatever its direction; sorting rows of floats takes ten times as long."""
    key = np.zeros(len(start), dtype=np.uint64)
    for ends in (start, end):
        bits = np.ascontiguousarray(ends + 0.0).view(np.uint64)  # -0.0 becomes 0.0
        mixed = bits[:, 0] * _MIX[0] ^ (bits[:, 1] * _MIX[1])
        mixed ^= mixed >> np.uint64(29)
        key += mixed * _MIX[2]
    return key
