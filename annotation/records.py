"""What crosses from a source of annotations (an export, a project) into the store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shapely.geometry.base import BaseGeometry

__all__ = [
    "Batch",
    "PathObject",
    "Rejection",
    "measurements_from_json",
    "measurements_to_json",
    "nonfinite_name",
]


@dataclass(slots=True)
class PathObject:
    """One QuPath object, as it was pulled.

    Attributes
    ----------
    uuid
        Canonical lower-case UUID; None where the source gives none.
    object_type
        ``annotation``, ``detection``, ``cell``, ``tile``, ``tma_core`` or ``slide``.
    path_class
        As written; the levels of a derived class are joined by ``": "``. None: unclassified.
    geometry, nucleus
        Level-0 pixels, two-dimensional, neither repaired nor clipped. Only cells have a nucleus.
    z, t, c
        The image plane; c is None where the object belongs to all channels.
    parent
        UUID of the object that the source puts above this one; None where it says nothing.
    measurements
        None and NaN both mean that there is no value.
    extra
        Whatever else the source said; nothing is dropped. Each key stands only where there is
        something to tell: ``color`` and ``class_color`` ([r, g, b] or [r, g, b, a]), ``metadata``,
        ``object_type`` (one that QuPath doesn't know, read as an annotation), ``measurements``
        (a list of those that have no number, or no name of their own), ``classification``, ``geometry`` and ``nucleus`` (their
        further members, such as ``isEllipse``), ``feature`` and ``properties`` (unknown members).
    """

    uuid: str | None
    object_type: str
    path_class: str | None
    name: str | None
    locked: bool
    geometry: BaseGeometry
    nucleus: BaseGeometry | None = None
    z: int = 0
    t: int = 0
    c: int | None = None
    parent: str | None = None
    measurements: dict[str, float | None] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Rejection:
    """An object that did not come in: its UUID, or ``#`` and its place in the file, and why."""

    id: str
    reason: str


@dataclass(slots=True)
class Batch:
    """Objects that came in, in the order of the source, and those that did not.

    ``geometry_digests`` and ``content_digests`` (16 bytes each) run parallel to ``objects``.
    """

    objects: list[PathObject]
    rejections: list[Rejection]
    geometry_digests: list[bytes]
    content_digests: list[bytes]


def measurements_to_json(measurements: Mapping[str, float | None]) -> dict[str, float | str | None]:
    """Measurements as strict JSON can hold them: what is not finite becomes its name.

    The names are those of Java and QuPath: ``NaN``, ``Infinity`` and ``-Infinity``.
    """
    return {
        name: value if value is None or math.isfinite(value) else nonfinite_name(value)
        for name, value in measurements.items()
    }


def measurements_from_json(stored: Mapping[str, float | str | None]) -> dict[str, float | None]:
    """Undo :func:`measurements_to_json`."""
    return {name: None if value is None else float(value) for name, value in stored.items()}


def nonfinite_name(value: float) -> str:
    """What Java and QuPath call a number that is not finite."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
