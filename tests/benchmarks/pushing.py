"""10,000 polygons pushed into a QuPath project in which a person drew as many: where the time goes.

Paquo adds the same objects to the same project one after the other and saves it, without checking,
reading back or being able to go back. Both ways start Java before the clock starts.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from annotation.errors import QuPathMissingError
from annotation.projects.process import QuPathProcess
from tests.benchmarks.measure import Cost, print_table
from tests.benchmarks.qupath_objects import DRAWN, measured

__all__ = ["run"]

PROJECT = """
import uuid
from pathlib import Path
from annotation.projects.creating import NewImage, create_project
from annotation.projects.process import QuPathProcess
from annotation.records import PathObject
def objects(label):
    return [PathObject(str(uuid.UUID(bytes=rng.bytes(16), version=4)), "annotation", label, None,
                       True, polygon, measurements={"area": 1.0, "mean": 0.5}) for polygon in polygons]
def made(folder, image):
    process = QuPathProcess(1500 * n)
    project = create_project(Path(folder), [NewImage("A", Path(image).as_uri(), objects=objects("Drawn"))],
                             classes=[("Drawn", (1, 2, 3)), ("Ours", (3, 2, 1))], process=process)
    process.stop()
    return project
"""

PAQUO = (
    DRAWN
    + PROJECT
    + """
project_file = made(sys.argv[2], sys.argv[3])
from paquo.classes import QuPathPathClass
from paquo.projects import QuPathProject
with QuPathProject(project_file, mode="r+") as project:
    hierarchy = project.images[0].hierarchy
    ours = QuPathPathClass("Ours")
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for polygon in polygons:
        hierarchy.add_annotation(polygon, path_class=ours, measurements={"area": 1.0, "mean": 0.5})
    project.images[0].save()
    told(wall_s, time.process_time() - cpu_s, {})
"""
)

OURS = (
    DRAWN
    + PROJECT
    + """
from collections import Counter
import annotation.image_push as pushing
from annotation.projects.exchange import Exchange
from annotation.projects.project_writing import OpenedProject
from annotation.push import SlideObjects, push
from annotation.store import create_or_upgrade
from annotation.study import add_slide_without_image
project = made(sys.argv[2], sys.argv[3])
store, _ = create_or_upgrade(f"sqlite:///{sys.argv[2]}/store.db")
with store.writing() as session:
    slide = add_slide_without_image(session, "A", patient="K", width_px=100_000, height_px=100_000, mpp=0.25)
    slide_id = slide.id
parts = Counter()
def timed(owner, method, part):
    plain = getattr(owner, method)
    def measured(*given, **named):
        begun = time.perf_counter()
        try:
            return plain(*given, **named)
        finally:
            parts[part] += time.perf_counter() - begun
    setattr(owner, method, measured)
timed(OpenedProject, "read", "checked and read")
timed(pushing, "change_of", "compared")
timed(QuPathProcess, "write", "built")
timed(OpenedProject, "change", "built and verified")
timed(pushing, "announce", "recorded")
timed(Exchange, "stage", "staged")
timed(Exchange, "commit", "swapped")
started = QuPathProcess.start
clock = []
def start(self):
    found = started(self)
    clock.append((time.perf_counter(), time.process_time()))
    return found
QuPathProcess.start = start
pushed = push(store, project, "consensus/1", [SlideObjects(slide_id, "A", objects("Ours"))],
              qupath_is_elsewhere=True)
assert pushed.pushed == n, pushed
wall_s, cpu_s = clock[0]
parts["verified"] = parts.pop("built and verified") - parts["built"]
told(wall_s, time.process_time() - cpu_s, dict(parts))
"""
)


def run(folder: Path) -> None:
    """Measure and print; without a QuPath, say so."""
    try:
        process = QuPathProcess(0)
        version = process.start()
        process.stop()
    except QuPathMissingError as error:
        print(f"\nnot measured, {error}")
        return
    image = folder / "image.png"
    Image.new("RGB", (100_000, 10), "white").save(image)
    rows: list[tuple[str, Cost, str]] = []
    for count in (10_000, 40_000):
        for name, code, goal in (("baseline: paquo", PAQUO, ""), ("ours", OURS, "")):
            place = folder / f"{name[:4]}-{count}"
            rows.append(
                (f"{name}, {count:,}", measured(code, str(count), str(place), str(image)), goal)
            )
    print_table(f"polygons of 50 vertices beside as many of a person's, QuPath {version}", rows)
    for name, cost, _ in rows:
        parts = json.loads(cost.printed) if cost.printed else {}
        if parts:
            print(f"    {name}: " + ", ".join(f"{what} {s:.2f} s" for what, s in parts.items()))
