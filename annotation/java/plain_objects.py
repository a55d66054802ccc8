"""All objects of an image, one call into Java after the other: slow, and needs no Groovy."""

from __future__ import annotations

import uuid as uuids_of_python
from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import shapely

from annotation.java.groovy_objects import path_classes
from annotation.java.growing_columns import GrowingColumns
from annotation.java.plain_image_data import PlainImageData
from annotation.projects.columns import (
    COLORED,
    KINDS,
    LOCKED,
    ObjectColumns,
    Shape,
)

__all__ = ["PlainObjects"]

_SHAPES = {
    "PolygonROI": Shape.POLYGON,
    "RectangleROI": Shape.RECTANGLE,
    "EllipseROI": Shape.ELLIPSE,
    "LineROI": Shape.LINE,
    "PolylineROI": Shape.POLYLINE,
    "PointsROI": Shape.POINTS,
}
_MIN_VERTICES = {Shape.POLYGON: 3, Shape.LINE: 2, Shape.POLYLINE: 2, Shape.POINTS: 1}
_MAKERS = {
    "annotation": "createAnnotationObject",
    "detection": "createDetectionObject",
    "tile": "createTileObject",
    "cell": "createCellObject",
}


class PlainObjects:
    """Does what :class:`annotation.java.groovy_objects.GroovyObjects` does."""

    def __init__(self) -> None:
        from jpype import JClass, JInt

        self._list = JClass("java.util.ArrayList")
        self._objects = JClass("qupath.lib.objects.PathObjects")
        self._rois = JClass("qupath.lib.roi.ROIs")
        self._planes = JClass("qupath.lib.regions.ImagePlane")
        self._to_roi = JClass("qupath.lib.roi.GeometryTools").geometryToROI
        self._writer = JClass("org.locationtech.jts.io.WKBWriter")(2, JInt(2))
        self._reader = JClass("org.locationtech.jts.io.WKBReader")()

    def content(self, data: bytes | memoryview) -> PlainImageData:
        """What stands in a ``data.qpdata``."""
        return PlainImageData(data)

    def below(self, root: Any) -> Any:
        """All objects below the root, parents before their children, as a Java list."""
        found = self._list()
        waiting = [root]
        for above in waiting:
            for thing in above.getChildObjectsAsArray():
                found.add(thing)
                if thing.hasChildObjects():
                    waiting.append(thing)
        return found

    def read(self, objects: Any) -> ObjectColumns:
        """Columns of a Java list of objects."""
        from jpype import JException

        rows = GrowingColumns()
        rejected = []
        for thing in objects:
            try:
                outlines = self._outlines(thing)
            except (JException, ValueError) as error:
                roi = thing.getROI()
                what = "object without an outline" if roi is None else roi.getRoiName()
                rejected.append((str(thing.getID()), f"QuPath can't give this {what} ({error})"))
                continue
            rows.add(thing, outlines)
        return rows.columns(rejected)

    def _outlines(self, thing: Any) -> list[tuple[int, bytes]]:
        """Kind of ROI and well-known binary, of the outline and of a cell's nucleus."""
        if thing.getROI() is None:
            raise ValueError("it has no outline")
        outlines = [self._written(thing.getROI())]
        nucleus = thing.getNucleusROI() if thing.isCell() else None
        return outlines if nucleus is None else [*outlines, self._written(nucleus)]

    def _written(self, roi: Any) -> tuple[int, bytes]:
        shape = _SHAPES.get(str(roi.getClass().getSimpleName()), Shape.OTHER)
        if shape not in _MIN_VERTICES:
            if shape == Shape.RECTANGLE:
                x, y = roi.getBoundsX(), roi.getBoundsY()
                box = shapely.box(x, y, x + roi.getBoundsWidth(), y + roi.getBoundsHeight())
                return shape, bytes(shapely.to_wkb(box, byte_order=1))
            return shape, bytes(self._writer.write(roi.getGeometry()))
        vertices = [(float(p.getX()), float(p.getY())) for p in roi.getAllPoints()]
        if len(vertices) < _MIN_VERTICES[shape]:
            raise ValueError(f"its outline has {len(vertices)} vertices")
        if shape == Shape.POLYGON:
            drawn: Any = shapely.Polygon(vertices)
        elif shape == Shape.POINTS:
            drawn = shapely.MultiPoint(vertices) if len(vertices) > 1 else shapely.Point(*vertices)
        else:
            drawn = shapely.LineString(vertices)
        return shape, bytes(shapely.to_wkb(drawn, byte_order=1))

    def add(self, root: Any, columns: ObjectColumns) -> None:
        """Build objects, and hang them below their parents."""
        classes = path_classes(columns)
        known = {str(thing.getID()): thing for thing in self.below(root)}
        uuids, parents = _uuids(columns, "uuid"), _uuids(columns, "parent")
        made = [self._made(columns, i, classes, uuids[i]) for i in range(columns.n)]
        for uuid, thing in zip(uuids, made, strict=True):
            if known.setdefault(str(uuid), thing) is not thing:
                raise ValueError(f"object {uuid} is there already")
        for parent, thing in zip(parents, made, strict=True):
            if parent.int and str(parent) not in known:
                raise ValueError(f"object {parent}, which should hold another, is not there")
            (known[str(parent)] if parent.int else root).addChildObject(thing)

    def _made(
        self, columns: ObjectColumns, i: int, classes: Any, uuid: uuids_of_python.UUID
    ) -> Any:
        from jpype import JClass, JInt

        of = columns.arrays
        plane = self._planes.getPlaneWithChannel(int(of["c"][i]), int(of["z"][i]), int(of["t"][i]))
        begin = int(of["nucleus_end"][i - 1]) if i else 0
        middle, end = int(of["outline_end"][i]), int(of["nucleus_end"][i])
        wkb = of["wkb"]
        rois = [self._roi(int(of["shape"][i]), wkb[begin:middle].tobytes(), plane)]
        kind = KINDS[int(of["kind"][i])]
        if kind == "cell":
            has_nucleus = end > middle
            nucleus = int(of["nucleus_shape"][i])
            rois.append(
                self._roi(nucleus, wkb[middle:end].tobytes(), plane) if has_nucleus else None
            )
        thing = getattr(self._objects, _MAKERS[kind])(*rois)
        thing.setID(JClass("java.util.UUID").fromString(str(uuid)))
        if of["path_class"][i] >= 0:
            thing.setPathClass(classes.get(int(of["path_class"][i])))
        if of["name"][i] >= 0:
            thing.setName(columns.texts[int(of["name"][i])])
        if of["flags"][i] & COLORED:
            thing.setColor(JClass("java.lang.Integer")(JInt(int(of["color"][i]))))
        measured = slice(
            int(of["measurement_end"][i - 1]) if i else 0, int(of["measurement_end"][i])
        )
        for name, value in zip(
            of["measurement_name"][measured], of["measurement"][measured], strict=True
        ):
            thing.getMeasurementList().put(columns.texts[int(name)], float(value))
        noted = slice(int(of["metadata_end"][i - 1]) if i else 0, int(of["metadata_end"][i]))
        texts = [columns.texts[int(number)] for number in of["metadata"][noted]]
        try:
            for key, value in zip(texts[::2], texts[1::2], strict=True):
                thing.getMetadata().put(key, value)
        except JClass("java.lang.UnsupportedOperationException") as error:
            raise ValueError(f"object {uuid} can hold no metadata, being no annotation") from error
        thing.setLocked(bool(of["flags"][i] & LOCKED))
        return thing

    def _roi(self, shape: int, wkb: bytes, plane: Any) -> Any:
        from jpype import JArray, JByte, JDouble

        if shape == Shape.OTHER:
            return self._to_roi(self._reader.read(JArray(JByte)(wkb)), plane)
        drawn = shapely.from_wkb(wkb)
        if shape in (Shape.RECTANGLE, Shape.ELLIPSE):
            left, top, right, bottom = drawn.bounds
            create = "createRectangleROI" if shape == Shape.RECTANGLE else "createEllipseROI"
            return getattr(self._rois, create)(left, top, right - left, bottom - top, plane)
        xy = shapely.get_coordinates(drawn)
        if shape == Shape.LINE:
            return self._rois.createLineROI(*xy.reshape(-1).tolist(), plane)
        if shape == Shape.POLYGON:
            xy = xy[:-1]
        x, y = (JArray(JDouble)(np.ascontiguousarray(values)) for values in xy.T)
        makers = {Shape.POLYGON: "createPolygonROI", Shape.POLYLINE: "createPolylineROI"}
        return getattr(self._rois, makers.get(shape, "createPointsROI"))(x, y, plane)

    def remove(self, root: Any, uuids: Collection[str]) -> None:
        """Take objects out; what hangs below them moves up."""
        wanted = set(uuids)
        found = {str(thing.getID()): thing for thing in self.below(root)}
        if missing := wanted - found.keys():
            raise ValueError(f"object {min(missing)} is not there")
        for uuid in reversed([uuid for uuid in found if uuid in wanted]):
            thing = found[uuid]
            parent = thing.getParent()
            children = self._list(thing.getChildObjects())
            parent.removeChildObject(thing)
            parent.addChildObjects(children)

    def counts(self, root: Any) -> dict[str, dict[str, int]]:
        """What ``summary.json`` counts."""
        from jpype import JClass

        named = JClass("qupath.lib.objects.PathObjectTools").getSuitableName
        kinds: Counter[str] = Counter()
        classes: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        for thing in [*self.below(root), root]:
            kinds[str(named(thing.getClass(), True))] += 1
            if thing.isAnnotation() or thing.isDetection():
                of = thing.getPathClass()
                written = "Unclassified" if of is None else str(of.toString())
                classes[bool(thing.isAnnotation())][written] += 1
        return {
            "objectTypeCounts": dict(kinds),
            "annotationClassificationCounts": dict(classes[True]),
            "detectionClassificationCounts": dict(classes[False]),
        }


def _uuids(columns: ObjectColumns, name: str) -> list[uuids_of_python.UUID]:
    data = np.ascontiguousarray(columns.arrays[name]).astype(">i8").tobytes()
    return [uuids_of_python.UUID(bytes=data[k : k + 16]) for k in range(0, len(data), 16)]
