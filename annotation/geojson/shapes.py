"""The geometry types of GeoJSON: decoded by type, built many at a time.

Decoded coordinates are nested Python lists. Turning them into arrays number by number costs more
than parsing them did; packed by msgspec, a list of float pairs has a fixed stride, which numpy
reads in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["SHAPES", "Plane", "Position", "Shape", "build_geometries"]

Position: TypeAlias = tuple[float, float]

MAX_COORDINATE_PX = 1e12
"""Beyond this a double no longer resolves 0.01 px with room for arithmetic."""

_MAX_COLLECTION_DEPTH = 8
_PACKED_PAIR = np.dtype([("_", "u1"), ("_x", "u1"), ("x", ">f8"), ("_y", "u1"), ("y", ">f8")])
_packer = msgspec.msgpack.Encoder()


class Plane(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The image plane of a geometry; QuPath writes c = -1 for all channels."""

    z: int = 0
    t: int = 0
    c: int = -1


class _Shape(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True, gc=False):
    plane: Plane | None = None
    isEllipse: bool = False  # noqa: N815 - QuPath's key


class Point(_Shape, tag="Point"):
    """One position."""

    coordinates: Position

    def paths(self) -> list[list[Position]]:
        """The runs of positions, in order."""
        return [[self.coordinates]]


class MultiPoint(_Shape, tag="MultiPoint"):
    """Positions; QuPath's counts."""

    coordinates: list[Position]

    def paths(self) -> list[list[Position]]:
        """The runs of positions, in order."""
        return [self.coordinates]


class LineString(_Shape, tag="LineString"):
    """A line or polyline."""

    coordinates: list[Position]

    def paths(self) -> list[list[Position]]:
        """The runs of positions, in order."""
        return [self.coordinates]


class MultiLineString(_Shape, tag="MultiLineString"):
    """Several lines."""

    coordinates: list[list[Position]]

    def paths(self) -> list[list[Position]]:
        """The runs of positions, in order."""
        return self.coordinates


class Polygon(_Shape, tag="Polygon"):
    """An outer ring and its holes."""

    coordinates: list[list[Position]]

    def paths(self) -> list[list[Position]]:
        """The runs of positions, in order."""
        return self.coordinates


class MultiPolygon(_Shape, tag="MultiPolygon"):
    """Several polygons."""

    coordinates: list[list[list[Position]]]

    def paths(self) -> list[list[Position]]:
        """The runs of positions, in order."""
        return list(chain.from_iterable(self.coordinates))


class GeometryCollection(_Shape, tag="GeometryCollection"):
    """Geometries of any type; QuPath can't write one, other programs can."""

    geometries: list[Shape]


Shape: TypeAlias = (
    Point | MultiPoint | LineString | MultiLineString | Polygon | MultiPolygon | GeometryCollection
)
_Simple: TypeAlias = Point | MultiPoint | LineString | MultiLineString | Polygon | MultiPolygon

SHAPES: dict[str, type[Shape]] = {
    shape.__name__: shape
    for shape in (
        Point,
        MultiPoint,
        LineString,
        MultiLineString,
        Polygon,
        MultiPolygon,
        GeometryCollection,
    )
}
_SHORTEST_PATH = {
    Point: 1,
    MultiPoint: 1,
    LineString: 2,
    MultiLineString: 2,
    Polygon: 3,
    MultiPolygon: 3,
}


def build_geometries(
    shapes: Sequence[Shape], *, depth: int = 0
) -> tuple[NDArray[np.object_], dict[int, str]]:
    """Build geometries in level-0 pixels.

    Parameters
    ----------
    shapes : length n
    depth
        How many collections these stand in.

    Returns
    -------
    geometries : shape (n,)
        None where the shape is at fault.
    faults
        Index of a shape to the reason why there is no geometry.
    """
    geometries = np.full(len(shapes), None, dtype=object)
    faults: dict[int, str] = {}
    of_type: dict[type[_Simple], list[int]] = {}
    for i, shape in enumerate(shapes):
        if isinstance(shape, GeometryCollection):
            _build_collection(i, shape, geometries, faults, depth)
        elif (fault := _find_fault(shape)) is None:
            of_type.setdefault(type(shape), []).append(i)
        else:
            faults[i] = fault
    for kind, places in of_type.items():
        _build_type(kind, places, shapes, geometries, faults)
    return geometries, faults


def _find_fault(shape: _Simple) -> str | None:
    paths = shape.paths()
    lengths = [len(path) for path in paths]
    if not any(lengths):
        return "empty geometry"
    if min(lengths) < _SHORTEST_PATH[type(shape)]:
        return "malformed coordinates: too few positions"
    if isinstance(shape, MultiPolygon) and not all(shape.coordinates):
        return "malformed coordinates: a part without a ring"
    return None


def _build_type(
    kind: type[_Simple],
    places: list[int],
    shapes: Sequence[Shape],
    geometries: NDArray[np.object_],
    faults: dict[int, str],
) -> None:
    paths_of = [shapes[i].paths() for i in places]  # type: ignore[union-attr]
    paths = list(chain.from_iterable(paths_of))
    sizes = np.fromiter(map(len, paths), dtype=np.intp, count=len(paths))
    xy = _pack_positions(list(chain.from_iterable(paths)))  # [n_positions, 2]
    if not (np.abs(xy) <= MAX_COORDINATE_PX).all():  # False for NaN as well
        sound = []
        for i, own_paths in zip(places, paths_of, strict=True):
            fault = _find_bad_number(own_paths)
            if fault is None:
                sound.append(i)
            else:
                faults[i] = fault
        if sound:
            _build_type(kind, sound, shapes, geometries, faults)
        return
    path_of = np.repeat(np.arange(len(paths)), sizes)
    owner = np.repeat(
        np.arange(len(places)),
        np.fromiter(map(len, paths_of), dtype=np.intp, count=len(places)),
    )  # [n_paths]
    if kind is Point:
        built = shapely.points(xy)
    elif kind is MultiPoint:
        built = shapely.multipoints(shapely.points(xy), indices=path_of)
    elif kind is LineString:
        built = shapely.linestrings(xy, indices=path_of)
    elif kind is MultiLineString:
        built = shapely.multilinestrings(shapely.linestrings(xy, indices=path_of), indices=owner)
    else:
        rings = shapely.linearrings(xy, indices=path_of)
        if kind is Polygon:
            built = shapely.polygons(rings, indices=owner)
        else:
            parts_of = [shapes[i].coordinates for i in places]  # type: ignore[union-attr]
            parts = list(chain.from_iterable(parts_of))
            part_of_ring = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
            polygons = shapely.polygons(rings, indices=part_of_ring)
            owner_of_part = np.repeat(np.arange(len(places)), [len(own) for own in parts_of])
            built = shapely.multipolygons(polygons, indices=owner_of_part)
    geometries[places] = built


def _pack_positions(positions: list[Position]) -> NDArray[np.float64]:
    packed = _packer.encode(positions)
    # A pair is 19 bytes: the mark of a 2-array, then twice the mark of a double and the double.
    header = len(packed) - _PACKED_PAIR.itemsize * len(positions)
    pairs = np.frombuffer(packed, dtype=_PACKED_PAIR, offset=header)
    xy = np.empty((len(positions), 2))
    xy[:, 0] = pairs["x"]
    xy[:, 1] = pairs["y"]
    return xy


def _find_bad_number(paths: list[list[Position]]) -> str | None:
    xy = _pack_positions(list(chain.from_iterable(paths)))
    if not np.isfinite(xy).all():
        return "NaN or infinite coordinates"
    if np.abs(xy).max() > MAX_COORDINATE_PX:
        return f"coordinates beyond {MAX_COORDINATE_PX:.0e} px"
    return None


def _build_collection(
    i: int,
    shape: GeometryCollection,
    geometries: NDArray[np.object_],
    faults: dict[int, str],
    depth: int,
) -> None:
    if depth >= _MAX_COLLECTION_DEPTH:
        faults[i] = "malformed geometry: collections nested too deeply"
        return
    members, member_faults = build_geometries(shape.geometries, depth=depth + 1)
    if member_faults:
        faults[i] = member_faults[min(member_faults)]
    elif not len(members):
        faults[i] = "empty geometry"
    else:
        geometries[i] = shapely.geometrycollections(members)
