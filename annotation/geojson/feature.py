"""One feature of an export, and what QuPath means by its members.

Type, class, colour and measurements have changed their spelling over QuPath's versions: ``objectType``
was ``object_type`` and before that the ``id``; a derived class is ``name`` with colons, ``names``, or
nested ``parentClass``; ``color`` was ``colorRGB``; measurements were a list of names and values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec
from shapely.geometry.base import BaseGeometry

from annotation.geojson.shapes import Plane, Shape
from annotation.geojson.text import SUBSTITUTED_NUMBERS
from annotation.records import PathObject

__all__ = ["Draft", "Feature", "Properties", "is_object_type", "make_object", "parse_uuid"]

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

OBJECT_TYPES = {
    "annotation": "annotation",
    "detection": "detection",
    "cell": "cell",
    "tile": "tile",
    "tmaCore": "tma_core",
    "tma_core": "tma_core",
    "root": "slide",
    "unknown": "annotation",
    # Before QuPath 0.4 the id held the type.
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tma_core",
    "PathRootObject": "slide",
}


Measurements: TypeAlias = dict[str, float | str | None] | list[dict[str, float | str | None]]


class Properties(msgspec.Struct, forbid_unknown_fields=True):
    """The properties that QuPath writes, by the names it gives them now."""

    objectType: str | None = None  # noqa: N815 - QuPath's key
    name: str | None = None
    color: list[int] | int | None = None
    classification: dict[str, list[str | int] | str | int | None] | str | None = None
    isLocked: bool = False  # noqa: N815 - QuPath's key
    measurements: Measurements | None = None
    metadata: dict[str, str | int | float | bool | None] | None = None
    childObjects: list[msgspec.Raw] | None = None  # noqa: N815 - QuPath's key
    parent: str | None = None


class Feature(msgspec.Struct, forbid_unknown_fields=True):
    """A feature with nothing in it that QuPath would not write."""

    type: Literal["Feature"]
    geometry: Shape | None
    id: str | None = None
    nucleusGeometry: Shape | None = None  # noqa: N815 - QuPath's key
    properties: Properties | None = None


@dataclass(slots=True)
class Draft:
    """A feature on its way to an object: decoded, its geometry not yet built.

    ``id`` is what stood there; ``extra`` is the beginning of the object's. With a ``fault`` the
    rest may be missing.
    """

    id: object = None
    shape: Shape | None = None
    nucleus: Shape | None = None
    properties: Properties = field(default_factory=Properties)
    extra: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None
    uuid: str | None = None
    parent: str | None = None
    ordinal: int = 0


def parse_uuid(value: object) -> str | None:
    """The canonical form of a UUID; None for anything else, such as a type name or a number."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value.lower()
    return None


def is_object_type(value: object) -> bool:
    """Whether this is a name for one of QuPath's kinds of object, of any version."""
    return isinstance(value, str) and value in OBJECT_TYPES


def keep(extra: dict[str, Any], section: str, key: str, value: object) -> None:
    """Keep what has no place of its own, under the member it stood in."""
    extra.setdefault(section, {})[key] = value


def make_object(draft: Draft, geometry: BaseGeometry, nucleus: BaseGeometry | None) -> PathObject:
    """The object that a sound draft describes."""
    properties, extra = draft.properties, draft.extra
    plane = _DEFAULT_PLANE
    if draft.shape is not None:
        plane = draft.shape.plane or plane
        if draft.shape.isEllipse:
            keep(extra, "geometry", "isEllipse", True)
    if draft.nucleus is not None:
        if draft.nucleus.isEllipse:
            keep(extra, "nucleus", "isEllipse", True)
        if draft.nucleus.plane is not None and draft.nucleus.plane != plane:
            keep(extra, "nucleus", "plane", msgspec.structs.asdict(draft.nucleus.plane))
    if properties.color is not None:
        _keep_color(extra, "color", properties.color)
    if draft.uuid is None and draft.id is not None and not is_object_type(draft.id):
        keep(extra, "feature", "id", draft.id)
    if properties.metadata:
        extra["metadata"] = properties.metadata
    return PathObject(
        uuid=draft.uuid,
        object_type=_read_type(draft),
        path_class=_read_class(properties.classification, extra),
        name=properties.name,
        locked=properties.isLocked,
        geometry=geometry,
        nucleus=nucleus,
        z=plane.z,
        t=plane.t,
        c=None if plane.c < 0 else plane.c,
        parent=draft.parent or parse_uuid(properties.parent),
        measurements=_read_measurements(properties.measurements, extra),
        extra=extra,
    )


_DEFAULT_PLANE = Plane()


def _read_type(draft: Draft) -> str:
    written = draft.properties.objectType
    if written is None:
        return (
            OBJECT_TYPES.get(draft.id, "annotation") if isinstance(draft.id, str) else "annotation"
        )
    known = OBJECT_TYPES.get(written)
    if known is None:  # QuPath makes an annotation of it as well
        draft.extra["object_type"] = written
        return "annotation"
    return known


def _read_class(classification: Any, extra: dict[str, Any]) -> str | None:
    if classification is None:
        return None
    if isinstance(classification, str):
        return classification if classification.strip() else None
    if not isinstance(classification, dict):
        keep(extra, "properties", "classification", classification)
        return None
    color = classification.get("color", classification.get("colorRGB"))
    if color is not None:
        _keep_color(extra, "class_color", color)
    if not classification.keys() <= _CLASSIFICATION_MEMBERS:
        extra["classification"] = {
            key: value
            for key, value in classification.items()
            if key not in _CLASSIFICATION_MEMBERS
        }
    joined = ": ".join(_read_levels(classification))
    return joined if joined.strip() else None


def _read_levels(classification: dict[str, Any]) -> list[str]:
    levels: list[str] = []
    level: Any = classification
    while isinstance(level, dict):
        name, names = level.get("name"), level.get("names")
        if name is not None:
            levels.insert(0, str(name))
        elif isinstance(names, list):
            levels[:0] = map(str, names)
        level = level.get("parentClass")
    return levels


_CLASSIFICATION_MEMBERS = frozenset({"name", "names", "color", "colorRGB", "parentClass"})


def _keep_color(extra: dict[str, Any], key: str, color: Any) -> None:
    """[r, g, b], with alpha behind it where QuPath wrote one; packed ARGB is taken apart."""
    if isinstance(color, list):
        if not color:  # QuPath's way of saying that it chooses
            return
        sound = set(map(type, color)) == {int} and min(color) >= 0 and max(color) <= 255
        if sound and len(color) in (3, 4):
            extra[key] = color
            return
    elif type(color) is int:
        extra[key] = [color >> 16 & 255, color >> 8 & 255, color & 255]
        return
    keep(extra, "properties", key, color)


def _read_measurements(
    written: Measurements | None, extra: dict[str, Any]
) -> dict[str, float | None]:
    if not written:
        return {}
    pairs: Iterable[tuple[object, object, object]]
    if isinstance(written, list):
        pairs = ((entry.get("name"), entry.get("value"), entry) for entry in written)
    else:
        pairs = ((name, value, None) for name, value in written.items())
    measurements: dict[str, float | None] = {}
    for name, value, entry in pairs:
        number = value if isinstance(value, float) else _read_number(value)
        unread = number is None and value is not None
        if unread or not isinstance(name, str) or name in measurements:
            unread_entry = {"name": name, "value": value} if entry is None else entry
            extra.setdefault("measurements", []).append(unread_entry)
        else:
            measurements[name] = number
    return measurements


def _read_number(value: object) -> float | None:
    """A measurement as a number; the names of what is not finite count as numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and value in SUBSTITUTED_NUMBERS:
        return SUBSTITUTED_NUMBERS[value]
    try:
        return float(value)
    except (OverflowError, ValueError):
        return None
