"""Objects as GeoJSON that QuPath 0.3 to 0.7 imports, and that reads back as the same objects.

Three habits of QuPath's importers decide how things are spelled. A classification needs a colour,
or 0.4 and later refuse it. Measurements as a list of names and values are the only form in which
every version takes what is not finite. And a MultiPolygon of one part breaks the import.
"""

from __future__ import annotations

import gzip
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec
import shapely
from shapely.geometry.base import BaseGeometry

from annotation.errors import InputError
from annotation.records import PathObject, measurements_to_json

__all__ = ["feature", "write_feature_collection"]

Color: TypeAlias = list[int] | tuple[int, int, int]

_encoder = msgspec.json.Encoder()
_QUPATH_TYPES = {"tma_core": "tmaCore", "slide": "root"}
_POINT, _LINES, _POLYGON, _MULTI_POINT, _MULTI_LINE, _MULTI_POLYGON = 0, (1, 2), 3, 4, 5, 6


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
        Taken one by one. A mapping is written as it is, and holds finite numbers only.
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
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                    n_written = _write(packed, features, foreign)
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
    extra = thing.extra
    plane = _plane(thing)
    written: dict[str, Any] = {"type": "Feature"}
    if thing.uuid is not None:
        written["id"] = thing.uuid
    written["geometry"] = _geometry(thing, thing.geometry, plane, extra.get("geometry"))
    if thing.nucleus is not None:
        written["nucleusGeometry"] = _geometry(thing, thing.nucleus, plane, extra.get("nucleus"))
    written["properties"] = _properties(thing, color)
    for key, value in extra.get("feature", {}).items():
        written.setdefault(key, value)
    return written


def _write(
    file: BinaryIO | gzip.GzipFile,
    features: Iterable[PathObject | Mapping[str, Any]],
    foreign: Mapping[str, Any],
) -> int:
    file.write(b'{"type":"FeatureCollection",')
    for name, value in foreign.items():
        file.write(_encoder.encode(name) + b":" + _encoder.encode(value) + b",")
    file.write(b'"features":[')
    n_written = 0
    for item in features:
        encoded = _encoder.encode(feature(item) if isinstance(item, PathObject) else item)
        file.write(b",\n" + encoded if n_written else b"\n" + encoded)
        n_written += 1
    file.write(b"\n]}\n")
    return n_written


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
        {"name": name, "value": "NaN" if value is None else value}
        for name, value in measurements_to_json(thing.measurements).items()
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


def _plane(thing: PathObject) -> dict[str, int] | None:
    if thing.z == 0 and thing.t == 0 and thing.c is None:
        return None
    return {"c": -1 if thing.c is None else thing.c, "z": thing.z, "t": thing.t}


def _geometry(
    thing: PathObject,
    geometry: BaseGeometry | None,
    plane: Mapping[str, int] | None,
    further: Mapping[str, Any] | None,
) -> dict[str, Any]:
    if geometry is None or shapely.is_empty(geometry):
        raise InputError(
            f"object {thing.uuid or thing.name!r} has no geometry, and QuPath has no object "
            "without one; leave it out",
            object=thing.uuid,
        )
    written = _shape(geometry)
    if plane is not None:
        written["plane"] = plane
    for key, value in (further or {}).items():
        written.setdefault(key, value)
    return written


def _shape(geometry: BaseGeometry) -> dict[str, Any]:
    kind = shapely.get_type_id(geometry)
    parts = shapely.get_parts(geometry)
    if kind in (_MULTI_POINT, _MULTI_LINE, _MULTI_POLYGON):
        parts = parts[~shapely.is_empty(parts)]
        if len(parts) == 1:
            return _shape(parts[0])
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
    return {"type": "GeometryCollection", "geometries": [_shape(part) for part in parts]}


def _rings(polygon: BaseGeometry) -> list[list[list[float]]]:
    return [_positions(ring) for ring in shapely.get_rings(polygon)]


def _positions(geometry: BaseGeometry) -> list[list[float]]:
    positions: list[list[float]] = shapely.get_coordinates(geometry).tolist()
    return positions
