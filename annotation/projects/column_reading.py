"""Columns that QuPath sent, as batches of objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.collector import collector_paused
from annotation.digests import content_digests, geometry_digests
from annotation.duplicates import SeenObjects
from annotation.geojson.shapes import MAX_COORDINATE_PX
from annotation.projects.columns import COLORED, KINDS, LOCKED, MISSING, ObjectColumns, Shape
from annotation.records import Batch, PathObject, Rejection

__all__ = ["batch_of", "without_duplicates"]


def batch_of(columns: ObjectColumns) -> Batch:
    """Objects with their digests, and what can't be one.

    An outline that is empty, or has coordinates that are no numbers, rejects its object.
    """
    with collector_paused():
        return _batch_of(columns)


def _batch_of(columns: ObjectColumns) -> Batch:
    rejections = [Rejection(number, reason) for number, reason in columns.rejected]
    outlines, nuclei = _geometries(columns)
    faults = _faults(outlines, nuclei)
    objects = _objects(columns, outlines, nuclei)
    sound = [i for i in range(columns.n) if i not in faults]
    rejections += [Rejection(str(objects[i].uuid), fault) for i, fault in sorted(faults.items())]
    objects = [objects[i] for i in sound]
    digests = geometry_digests(outlines[sound])
    return Batch(objects, rejections, digests, content_digests(objects, digests))


def without_duplicates(batch: Batch, seen: SeenObjects) -> Batch:
    """Reject the objects whose UUID has gone by."""
    kept = Batch([], batch.rejections, [], [])
    for thing, outline, content in zip(
        batch.objects, batch.geometry_digests, batch.content_digests, strict=True
    ):
        fault = seen.fault(thing.uuid, content)
        if fault is not None:
            kept.rejections.append(Rejection(str(thing.uuid), fault))
            continue
        kept.objects.append(thing)
        kept.geometry_digests.append(outline)
        kept.content_digests.append(content)
    return kept


def _geometries(columns: ObjectColumns) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Outlines and nuclei, each (n,)."""
    wkb = columns.arrays["wkb"].tobytes()
    outline_end = columns.arrays["outline_end"].tolist()
    nucleus_end = columns.arrays["nucleus_end"].tolist()
    starts = [0, *nucleus_end[:-1]]
    outlines = np.empty(columns.n, dtype=object)
    outlines[:] = [wkb[a:b] for a, b in zip(starts, outline_end, strict=True)]
    nuclei = np.full(columns.n, None, dtype=object)
    for i in np.flatnonzero(columns.arrays["nucleus_end"] > columns.arrays["outline_end"]).tolist():
        nuclei[i] = wkb[outline_end[i] : nucleus_end[i]]
    with np.errstate(invalid="ignore"):  # coordinates that are no numbers are rejected by name
        outlines, nuclei = shapely.from_wkb(outlines), shapely.from_wkb(nuclei)
    return np.asarray(outlines, dtype=object), np.asarray(nuclei, dtype=object)


def _faults(outlines: NDArray[np.object_], nuclei: NDArray[np.object_]) -> dict[int, str]:
    faults: dict[int, str] = {}
    for geometries, where in ((nuclei, " in the nucleus"), (outlines, "")):
        xy, owner = shapely.get_coordinates(geometries, return_index=True)
        near = np.abs(xy) <= MAX_COORDINATE_PX
        for i in np.unique(owner[~(near[:, 0] & near[:, 1])]).tolist():
            bounded = np.isfinite(shapely.get_coordinates(geometries[i])).all()
            what = f"coordinates beyond {MAX_COORDINATE_PX:.0e} px"
            faults[i] = (what if bounded else "NaN or infinite coordinates") + where
    for i in np.flatnonzero(shapely.is_empty(outlines)).tolist():
        faults[i] = "empty geometry"
    return faults


def _objects(
    columns: ObjectColumns, outlines: NDArray[np.object_], nuclei: NDArray[np.object_]
) -> list[PathObject]:
    array = {name: values.tolist() for name, values in columns.arrays.items() if name != "wkb"}
    texts, class_names = columns.texts, [*columns.class_names, None]
    colors = [_rgb(color) if color is not None else None for color in columns.class_colors]
    colors.append(None)
    uuids, parents = _uuids(columns.arrays["uuid"]), _uuids(columns.arrays["parent"])
    measured = _measured(columns)
    objects: list[PathObject] = []
    plain = (
        "kind",
        "flags",
        "path_class",
        "name",
        "color",
        "shape",
        "nucleus_shape",
        "z",
        "t",
        "c",
    )
    given = (uuids, parents, measured, _metadata(array, texts), outlines, nuclei)
    for (
        kind, flags, path_class, name, color, shape, nucleus_shape, z, t, c,
        uuid, parent, measurements, metadata, outline, nucleus,
    ) in zip(*(array[column] for column in plain), *given, strict=True):  # fmt: skip
        extra: dict[str, Any] = {}
        if flags & COLORED:
            extra["color"] = _rgb(color)
        if colors[path_class] is not None:
            extra["class_color"] = colors[path_class]
        if flags & MISSING or KINDS[kind] == "tma_core":
            extra["properties"] = {"isMissing": bool(flags & MISSING)}
        if shape == Shape.ELLIPSE:
            extra["geometry"] = {"isEllipse": True}
        if nucleus is not None and nucleus_shape == Shape.ELLIPSE:
            extra["nucleus"] = {"isEllipse": True}
        if metadata:
            extra["metadata"] = metadata
        objects.append(
            PathObject(
                uuid=uuid,
                object_type=KINDS[kind],
                path_class=class_names[path_class],
                name=None if name < 0 else texts[name],
                locked=bool(flags & LOCKED),
                geometry=outline,
                nucleus=nucleus,
                z=z,
                t=t,
                c=None if c < 0 else c,
                parent=parent,
                measurements=measurements,
                extra=extra,
            )
        )
    return objects


def _uuids(halves: NDArray[Any]) -> list[str | None]:
    """UUIDs as text, (n,); one of zeros is none."""
    pairs = halves.reshape(-1, 2)
    is_given = (pairs[:, 0] != 0) | (pairs[:, 1] != 0)
    text = np.ascontiguousarray(pairs[is_given], dtype=">i8").tobytes().hex()
    written = (
        f"{text[k : k + 8]}-{text[k + 8 : k + 12]}-{text[k + 12 : k + 16]}-"
        f"{text[k + 16 : k + 20]}-{text[k + 20 : k + 32]}"
        for k in range(0, len(text), 32)
    )
    return [next(written) if given else None for given in is_given.tolist()]


def _measured(columns: ObjectColumns) -> list[dict[str, float | None]]:
    names = [columns.texts[number] for number in columns.arrays["measurement_name"].tolist()]
    values = columns.arrays["measurement"].tolist()
    ends = columns.arrays["measurement_end"].tolist()
    return [
        dict(zip(names[a:b], values[a:b], strict=True)) if b > a else {}
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _metadata(array: dict[str, list[Any]], texts: Sequence[str]) -> list[dict[str, str]]:
    said = [texts[number] for number in array["metadata"]]
    ends = array["metadata_end"]
    return [
        dict(zip(said[a:b:2], said[a + 1 : b : 2], strict=True)) if b > a else {}
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _rgb(color: int) -> list[int]:
    """Packed ARGB, signed, as [r, g, b]."""
    return [color >> 16 & 255, color >> 8 & 255, color & 255]
