"""Run by a test in its own process: what QuPath reads in a GeoJSON file and in an image.

Usage: import_objects.py OBJECTS.geojson IMAGE
"""

from __future__ import annotations

import json
import sys
from typing import Any

import paquo.java  # noqa: F401 - starts QuPath's JVM
from jpype import JClass


def described(obj: Any) -> dict[str, Any]:
    """What QuPath holds of an object."""
    measurements = obj.getMeasurementList()
    return {
        "id": str(obj.getID()),
        "class": str(obj.getPathClass()),
        "color": int(obj.getPathClass().getColor()),
        "locked": bool(obj.isLocked()),
        "name": str(obj.getName()),
        "area_px2": float(obj.getROI().getArea()),
        "measurements": {
            str(name): float(measurements.get(name)) for name in measurements.getMeasurementNames()
        },
        "metadata": {str(k): str(v) for k, v in dict(obj.getMetadata()).items()},
    }


def main() -> None:
    """Print one line that begins with RESULT."""
    path = JClass("java.nio.file.Paths").get(sys.argv[1])
    objects = JClass("qupath.lib.io.PathIO").readObjects(path)
    server = JClass("qupath.lib.images.servers.ImageServers").buildServer(sys.argv[2])
    image = {
        "width_px": int(server.getWidth()),
        "levels": int(server.nResolutions()),
        "mpp": float(server.getPixelCalibration().getPixelWidthMicrons()),
    }
    print("RESULT " + json.dumps({"objects": [described(o) for o in objects], "image": image}))


if __name__ == "__main__":
    main()
