"""Features that are not quite what QuPath writes: old, hand-written, or broken.

Each is taken apart member by member. What is known is understood leniently, what is unknown is
kept, and what makes an object unusable is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import msgspec

from annotation.geojson.feature import (
    Draft,
    is_object_type,
    keep,
    parse_uuid,
)
from annotation.geojson.shapes import SHAPES, GeometryCollection, Plane, Position, Shape
from annotation.geojson.text import UnreadableJSONError, load_json, make_plain

__all__ = ["draft_odd_feature"]

Members: TypeAlias = dict[str, Any]

_MAX_COLLECTION_DEPTH = 8
_COORDINATE_DEPTH = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
_shape_decoder = msgspec.json.Decoder(Shape)
_NULL = msgspec.Raw(b"null")
_CHILDREN = ("childObjects", "children")


class _FaultyFeatureError(Exception):
    """This feature can't become an object; the text says why."""


def draft_odd_feature(raw: msgspec.Raw | bytes, *, substituted: bool = False) -> Draft:
    """Take one feature apart.

    Parameters
    ----------
    raw
        Sound JSON.
    substituted
        Special numbers were substituted in it.

    Returns
    -------
    Draft
        With a ``fault`` where no object can be made of it.
    """
    draft = Draft()
    try:
        _fill(draft, raw, partial(load_json, substituted=substituted))
    except (_FaultyFeatureError, UnreadableJSONError) as fault:
        draft.fault = str(fault)
    return draft


def _fill(draft: Draft, raw: msgspec.Raw | bytes, load: Callable[[msgspec.Raw], Any]) -> None:
    parts = _split(raw, "not a Feature")
    draft.id = load(parts.pop("id", _NULL))
    kind = load(parts.pop("type", _NULL))
    if isinstance(kind, str) and kind in SHAPES:
        geometry = {"type": kind, **{key: load(part) for key, part in parts.items()}}
        _read_geometries(draft, geometry, None, {}, {})
        return
    if kind != "Feature":
        raise _FaultyFeatureError("not a Feature")
    properties_part = parts.pop("properties", _NULL)
    property_parts: dict[str, msgspec.Raw] = {}
    if not _opens_with(properties_part, b"n"):
        property_parts = _split(properties_part, "malformed properties")
    # Children stay bytes: a whole hierarchy may hang below one feature.
    children: list[msgspec.Raw] = []
    for key in _CHILDREN:
        if key in property_parts and _opens_with(property_parts[key], b"["):
            children += msgspec.json.decode(property_parts.pop(key), type=list[msgspec.Raw])
    draft.properties.childObjects = children or None  # they come in whatever their parent is
    geometry = _load_geometry(parts.pop("geometry", _NULL), load)
    nucleus = _load_geometry(parts.pop("nucleusGeometry", _NULL), load)
    members = {key: make_plain(load(part)) for key, part in parts.items()}
    properties = {key: make_plain(load(part)) for key, part in property_parts.items()}
    _read_geometries(draft, geometry, nucleus, members, properties)
    _read_properties(draft, properties)
    for key, value in members.items():
        keep(draft.extra, "feature", key, value)
    for key, value in properties.items():
        keep(draft.extra, "properties", key, value)


def _split(raw: msgspec.Raw | bytes, fault: str) -> dict[str, msgspec.Raw]:
    """The members of an object, each still in bytes."""
    if not memoryview(raw).nbytes:
        raise _FaultyFeatureError("malformed JSON")
    if not _opens_with(raw, b"{"):
        raise _FaultyFeatureError(fault)
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def _opens_with(raw: msgspec.Raw | bytes, bracket: bytes) -> bool:
    return bytes(memoryview(raw)[:1]) == bracket


def _load_geometry(part: msgspec.Raw, load: Callable[[msgspec.Raw], Any]) -> Any:
    """A sound geometry by its type, which is ten times as fast; anything else as it stands."""
    try:
        return _shape_decoder.decode(part)
    except (msgspec.DecodeError, RecursionError):
        return load(part)


def _read_properties(draft: Draft, properties: Members) -> None:
    """Move the properties that are understood into the draft; the others stay behind."""
    known = draft.properties
    for key in ("objectType", "object_type", "type"):
        written = properties.get(key)
        if isinstance(written, str) and (key != "type" or is_object_type(written)):
            known.objectType = properties.pop(key)
            break
    _read_inner_id(draft, properties)
    name = properties.get("name")
    if name is None or isinstance(name, str | int | float):
        known.name = None if name is None else str(properties["name"])
        properties.pop("name", None)
    locked = properties.get("isLocked")
    if locked is None or isinstance(locked, bool):
        known.isLocked = bool(properties.pop("isLocked", None))
    if parse_uuid(properties.get("parent")) is not None:
        known.parent = properties.pop("parent")
    known.color = properties.pop("color", None)
    known.classification = properties.pop("classification", None)
    measurements = properties.get("measurements")
    if _are_measurements(measurements):
        known.measurements = properties.pop("measurements", None)
    metadata = properties.get("metadata")
    if metadata is None or _is_flat(metadata):
        known.metadata = properties.pop("metadata", None)


def _read_inner_id(draft: Draft, properties: Members) -> None:
    """Take the id among the properties for the feature's own, where that one is no UUID."""
    inner = properties.get("id")
    if parse_uuid(draft.id) is not None:
        return
    if parse_uuid(inner) is not None:
        if is_object_type(draft.id):
            draft.properties.objectType = draft.properties.objectType or str(draft.id)
        elif draft.id is not None:
            keep(draft.extra, "feature", "id", draft.id)
        draft.id = properties.pop("id")
    elif draft.id is None and is_object_type(inner):
        draft.id = properties.pop("id")


def _are_measurements(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_flat(entry) for entry in value)
    return value is None or isinstance(value, dict)


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and not any(
        isinstance(member, dict | list) for member in value.values()
    )


def _read_geometries(
    draft: Draft, geometry: Any, nucleus: Any, members: Members, properties: Members
) -> None:
    draft.shape = _read_shape(geometry, draft.extra, "geometry")
    if nucleus is not None:
        draft.nucleus = _read_shape(nucleus, draft.extra, "nucleus")
    further = draft.extra.get("geometry", {})
    if draft.shape.plane is None:
        draft.shape.plane = _take_plane(further, members, properties)
    of_nucleus = draft.extra.get("nucleus", {})
    if draft.nucleus is not None and draft.nucleus.plane is None:
        draft.nucleus.plane = _take_plane(of_nucleus)
    for section, kept in (("geometry", further), ("nucleus", of_nucleus)):
        if kept:
            draft.extra[section] = make_plain(kept)
        else:
            draft.extra.pop(section, None)


def _take_plane(*holders: Members) -> Plane | None:
    for holder in holders:
        if (plane := _read_plane(holder.get("plane"))) is not None:
            del holder["plane"]
            return plane
    for holder in holders:
        loose = {key: holder[key] for key in ("z", "t", "c") if key in holder}
        if loose.keys() & {"z", "t"} and (plane := _read_plane(loose)) is not None:
            for key in loose:
                del holder[key]
            return plane
    return None


def _read_plane(value: Any) -> Plane | None:
    if not isinstance(value, dict):
        return None
    try:
        plane = msgspec.convert(value, type=Plane)
    except msgspec.ValidationError:
        return None
    return plane if plane.z >= 0 and plane.t >= 0 else None


def _read_shape(geometry: Any, extra: Members, section: str, depth: int = 0) -> Shape:
    if geometry is None:
        raise _FaultyFeatureError("empty geometry")
    if isinstance(geometry, Shape):
        return geometry
    if not isinstance(geometry, dict):
        raise _FaultyFeatureError("malformed geometry")
    if depth > _MAX_COLLECTION_DEPTH:
        raise _FaultyFeatureError("malformed geometry: collections nested too deeply")
    kind = geometry.get("type")
    if not isinstance(kind, str) or kind not in SHAPES:
        raise _FaultyFeatureError(f"unknown geometry type {str(kind)[:40]!r}")
    consumed = {"type", "coordinates"}
    shape: Shape
    if kind == "GeometryCollection":
        consumed = {"type", "geometries"}
        parts = geometry.get("geometries")
        if not isinstance(parts, list):
            raise _FaultyFeatureError("malformed geometry: a collection without geometries")
        shape = GeometryCollection(
            geometries=[_read_shape(part, extra, section, depth + 1) for part in parts]
        )
    else:
        coordinates = geometry.get("coordinates")
        if coordinates == []:
            raise _FaultyFeatureError("empty geometry")
        ordinates: set[int] = set()
        read = _read_coordinates(coordinates, _COORDINATE_DEPTH[kind], ordinates)
        shape = msgspec.convert({"type": kind, "coordinates": read}, type=SHAPES[kind])
        if ordinates - {2}:
            keep(extra, section, "ordinates", max(ordinates))  # QuPath drops the third as well
    if isinstance(geometry.get("isEllipse"), bool):
        shape.isEllipse = geometry["isEllipse"]
        consumed.add("isEllipse")
    for key in geometry.keys() - consumed:
        keep(extra, section, key, geometry[key])
    return shape


def _read_coordinates(value: Any, depth: int, ordinates: set[int]) -> Any:
    """Nested lists of positions, with every number a float."""
    if not isinstance(value, list):
        raise _FaultyFeatureError("malformed coordinates")
    if depth:
        return [_read_coordinates(member, depth - 1, ordinates) for member in value]
    if len(value) < 2:
        raise _FaultyFeatureError("malformed coordinates: too few numbers in a position")
    ordinates.add(len(value))
    position: Position = (_read_ordinate(value[0]), _read_ordinate(value[1]))
    return position


def _read_ordinate(value: Any) -> float:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _FaultyFeatureError("malformed coordinates")
    try:
        return float(value)
    except OverflowError:
        return math.inf
