"""Objects as GeoJSON that QuPath 0.3 to 0.7 imports, and that reads back as the same objects.

Three habits of QuPath's importers decide how things are spelled. A classification needs a colour,
or 0.4 and later refuse it. Measurements as a list of names and values are the only form in which
every version takes what is not finite. And a MultiPolygon of one part breaks the import.
"""

from __future__ import annotations

import gzip
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BufferedWriter
from itertools import islice, pairwise
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from annotation.errors import InputError
from annotation.geojson.written_behind import WrittenBehind
from annotation.records import PathObject, nonfinite_name

__all__ = ["feature", "write_feature_collection"]

Color: TypeAlias = list[int] | tuple[int, int, int]

_encoder = msgspec.json.Encoder()
_QUPATH_TYPES = {"tma_core": "tmaCore", "slide": "root"}
_POINT, _LINES, _POLYGON, _MULTI_POINT, _MULTI_LINE, _MULTI_POLYGON = 0, (1, 2), 3, 4, 5, 6
_AT_ONCE = 1_000
_SMALL = 100
"""Outlines of up to so many positions are taken apart together, which is ten times as quick."""
_BUFFER_BYTES = 1_000_000
_COMPRESSION = 4
"""A twentieth larger than at level 6, in half the time."""


def write_feature_collection(
    path: Path | str,
    features: Iterable[PathObject | Mapping[str, Any]],
    *,
    foreign_members: Mapping[str, Any] | None = None,
) -> int:
    """Write a FeatureCollection, all of it or nothing; the same features give the same bytes.

    Parameters
    ----------
    path
        Gzipped where it ends in ``.gz``; its folder is made where there is none.
    features
        Taken some at a time. A mapping is written as it is, and holds finite numbers only.
    foreign_members
        Members of the collection beside its features, such as ``{"metadata": {...}}``.

    Returns
    -------
    int
        Features written.

    Raises
    ------
    InputError
        An object has no geometry, or a foreign member would hide a member of the collection.
    """
    path = Path(path)
    foreign = dict(foreign_members or {})
    if foreign.keys() & {"type", "features"}:
        raise InputError("foreign members of a FeatureCollection can't be 'type' or 'features'")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".pathquorum-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            if path.suffix.lower() == ".gz":
                with (
                    gzip.GzipFile("", "wb", _COMPRESSION, fileobj=file, mtime=0) as packed,
                    BufferedWriter(WrittenBehind(packed), _BUFFER_BYTES) as buffered,
                ):
                    n_written = _write(buffered, features, foreign)
            else:
                n_written = _write(file, features, foreign)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return n_written


def feature(thing: PathObject, *, color: Color | None = None) -> dict[str, Any]:
    """The GeoJSON feature of one object.

    Parameters
    ----------
    color
        Of its class; without it the one it was pulled with, or else QuPath's choice.

    Raises
    ------
    InputError
        The object has no geometry, and QuPath has no object without one.
    """
    return _feature(thing, _shape(thing, thing.geometry), color)


def _feature(thing: PathObject, shape: dict[str, Any], color: Color | None) -> dict[str, Any]:
    extra = thing.extra
    plane = _plane(thing)
    written: dict[str, Any] = {"type": "Feature"}
    if thing.uuid is not None:
        written["id"] = thing.uuid
    written["geometry"] = _geometry(shape, plane, extra.get("geometry"))
    if thing.nucleus is not None:
        nucleus = _shape(thing, thing.nucleus)
        written["nucleusGeometry"] = _geometry(nucleus, plane, extra.get("nucleus"))
    written["properties"] = _properties(thing, color)
    for key, value in extra.get("feature", {}).items():
        written.setdefault(key, value)
    return written


def _write(
    file: BinaryIO,
    features: Iterable[PathObject | Mapping[str, Any]],
    foreign: Mapping[str, Any],
) -> int:
    file.write(b'{"type":"FeatureCollection",')
    for name, value in foreign.items():
        file.write(_encoder.encode(name) + b":" + _encoder.encode(value) + b",")
    file.write(b'"features":[')
    n_written = 0
    features = iter(features)
    while items := list(islice(features, _AT_ONCE)):
        for written in _built(items):
            encoded = _encoder.encode(written)
            file.write(b",\n" + encoded if n_written else b"\n" + encoded)
            n_written += 1
    file.write(b"\n]}\n")
    return n_written


def _built(items: Sequence[PathObject | Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    shapes = _shapes([item for item in items if isinstance(item, PathObject)])
    for item in items:
        yield _feature(item, next(shapes), None) if isinstance(item, PathObject) else item


def _shapes(things: Sequence[PathObject]) -> Iterator[dict[str, Any]]:
    """The outline of each object; small ones of one ring, which most are, all at once."""
    outlines = np.empty(len(things), dtype=object)
    outlines[:] = [thing.geometry for thing in things]
    single = (shapely.get_type_id(outlines) == _POLYGON) & ~shapely.is_empty(outlines)
    single &= shapely.get_num_interior_rings(outlines) == 0
    single &= shapely.get_num_coordinates(outlines) <= _SMALL
    xy, owner = shapely.get_coordinates(outlines[single], return_index=True)
    positions = xy.tolist()
    ends = np.searchsorted(owner, np.arange(int(single.sum()) + 1)).tolist()
    rings = (positions[begin:end] for begin, end in pairwise(ends))
    for thing, alone in zip(things, single.tolist(), strict=True):
        if alone:
            yield {"type": "Polygon", "coordinates": [next(rings)]}
        else:
            yield _shape(thing, thing.geometry)


def _properties(thing: PathObject, color: Color | None) -> dict[str, Any]:
    extra = thing.extra
    kind = extra.get("object_type", _QUPATH_TYPES.get(thing.object_type, thing.object_type))
    properties: dict[str, Any] = {"objectType": kind}
    if thing.name is not None:
        properties["name"] = thing.name
    if "color" in extra:
        properties["color"] = extra["color"]
    if thing.path_class is not None:
        properties["classification"] = {
            "name": thing.path_class,
            # An empty one leaves the colour to QuPath; 0.4 and later refuse a class without any.
            "color": list(color) if color is not None else extra.get("class_color", []),
            **extra.get("classification", {}),
        }
    if thing.locked:
        properties["isLocked"] = True
    measurements = [
        {"name": name, "value": value if value is not None and isfinite(value) else _told(value)}
        for name, value in thing.measurements.items()
    ]
    measurements += extra.get("measurements", [])
    if measurements:
        properties["measurements"] = measurements
    if extra.get("metadata"):
        properties["metadata"] = extra["metadata"]
    if thing.parent is not None:
        properties["parent"] = thing.parent  # QuPath goes by what lies in what, and ignores it
    for key, value in extra.get("properties", {}).items():
        properties.setdefault(key, value)
    return properties


def _told(value: float | None) -> str:
    return "NaN" if value is None else nonfinite_name(value)


def _plane(thing: PathObject) -> dict[str, int] | None:
    if thing.z == 0 and thing.t == 0 and thing.c is None:
        return None
    return {"c": -1 if thing.c is None else thing.c, "z": thing.z, "t": thing.t}


def _geometry(
    shape: dict[str, Any], plane: Mapping[str, int] | None, further: Mapping[str, Any] | None
) -> dict[str, Any]:
    if plane is not None:
        shape["plane"] = plane
    for key, value in (further or {}).items():
        shape.setdefault(key, value)
    return shape


def _shape(thing: PathObject, geometry: BaseGeometry | None) -> dict[str, Any]:
    if geometry is None or shapely.is_empty(geometry):
        raise InputError(
            f"object {thing.uuid or thing.name!r} has no geometry, and QuPath has no object "
            "without one; leave it out",
            object=thing.uuid,
        )
    return _written_shape(geometry)


def _written_shape(geometry: BaseGeometry) -> dict[str, Any]:
    kind = shapely.get_type_id(geometry)
    parts = shapely.get_parts(geometry)
    if kind in (_MULTI_POINT, _MULTI_LINE, _MULTI_POLYGON):
        parts = parts[~shapely.is_empty(parts)]
        if len(parts) == 1:
            return _written_shape(parts[0])
    if kind == _POINT:
        return {"type": "Point", "coordinates": _positions(geometry)[0]}
    if kind == _MULTI_POINT:
        return {"type": "MultiPoint", "coordinates": _positions(geometry)}
    if kind in _LINES:
        return {"type": "LineString", "coordinates": _positions(geometry)}
    if kind == _MULTI_LINE:
        return {"type": "MultiLineString", "coordinates": [_positions(part) for part in parts]}
    if kind == _POLYGON:
        return {"type": "Polygon", "coordinates": _rings(geometry)}
    if kind == _MULTI_POLYGON:
        return {"type": "MultiPolygon", "coordinates": [_rings(part) for part in parts]}
    return {"type": "GeometryCollection", "geometries": [_written_shape(part) for part in parts]}


def _rings(polygon: BaseGeometry) -> list[list[list[float]]]:
    return [_positions(ring) for ring in shapely.get_rings(polygon)]


def _positions(geometry: BaseGeometry) -> list[list[float]]:
    positions: list[list[float]] = shapely.get_coordinates(geometry).tolist()
    return positions
