"""Builds QuPath projects with QuPath itself, and its own export of each image beside them.

Run as a script in a process of its own: Java can be started only once, and logs to standard output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image

IMAGE_PX = (800, 600)


def main(folder: Path) -> None:
    """Write ``study/`` and the exports of its images."""
    for name in ("slide A", "slide B", "never opened"):
        Image.new("RGB", IMAGE_PX, "white").save(folder / f"{name}.png")
    _save(
        folder,
        "study",
        {"slide A": _every_kind(), "slide B": [], "never opened": None},
        metadata={"slide A": {"grade": "3"}, "never opened": {"grade": "4"}},
    )
    _save(folder, "lines", {"slide A": [*_every_kind()[:3], _two_lines()]})
    _save(folder, "broken", {"slide A": [_every_kind()[0], *_broken()]})
    _save(folder, "crowd", {"slide A": _crowd(3_000)})
    _smuggle(folder / "smuggled.qpdata")


def _java(name: str) -> Any:
    from jpype import JClass

    return JClass(name)


def _doubles(*values: float) -> Any:
    from jpype import JDouble

    return JDouble[:](values)


def _annotation(roi: Any, path_class: str | None = None, *, kind: str = "Annotation") -> Any:
    from paquo.java import PathClass, PathObjects

    thing = getattr(PathObjects, f"create{kind}Object")(roi)
    if path_class is not None:
        thing.setPathClass(PathClass.fromString(path_class))
    return thing


def _from_wkt(text: str) -> Any:
    from paquo.java import GeometryTools

    geometry = _java("org.locationtech.jts.io.WKTReader")().read(text)
    return GeometryTools.geometryToROI(
        geometry, _java("qupath.lib.regions.ImagePlane").getDefaultPlane()
    )


def _every_kind() -> list[Any]:
    from jpype import JInt
    from paquo.java import PathClass, PathObjects, ROIs

    planes = _java("qupath.lib.regions.ImagePlane")
    plane = planes.getDefaultPlane()
    domain = _annotation(ROIs.createRectangleROI(10, 10, 500, 400, plane), "Region*")
    domain.setName("what I read, all of it: ä µ \n 判")
    domain.setLocked(True)
    domain.getMetadata().put("seen by", "me")
    ellipse = _annotation(ROIs.createEllipseROI(20, 20, 100, 50, plane), "Tumor: Positive")
    triangle = _annotation(
        ROIs.createPolygonROI(
            _doubles(30.123456, 130.7, 80.2), _doubles(200.1, 210.2, 280.333), plane
        ),
        "Stroma",
    )
    triangle.setColor(JInt(0x112233))
    ring = _annotation(
        _from_wkt(
            "POLYGON((200 200,300 200,300 300,200 300,200 200),(220 220,240 220,240 240,220 220))"
        ),
        "Benign",
    )
    parts = _annotation(
        _from_wkt("MULTIPOLYGON(((310 10,350 10,350 50,310 10)),((360 60,390 60,390 90,360 60)))"),
        "Benign",
    )
    in_ring = _annotation(ROIs.createRectangleROI(270, 270, 10, 10, plane))
    deep = _annotation(
        ROIs.createPointsROI(_doubles(1.5, 2, 3), _doubles(4, 5, 6), planes.getPlane(2, 1)),
        "Stroma",
    )
    point = _annotation(ROIs.createPointsROI(_doubles(7), _doubles(8), plane))
    line = _annotation(ROIs.createLineROI(1, 1, 50, 60, plane))
    polyline = _annotation(ROIs.createPolylineROI(_doubles(1, 2, 30), _doubles(4, 50, 6), plane))
    detection = _annotation(
        ROIs.createEllipseROI(220, 320, 10, 10, plane), "Tumor", kind="Detection"
    )
    for name, value in (("Area µm^2", 78.5), ("x", float("nan")), ("y", float("inf"))):
        detection.getMeasurementList().put(name, value)
    tile = _annotation(ROIs.createRectangleROI(0, 0, 64, 64, plane), kind="Tile")
    cell = PathObjects.createCellObject(
        ROIs.createEllipseROI(40, 40, 20, 20, plane),
        ROIs.createEllipseROI(45, 45, 8, 8, plane),
        PathClass.fromString("Tumor"),
        None,
    )
    return [
        domain, ellipse, triangle, ring, parts, in_ring, deep,
        point, line, polyline, detection, tile, cell,
    ]  # fmt: skip


def _two_lines() -> Any:
    lines = _annotation(_from_wkt("MULTILINESTRING((0 0,10 10),(20 20,30 40))"), "Stroma")
    lines.setName("two lines")
    return lines


def _broken() -> list[Any]:
    """What a script in QuPath can make."""
    from paquo.java import ROIs

    plane = _java("qupath.lib.regions.ImagePlane").getDefaultPlane()
    nan = float("nan")
    nowhere = _annotation(ROIs.createPolygonROI(_doubles(1, nan, 3), _doubles(4, 5, nan), plane))
    empty = _annotation(ROIs.createPointsROI(plane))
    return [nowhere, empty]


def _crowd(count: int) -> list[Any]:
    from math import cos, pi, sin

    from paquo.java import ROIs

    plane = _java("qupath.lib.regions.ImagePlane").getDefaultPlane()
    angles = [2 * pi * i / 50 for i in range(50)]
    return [
        _annotation(
            ROIs.createPolygonROI(
                _doubles(*(20 + i % 700 + 9 * cos(a) for a in angles)),
                _doubles(*(20 + i / 20 + 9 * sin(a) for a in angles)),
                plane,
            ),
            "Tumor",
        )
        for i in range(count)
    ]


def _save(
    folder: Path,
    project: str,
    images: dict[str, list[Any] | None],
    metadata: dict[str, dict[str, str]] | None = None,
) -> None:
    from paquo.classes import QuPathPathClass
    from paquo.java import ArrayList
    from paquo.projects import QuPathProject

    with QuPathProject(folder / project / "project.qpproj", mode="x") as opened:
        opened.path_classes = [
            QuPathPathClass("Tumor", color="#c80000"),
            QuPathPathClass("Stroma", color="#96c896"),
        ]
        for name, objects in images.items():
            entry = opened.add_image(folder / f"{name}.png")
            entry.metadata.update((metadata or {}).get(name, {}))
            if objects is not None:
                hierarchy = entry.hierarchy.java_object
                hierarchy.addObjects(ArrayList(objects))
                if len(objects) < 1_000:  # it looks at every pair
                    hierarchy.resolveHierarchy()
                entry.hierarchy.flush()
    for number, (name, objects) in enumerate(images.items(), start=1):
        data = folder / project / "data" / str(number) / "data.qpdata"
        if objects is None:
            data.unlink(missing_ok=True)
        else:
            _export(data, folder / f"{project}, {name}.geojson")


def _export(data: Path, export: Path) -> None:
    """As QuPath's File > Export objects as GeoJSON; what can't be written is left out."""
    from jpype import JException

    path_io = _java("qupath.lib.io.PathIO")
    collection = _java("qupath.lib.io.PathIO$GeoJsonExportOptions").FEATURE_COLLECTION
    hierarchy = path_io.readHierarchy(_java("java.io.File")(str(data)))
    written = []
    for thing in hierarchy.getAllObjects(False):
        buffer = _java("java.io.ByteArrayOutputStream")()
        try:
            path_io.exportObjectsAsGeoJSON(buffer, _java("java.util.ArrayList")([thing]))
            json.loads(bytes(buffer.toByteArray()))
        except (JException, ValueError):
            continue
        written.append(thing)
    path_io.exportObjectsAsGeoJSON(
        _java("java.io.File")(str(export)), _java("java.util.ArrayList")(written), collection
    )


def _smuggle(path: Path) -> None:
    """Data in the shape of QuPath's that makes Java build an object QuPath has no use for."""
    stream = _java("java.io.ObjectOutputStream")(_java("java.io.FileOutputStream")(str(path)))
    stream.writeUTF("Data file version 3")
    stream.writeObject(_java("java.lang.String")("{}"))
    stream.writeObject(_java("java.net.URL")("http://localhost/"))
    stream.writeObject(_java("qupath.lib.objects.hierarchy.PathObjectHierarchy")())
    stream.writeObject(_java("java.lang.String")("EOF"))
    stream.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
