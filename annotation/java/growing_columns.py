"""Columns of QuPath's objects that grow by an object at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from annotation.projects.columns import (
    ARRAYS,
    COLORED,
    KINDS,
    LOCKED,
    MISSING,
    ObjectColumns,
    Shape,
)

__all__ = ["GrowingColumns"]

_KINDS = {
    "TMACoreObject": "tma_core",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "PathAnnotationObject": "annotation",
}


class GrowingColumns:
    """Columns that grow by an object at a time."""

    def __init__(self) -> None:
        self._of: dict[str, list[Any]] = {name: [] for name in ARRAYS if name != "wkb"}
        self._wkb: list[bytes] = []
        self._wkb_size = 0
        self._texts: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._colors: list[int | None] = []

    def add(self, thing: Any, outlines: list[tuple[int, bytes]]) -> None:
        """Take an object, whose outline and nucleus are written already: kind of ROI and WKB."""
        row, parent, roi = self._of, thing.getParent(), thing.getROI()
        nested = parent is not None and not parent.isRootObject()
        row["uuid"] += _halves(thing.getID())
        row["parent"] += _halves(parent.getID()) if nested else (0, 0)
        kind = _KINDS.get(str(thing.getClass().getSimpleName()), "detection")
        row["kind"].append(KINDS.index(kind))
        color, name = thing.getColor(), thing.getName()
        missing = kind == "tma_core" and thing.isMissing()
        row["flags"].append(
            (LOCKED if thing.isLocked() else 0)
            | (COLORED if color is not None else 0)
            | (MISSING if missing else 0)
        )
        row["color"].append(0 if color is None else int(color))
        row["path_class"].append(self._class(thing.getPathClass()))
        row["name"].append(-1 if name is None else self._text(name))
        row["z"].append(int(roi.getZ()))
        row["t"].append(int(roi.getT()))
        row["c"].append(int(roi.getC()))
        for shape, end, (kind_of_shape, wkb) in zip(
            ("shape", "nucleus_shape"),
            ("outline_end", "nucleus_end"),
            [*outlines, (int(Shape.OTHER), b"")][:2],
            strict=True,
        ):
            self._wkb.append(wkb)
            self._wkb_size += len(wkb)
            row[shape].append(kind_of_shape)
            row[end].append(self._wkb_size)
        if thing.hasMeasurements():
            for entry in thing.getMeasurements().entrySet():
                row["measurement_name"].append(self._text(entry.getKey()))
                row["measurement"].append(float(entry.getValue()))
        row["measurement_end"].append(len(row["measurement"]))
        for entry in thing.getMetadata().entrySet():
            row["metadata"] += (self._text(entry.getKey()), self._text(entry.getValue()))
        row["metadata_end"].append(len(row["metadata"]))

    def _text(self, text: Any) -> int:
        return self._texts.setdefault(str(text), len(self._texts))

    def _class(self, of: Any) -> int:
        if of is None or not str(of.toString()).strip():
            return -1
        name = str(of.toString())
        if name not in self._classes:
            self._classes[name] = len(self._classes)
            self._colors.append(None if of.getColor() is None else int(of.getColor()))
        return self._classes[name]

    def columns(self, rejected: list[tuple[str, str]]) -> ObjectColumns:
        """All that were taken; ``rejected`` are those that could not be read."""
        arrays = {name: np.array(row, dtype=ARRAYS[name]) for name, row in self._of.items()}
        arrays["wkb"] = np.frombuffer(b"".join(self._wkb), dtype=np.uint8)
        return ObjectColumns(
            n=len(self._of["kind"]),
            arrays=arrays,
            texts=list(self._texts),
            class_names=list(self._classes),
            class_colors=self._colors,
            rejected=rejected,
        )


def _halves(uuid: Any) -> tuple[int, int]:
    return int(uuid.getMostSignificantBits()), int(uuid.getLeastSignificantBits())
