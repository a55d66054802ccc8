"""100,000 polygons of 50 vertices with two measurements: into QuPath's data and out of it.

Both ways start Java, and have QuPath open the image, before the clock starts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from PIL import Image

from annotation.errors import QuPathMissingError
from annotation.projects.process import QuPathProcess
from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["DRAWN", "measured", "run"]

DRAWN = """
import json, sys, time, uuid
import numpy as np, shapely
rng = np.random.default_rng(0)
n = int(sys.argv[1])
angle = np.linspace(0, 2 * np.pi, 50, endpoint=False)
centre, radius = rng.uniform(100, 90_000, (n, 2)), rng.uniform(5, 20, n)
ring = np.stack([centre[:, :1] + radius[:, None] * np.cos(angle),
                 centre[:, 1:] + radius[:, None] * np.sin(angle)], axis=2)
polygons = shapely.polygons(ring)
names = ["Tumor" if i % 2 else "Stroma" for i in range(n)]
def told(wall_s, cpu_s, more):
    print("TOLD " + json.dumps([time.perf_counter() - wall_s, cpu_s, more]))
"""

PAQUO_WRITES = (
    DRAWN
    + """
from paquo.classes import QuPathPathClass
from paquo.projects import QuPathProject
with QuPathProject(sys.argv[2], mode="x") as project:
    entry = project.add_image(sys.argv[3])
    hierarchy = entry.hierarchy
    classes = {name: QuPathPathClass(name) for name in set(names)}
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for i, polygon in enumerate(polygons):
        hierarchy.add_annotation(polygon, path_class=classes[names[i]],
                                 measurements={"area": float(i), "mean": 0.5})
    entry.save()
    told(wall_s, time.process_time() - cpu_s, 0)
"""
)

PAQUO_READS = (
    DRAWN
    + """
from paquo.projects import QuPathProject
with QuPathProject(sys.argv[2], mode="r") as project:
    annotations = project.images[0].hierarchy.annotations
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    read = [(a.roi, a.path_class.name, a.name, dict(a.measurements)) for a in annotations]
    assert len(read) == n
    told(wall_s, time.process_time() - cpu_s, 0)
"""
)

OURS = """
from annotation.projects.process import QuPathProcess
def started(data_bytes):
    process = QuPathProcess(data_bytes)
    process.start()
    java = process._running._process.pid
    def spent():
        ticks = open(f"/proc/{java}/stat").read().rsplit(")", 1)[1].split()
        peak = open(f"/proc/{java}/status").read().split("VmHWM:")[1].split()[0]
        return time.process_time() + (int(ticks[11]) + int(ticks[12])) / 100, int(peak) / 1024
    return process, spent
"""

OURS_WRITES = (
    DRAWN
    + OURS
    + """
import os
from annotation.records import PathObject
objects = [PathObject(str(uuid.UUID(bytes=rng.bytes(16), version=4)), "annotation", names[i], None,
                      False, polygons[i], measurements={"area": float(i), "mean": 0.5})
           for i in range(n)]
process, spent = started(600 * n)
wall_s, (cpu_s, _) = time.perf_counter(), spent()
written = process.write(None, server={"builderType": "uri", "uri": sys.argv[3], "args": []}, add=objects)
with open(sys.argv[2], "wb") as file:
    file.write(written.data)
    os.fsync(file.fileno())
after_s, java_mb = spent()
told(wall_s, after_s - cpu_s, java_mb)
"""
)

OURS_READS = (
    DRAWN
    + OURS
    + """
from annotation.projects.column_reading import batch_of
from annotation.projects.columns import ObjectColumns
data = open(sys.argv[2], "rb").read()
process, spent = started(len(data))
count = 0
for header, payload in process.read(data, {}):
    if "objects" in header:
        wall_s, (cpu_s, _) = time.perf_counter(), spent()
    else:
        count += len(batch_of(ObjectColumns.received(header["columns"], payload)).objects)
assert count == n
after_s, java_mb = spent()
told(wall_s, after_s - cpu_s, java_mb)
"""
)


def measured(code: str, *arguments: str) -> Cost:
    """The cost of the work alone; what it tells besides stands in ``printed`` as JSON."""
    cost = cost_of(code, *arguments)
    (line,) = (li for li in cost.printed.splitlines() if li.startswith("TOLD "))
    wall_s, cpu_s, more = json.loads(line.removeprefix("TOLD "))
    return replace(cost, wall_s=wall_s, cpu_s=cpu_s, printed=json.dumps(more) if more else "")


def run(folder: Path, count: int = 100_000) -> None:
    """Measure and print; without a QuPath, say so."""
    try:
        process = QuPathProcess(0)
        version = process.start()
        process.stop()
    except QuPathMissingError as error:
        print(f"\nnot measured, {error}")
        return
    image = folder / "image.png"
    Image.new("RGB", (64, 64), "white").save(image)
    project, data = folder / "paquo" / "project.qpproj", folder / "data.qpdata"
    writes = [
        ("baseline: paquo, one annotation after the other", PAQUO_WRITES, project, ""),
        ("ours, written and saved", OURS_WRITES, data, "2.5 s"),
    ]
    reads = [
        ("baseline: paquo, roi, class, name, measurements", PAQUO_READS, project, ""),
        ("ours, after opening", OURS_READS, data, "2 s, 1,000 MB"),
    ]
    for what, ways in (("into", writes), ("out of", reads)):
        rows = [
            (
                name,
                measured(
                    code, str(count), str(target), image.as_uri() if target == data else str(image)
                ),
                goal,
            )
            for name, code, target, goal in ways
        ]
        print_table(
            f"{count:,} polygons of 50 vertices with 2 measurements {what} QuPath {version}",
            rows,
        )
        for name, cost, _ in rows:
            if cost.printed:
                print(f"    {name}: Java {float(cost.printed):,.0f} MB beside Python's")
