"""Objects as the columns that QuPath builds them from, or the reason why it can't.

QuPath takes nearly everything and spoils some of it without a word: parts of a collection are
dropped, a multipolygon of one part ends in an error, what is empty becomes an empty rectangle, a
hole that crosses its outline is repaired. So what can't be kept as it is is refused here, before
anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.collector import collector_paused
from annotation.errors import InputError
from annotation.projects.columns import COLORED, KINDS, LOCKED, ObjectColumns, Shape
from annotation.records import PathObject

__all__ = ["columns_of"]

_MADE = frozenset(KINDS[:4])
"""Object types that can be made."""

_POINT, _LINE, _RING, _POLYGON, _MULTIPOINT, _MULTILINE, _MULTIPOLYGON, _COLLECTION = range(8)


class _Numbers:
    """Texts and their numbers, each once."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        return self._of.setdefault(text, len(self._of))

    @property
    def texts(self) -> list[str]:
        return list(self._of)


def columns_of(
    objects: Sequence[PathObject], class_colors: Mapping[str, int | None] | None = None
) -> ObjectColumns:
    """Columns to send to QuPath.

    Parameters
    ----------
    class_colors
        Packed ARGB of classes, as the project has them; others get the colour in the object's
        ``extra``.

    Raises
    ------
    InputError
        An object that QuPath would not keep as it is: without a UUID, of a kind that can't be
        made, or with an outline that it would drop or mend.
    """
    with collector_paused():
        return _columns_of(objects, dict(class_colors or {}))


def _columns_of(objects: Sequence[PathObject], colors: dict[str, int | None]) -> ObjectColumns:
    outlines = np.empty(len(objects), dtype=object)
    outlines[:] = [_single(thing.geometry) for thing in objects]
    nuclei = np.full(len(objects), None, dtype=object)
    nuclei[:] = [_single(thing.nucleus) for thing in objects]
    _check(objects, outlines)
    with_nucleus = np.flatnonzero(~shapely.is_missing(nuclei)).tolist()
    _check([objects[i] for i in with_nucleus], nuclei[with_nucleus])
    texts, classes = _Numbers(), _Numbers()
    rows: dict[str, list[int]] = {
        name: []
        for name in (
            "kind", "flags", "path_class", "name", "color", "z", "t", "c", "measurement_end",
            "metadata_end", "measurement_name", "metadata",
        )
    }  # fmt: skip
    measurement: list[float] = []
    for thing in objects:
        rows["kind"].append(KINDS.index(thing.object_type))
        own = thing.extra.get("color")
        rows["flags"].append((LOCKED if thing.locked else 0) | (COLORED if own is not None else 0))
        rows["color"].append(0 if own is None else packed(own))
        rows["path_class"].append(-1 if thing.path_class is None else classes[thing.path_class])
        if thing.path_class is not None and colors.get(thing.path_class) is None:
            drawn = thing.extra.get("class_color")
            colors[thing.path_class] = None if drawn is None else packed(drawn)
        rows["name"].append(-1 if thing.name is None else texts[thing.name])
        rows["z"].append(thing.z)
        rows["t"].append(thing.t)
        rows["c"].append(-1 if thing.c is None else thing.c)
        for name, value in thing.measurements.items():
            rows["measurement_name"].append(texts[name])
            measurement.append(np.nan if value is None else value)
        rows["measurement_end"].append(len(measurement))
        for key, value in (thing.extra.get("metadata") or {}).items():
            rows["metadata"] += [texts[str(key)], texts[str(value)]]
        rows["metadata_end"].append(len(rows["metadata"]))
    arrays: dict[str, NDArray[Any]] = {
        name: np.array(row, dtype=np.int32) for name, row in rows.items()
    }
    arrays["measurement"] = np.array(measurement, dtype=np.float64)
    arrays["uuid"] = _halves([str(thing.uuid) for thing in objects])
    arrays["parent"] = _halves([thing.parent for thing in objects])
    ellipse = [bool(thing.extra.get("geometry", {}).get("isEllipse")) for thing in objects]
    arrays["shape"] = _shapes(outlines, np.array(ellipse, dtype=bool))
    ellipse = [bool(thing.extra.get("nucleus", {}).get("isEllipse")) for thing in objects]
    arrays["nucleus_shape"] = _shapes(nuclei, np.array(ellipse, dtype=bool))
    arrays |= _well_known_binary(outlines, nuclei)
    return ObjectColumns(
        n=len(objects),
        arrays=arrays,
        texts=texts.texts,
        class_names=classes.texts,
        class_colors=[colors.get(name) for name in classes.texts],
    )


def packed(rgb: Sequence[int]) -> int:
    """[r, g, b], with alpha behind it or not, as QuPath's signed ARGB."""
    red, green, blue = rgb[:3]
    value = 0xFF000000 | red << 16 | green << 8 | blue
    return value - (1 << 32)


def _single(geometry: Any) -> Any:
    """The one part of a geometry of one part: QuPath ends in an error on it."""
    if geometry is None or geometry.geom_type not in (
        "MultiPolygon",
        "MultiLineString",
        "MultiPoint",
    ):
        return geometry
    return geometry.geoms[0] if len(geometry.geoms) == 1 else geometry


def _check(objects: Sequence[PathObject], geometries: NDArray[np.object_]) -> None:
    kinds = shapely.get_type_id(geometries)
    xy, owner = shapely.get_coordinates(geometries, return_index=True)
    strange = np.zeros(len(objects), dtype=bool)
    strange[owner[~np.isfinite(xy).all(axis=1)]] = True
    single = (kinds == _POLYGON) & (shapely.get_num_interior_rings(geometries) == 0)
    # QuPath keeps the vertices of a single ring, whatever they cross; anything else it mends.
    mended = np.zeros(len(objects), dtype=bool)
    compound = np.flatnonzero((kinds >= _POLYGON) & ~single)
    mended[compound] = ~shapely.is_valid(geometries[compound])
    nothing = shapely.is_missing(geometries) | shapely.is_empty(geometries)
    dropped = np.isin(kinds, (_COLLECTION, _RING))
    named = [thing.uuid is not None and thing.object_type in _MADE for thing in objects]
    faulty = nothing | strange | dropped | mended | ~np.array(named, dtype=bool)
    for i in np.flatnonzero(faulty).tolist():
        thing = objects[i]
        if thing.uuid is None or thing.object_type not in _MADE:
            reason = "has no UUID" if thing.uuid is None else f"is a {thing.object_type}"
        elif nothing[i]:
            reason = "has an empty outline"
        elif strange[i]:
            reason = "has coordinates that are no numbers"
        elif dropped[i]:
            reason = f"is a {geometries[i].geom_type}, of which QuPath drops parts"
        else:
            reason = "has an outline that QuPath would change: it is not valid"
        raise InputError(
            f"object {thing.uuid or i} {reason}; nothing was written, mend it first",
            object=thing.uuid,
        )


def _shapes(geometries: NDArray[np.object_], ellipse: NDArray[np.bool_]) -> NDArray[np.int8]:
    """QuPath's kind of ROI for each outline; boxes are rectangles, as QuPath makes them."""
    kinds = shapely.get_type_id(geometries)
    n_coordinates = shapely.get_num_coordinates(geometries)
    single = (kinds == _POLYGON) & (shapely.get_num_interior_rings(geometries) == 0)
    shapes = np.full(len(geometries), Shape.OTHER, dtype=np.int8)
    shapes[single] = Shape.POLYGON
    box = np.flatnonzero(single & (n_coordinates == 5))
    if len(box):
        boxes = shapely.box(*shapely.bounds(geometries[box]).T)
        same = shapely.equals_exact(shapely.normalize(geometries[box]), shapely.normalize(boxes))
        shapes[box[same]] = Shape.RECTANGLE
    shapes[single & ellipse] = Shape.ELLIPSE
    shapes[kinds == _LINE] = Shape.POLYLINE
    shapes[(kinds == _LINE) & (n_coordinates == 2)] = Shape.LINE
    shapes[(kinds == _POINT) | (kinds == _MULTIPOINT)] = Shape.POINTS
    return shapes


def _halves(uuids: Sequence[str | None]) -> NDArray[np.int64]:
    none = bytes(16)
    # As QuPath writes them; `uuid.UUID` takes four times as long to read one.
    data = b"".join(
        none if text is None else bytes.fromhex(text.replace("-", "")) for text in uuids
    )
    return np.frombuffer(data, dtype=">i8").astype(np.int64)


def _well_known_binary(
    outlines: NDArray[np.object_], nuclei: NDArray[np.object_]
) -> dict[str, NDArray[Any]]:
    pairs = np.stack([outlines, nuclei], axis=1).reshape(-1)
    flat = shapely.force_2d(pairs) if shapely.has_z(pairs).any() else pairs
    written = shapely.to_wkb(flat, byte_order=1)
    ends = np.cumsum([0 if wkb is None else len(wkb) for wkb in written], dtype=np.int64)
    data = b"".join(wkb for wkb in written if wkb is not None)
    return {
        "wkb": np.frombuffer(data, dtype=np.uint8),
        "outline_end": ends[::2],
        "nucleus_end": ends[1::2],
    }
