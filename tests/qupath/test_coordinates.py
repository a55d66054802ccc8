"""What is drawn on a turned, cropped or partly scanned image lies where it should on the slide."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from annotation.errors import ConflictError
from annotation.frames import SlideExtent
from annotation.projects.creating import NewImage, create_project
from annotation.projects.files import read_project
from annotation.projects.image_frames import frame_of
from annotation.projects.process import QuPathProcess
from annotation.push import SlideObjects, push, revert
from annotation.qupath import open_project
from annotation.records import PathObject
from annotation.slides import fingerprint
from annotation.store import Store
from annotation.study import add_slide_without_image
from tests.conftest import CommandResult
from tests.qupath.test_project_push import files, ours

pytestmark = pytest.mark.qupath

SIZE_PX = (100, 60)
MARK_PX = (70, 10, 6, 4)  # x, y, width, height: red

TRANSFORMS: dict[str, Any] = {
    "plain": lambda builder: builder,
    "quarter": lambda builder: {"builderType": "rotated", "rotation": "ROTATE_90", "builder": builder},
    "half": lambda builder: {"builderType": "rotated", "rotation": "ROTATE_180", "builder": builder},
    "three quarters": lambda builder: {
        "builderType": "rotated", "rotation": "ROTATE_270", "builder": builder},
    "cropped": lambda builder: {
        "builderType": "cropped", "builder": builder,
        "region": {"x": 60, "y": 4, "width": 30, "height": 20, "z": 0, "t": 0}},
    "cropped and turned": lambda builder: TRANSFORMS["quarter"](TRANSFORMS["cropped"](builder)),
}  # fmt: skip

SEEN = """
import json, sys
import numpy as np
from paquo.java import GsonTools
from jpype import JClass, JString
of = JClass("qupath.lib.images.servers.ImageServerBuilder$ServerBuilder").class_
server = GsonTools.getInstance().fromJson(JString(sys.argv[1]), of).build()
request = JClass("qupath.lib.regions.RegionRequest").createInstance(server)
image = server.readRegion(request)
rgb = np.array([[image.getRGB(x, y) & 0xFFFFFF for x in range(image.getWidth())]
                for y in range(image.getHeight())])
red = np.argwhere(rgb == 0xFF0000)
print("TOLD" + json.dumps([[server.getWidth(), server.getHeight()],
                           red.min(axis=0)[::-1].tolist(), (red.max(axis=0)[::-1] + 1).tolist()]))
"""


def painted(folder: Path) -> Path:
    image = Image.new("RGB", SIZE_PX, "white")
    x, y, width, height = MARK_PX
    image.paste((255, 0, 0), (x, y, x + width, y + height))
    image.save(folder / "A.png")
    return folder / "A.png"


def project_with(folder: Path, transform: str) -> Path:
    process = QuPathProcess(0)
    try:
        path = create_project(
            folder / "p",
            [NewImage("A", painted(folder).as_uri())],
            classes=[("Benign", (0, 160, 0))],
            process=process,
        )
    finally:
        process.stop()
    content = json.loads(path.read_bytes())
    entry = content["images"][0]
    entry["serverBuilder"] = TRANSFORMS_OF_SCANS[transform](entry["serverBuilder"])
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_qupath_shows_at_a_place_is_what_the_slide_has_there(
    qupath_version: str, tmp_path: Path, transform: str
) -> None:
    path = project_with(tmp_path, transform)
    (image,) = read_project(path).images
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", SEEN, json.dumps(image.server)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    size, low, high = json.loads(done.stdout.split("TOLD")[1])
    frame = frame_of(image, SlideExtent("A", *SIZE_PX, 0.5, None))
    mark = np.array([shapely.box(*low, *high), shapely.box(0, 0, *size)], dtype=object)
    on_slide, whole = frame.place(mark)
    x, y, width, height = MARK_PX
    assert on_slide.bounds == (x, y, x + width, y + height)
    assert shapely.box(0, 0, *SIZE_PX).contains(whole)


TRANSFORMS_OF_SCANS: dict[str, Any] = {
    **TRANSFORMS,
    # As QuPath's OpenSlide reader shows a slide of which only a part was scanned.
    "scanned": lambda builder: {**builder, "metadata": {"width": 80, "height": 50}},
    "scanned and turned": lambda builder: TRANSFORMS["quarter"](
        {**builder, "metadata": {"width": 80, "height": 50}}
    ),
}
BOUNDS = (15, 3, 80, 50)


@pytest.mark.parametrize("transform", TRANSFORMS_OF_SCANS)
def test_from_the_store_into_qupath_and_back_outlines_are_the_same(
    qupath_version: str, store: Store, tmp_path: Path, transform: str
) -> None:
    path = project_with(tmp_path, transform)
    bounds = BOUNDS if transform.startswith("scanned") else None
    with store.writing() as session:
        row = add_slide_without_image(session, "A", width_px=100, height_px=60, mpp=0.5)
        row.bounds = None if bounds is None else list(bounds)
        slide = row.id
    drawn = [ours(62.3125, size=9), ours(70.1, size=4.7)]
    assert push(store, path, "run/1", [SlideObjects(slide, "A", drawn)]).pushed == 2
    (source,) = open_project(path)
    frame, _ = source.placement(SlideExtent("A", *SIZE_PX, 0.5, bounds))
    back = {
        str(thing.uuid): frame.place_object(thing).geometry
        for batch in source.batches()
        for thing in batch.objects
    }
    for thing in drawn:
        other = back[str(thing.uuid)]
        union = shapely.area(shapely.union(thing.geometry, other))
        assert shapely.area(shapely.intersection(thing.geometry, other)) / union > 1 - 1e-5
        assert shapely.hausdorff_distance(thing.geometry, other) < 1e-4
    assert push(store, path, "run/1", [SlideObjects(slide, "A", drawn)]).skipped == 2
    assert revert(store, path, "run/1").reverted == 2


PROTOCOL = """
name = "p"
version = "1"
task = "regions"
[domain]
rule = "slide"
[[classes]]
name = "Benign"
"""


def test_a_pull_records_the_frame_and_stores_the_slides_coordinates(
    qupath_version: str, pathquorum: Any, tmp_path: Path
) -> None:
    """Of a turned image, of one that shows what was scanned, and one of another size refused."""

    def call(*arguments: object) -> CommandResult:
        result: CommandResult = pathquorum(*arguments)
        return result

    (tmp_path / "p.toml").write_text(PROTOCOL)
    assert call("protocol", "add", tmp_path / "p.toml").status == 0
    assert call("annotator", "add", "P1", "--role", "pathologist").status == 0
    assert call("slide", "add", "A", "--width", 100, "--height", 60, "--mpp", 0.5).status == 0
    path = project_with(tmp_path, "quarter")
    process = QuPathProcess(0)
    thing = PathObject(
        "8f3a1c52-77aa-4a6b-9b5e-0f9d1c2b3a41", "annotation", "Benign", None, False,
        shapely.box(2, 30, 12, 40),
    )  # fmt: skip
    (image,) = read_project(path).images
    written = process.write(None, server=image.server, add=[thing])
    process.stop()
    image.folder.mkdir(parents=True)
    image.data.write_bytes(written.data)
    before = files(path)
    pulled = call("pull", path, "--annotator", "P1", "--protocol", "p", "--json")
    assert pulled.status == 0, pulled.err
    assert pulled.json["reads"][0]["frame"] == [0, 1, -1, 0, 0, 60]
    assert files(path) == before
    rows = call("history", "--slide", "A", "--annotator", "P1", "--json").json["revisions"]
    ring = np.array(rows[0]["geometry"]["coordinates"][0])
    assert (ring.min(axis=0).tolist(), ring.max(axis=0).tolist()) == ([30, 48], [40, 58])
    other = json.loads(path.read_bytes())
    other["images"][0]["serverBuilder"]["metadata"] = {"width": 30, "height": 50}
    path.write_text(json.dumps(other))
    refused = call("pull", path, "--annotator", "P1", "--protocol", "p")
    assert (refused.status, refused.out) == (1, "")
    assert "a copy reduced 2 times" in refused.err


def test_a_restored_state_lies_as_qupath_showed_it_and_is_pulled_as_the_same(
    qupath_version: str, store: Store, pathquorum: Any, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text(PROTOCOL)
    pathquorum("protocol", "add", tmp_path / "p.toml")
    pathquorum("annotator", "add", "P1", "--role", "pathologist")
    with store.writing() as session:
        row = add_slide_without_image(session, "A", width_px=100, height_px=60, mpp=0.5)
        row.bounds = list(BOUNDS)
    path = project_with(tmp_path, "scanned")
    process = QuPathProcess(0)
    (image,) = read_project(path).images
    drawn = [PathObject(
        "8f3a1c52-77aa-4a6b-9b5e-0f9d1c2b3a41", "annotation", "Benign", None, False,
        shapely.box(2, 30, 12, 40),
    )]  # fmt: skip
    written = process.write(None, server=image.server, add=drawn)
    process.stop()
    image.folder.mkdir(parents=True)
    image.data.write_bytes(written.data)
    arguments = ("--annotator", "P1", "--protocol", "p", "--json")
    assert pathquorum("pull", path, *arguments).status == 0
    assert pathquorum("restore", 1, "--to", tmp_path / "A.geojson").status == 0
    ring = json.loads((tmp_path / "A.geojson").read_bytes())["features"][0]["geometry"]
    assert np.array(ring["coordinates"][0]).min(axis=0).tolist() == [2, 30]
    (read,) = pathquorum("pull", tmp_path / "A.geojson", *arguments).json["reads"]
    assert (read["unchanged"], read["changed"], read["added"]) == (1, 0, 0)
    assert read["frame"] == [1, 0, 0, 1, 15, 3]


def test_an_image_under_another_name_is_recognised_by_what_it_holds(
    qupath_version: str, pathquorum: Any, tmp_path: Path, shared_data: Path
) -> None:
    import shutil

    slide = shared_data / "wsi" / "CMU-1-Small-Region.svs"
    (tmp_path / "p.toml").write_text(PROTOCOL)
    pathquorum("protocol", "add", tmp_path / "p.toml")
    pathquorum("annotator", "add", "P1", "--role", "pathologist")
    assert pathquorum("slide", "add", slide).status == 0
    (tmp_path / "moved").mkdir()
    shutil.copy(slide, tmp_path / "moved" / "scan 7.svs")
    process = QuPathProcess(0)
    thing = PathObject(
        "8f3a1c52-77aa-4a6b-9b5e-0f9d1c2b3a41", "annotation", "Benign", None, False,
        shapely.box(2, 30, 12, 40),
    )  # fmt: skip
    images = [NewImage("X", "file:/gone/scan%207.svs", [thing])]
    path = create_project(tmp_path / "p", images, classes=[], process=process)
    process.stop()
    arguments = ("pull", path, "--annotator", "P1", "--protocol", "p")
    assert "no slide is named 'X'" in pathquorum(*arguments).err
    result = pathquorum(*arguments, "--slides-root", tmp_path / "moved", "--json")
    assert result.status == 0, result.err
    assert result.json["reads"][0]["slide"] == "CMU-1-Small-Region"
    assert any("by its fingerprint" in note for note in result.json["notes"])


def test_an_image_that_bears_the_name_of_another_slide_is_neither_pulled_nor_pushed_into(
    qupath_version: str, store: Store, pathquorum: Any, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text(PROTOCOL)
    pathquorum("protocol", "add", tmp_path / "p.toml")
    pathquorum("annotator", "add", "P1", "--role", "pathologist")
    drawn = NewImage("A", painted(tmp_path).as_uri(), [ours(60, size=5)])
    process = QuPathProcess(0)
    path = create_project(tmp_path / "p", [drawn], classes=[], process=process)
    process.stop()
    with store.writing() as session:
        named = add_slide_without_image(session, "A", width_px=100, height_px=60, mpp=0.5)
        held = add_slide_without_image(session, "Other", width_px=100, height_px=60, mpp=0.5)
        held.fingerprint = fingerprint(tmp_path / "A.png")
        slide = named.id
    before = files(path)
    refused = pathquorum("pull", path, "--annotator", "P1", "--protocol", "p")
    assert (refused.status, refused.out) == (1, "")
    assert "name of slide 'A'" in refused.err
    assert "is slide 'Other' by its fingerprint" in refused.err
    with pytest.raises(ConflictError, match="is slide 'Other' by its fingerprint"):
        push(store, path, "run/1", [SlideObjects(slide, "A", [ours(20, size=9)])])
    assert files(path) == before
