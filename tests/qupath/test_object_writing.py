"""Objects that QuPath writes for us come back as they were, with Groovy and without."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.errors import ConflictError, InputError, SourceError
from annotation.projects.column_reading import batch_of
from annotation.projects.columns import ObjectColumns
from annotation.projects.creating import NewImage, add_images, create_project
from annotation.projects.process import QuPathProcess
from annotation.qupath import WITHOUT_GROOVY, open_project
from annotation.records import PathObject

pytestmark = pytest.mark.qupath

SERVER = {"builderType": "uri", "uri": "file:/nowhere/A.svs", "args": []}


@pytest.fixture(scope="module", params=["groovy", "plain"])
def process(qupath_version: str, request: pytest.FixtureRequest) -> Iterator[QuPathProcess]:
    """A process of either way to objects."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setenv(WITHOUT_GROOVY, "1")
        running = QuPathProcess(1_000_000)
        assert running.start() == qupath_version
        yield running
        running.stop()


def a_uuid(number: int) -> str:
    return str(uuid.UUID(int=(7 << 76) + number, version=4))


def thing(number: int, outline: str | shapely.Geometry, **fields: Any) -> PathObject:
    geometry = shapely.from_wkt(outline) if isinstance(outline, str) else outline
    return PathObject(
        **{
            "uuid": a_uuid(number),
            "object_type": "annotation",
            "path_class": None,
            "name": None,
            "locked": False,
            "geometry": geometry,
            **fields,
        }
    )


def every_kind() -> list[PathObject]:
    circle = shapely.Point(50, 60).buffer(7)
    return [
        thing(1, "POLYGON((0 0,500 0,500 400,0 400,0 0))", path_class="Region*", locked=True),
        thing(2, "POLYGON((10.25 10,30.125 12,20 40.5,10.25 10))", path_class="Tumor: Positive",
              parent=a_uuid(1), extra={"class_color": [1, 2, 3]}),
        thing(3, "POLYGON((100 100,200 100,150 200,100 100),(140 120,150 120,145 130,140 120))",
              name="ä\n判", extra={"color": [9, 8, 7]}),
        thing(4, "MULTIPOLYGON(((1 1,5 1,3 6,1 1)),((11 1,15 1,13 6,11 1)))", z=2, t=1,
              extra={"metadata": {"by": "me", "n": "2"}}),
        thing(5, "MULTIPOLYGON(((1 1,5 1,3 6,1 1)))"),
        thing(6, "LINESTRING(0 0,5 6)"),
        thing(7, "LINESTRING(0 0,5 6,7.5 1)"),
        thing(8, "MULTILINESTRING((0 0,10 10),(20 20,30 40))"),
        thing(9, "POINT(3 4)"),
        thing(10, "MULTIPOINT((3 4),(5.5 6))", z=1, c=2),
        thing(11, circle, extra={"geometry": {"isEllipse": True}}),
        thing(12, "POLYGON((5 5,25 5,25 9,5 9,5 5))", object_type="tile",
              measurements={"a": 1.5, "ratio": None, "µ": float("inf")}),
        thing(13, "POLYGON((40 40,60 40,50 60,40 40))", object_type="cell", path_class="Tumor",
              nucleus=shapely.from_wkt("POLYGON((45 45,55 45,50 50,45 45))"),
              measurements={"Nucleus: Area": 25.0}),
        thing(14, "POLYGON((1 1,9 9,9 1,1 9,1 1))", object_type="detection"),  # a bow-tie
    ]  # fmt: skip


def read(process: QuPathProcess, data: bytes) -> dict[str, PathObject]:
    found = {}
    for header, payload in process.read(data, {}):
        assert "fault" not in header, header
        if "columns" in header:
            batch = batch_of(ObjectColumns.received(header["columns"], payload))
            assert batch.rejections == []
            found |= {str(one.uuid): one for one in batch.objects}
    return found


def same_outline(one: Any, other: Any, tolerance_px: float = 0.0) -> bool:
    parts = [shapely.get_parts(shape) for shape in (one, other)]
    pair = [
        shapely.normalize(
            shapely.multipolygons(p) if shapely.area(p).any() else shapely.union_all(p)
        )
        for p in parts
    ]
    return bool(shapely.equals_exact(*pair, tolerance=tolerance_px))


def assert_same(written: PathObject, back: PathObject, tolerance_px: float = 0.0) -> None:
    for name in ("object_type", "path_class", "name", "locked", "z", "t", "c", "parent"):
        assert getattr(back, name) == getattr(written, name), name
    for ours, theirs in ((written.geometry, back.geometry), (written.nucleus, back.nucleus)):
        if ours is None:
            assert theirs is None
        else:
            assert same_outline(ours, theirs, tolerance_px)
    assert back.measurements.keys() == written.measurements.keys()
    for name, value in written.measurements.items():
        np.testing.assert_equal(back.measurements[name], np.nan if value is None else value)
    for key in ("metadata", "color", "geometry"):
        assert back.extra.get(key) == written.extra.get(key), key
    if "class_color" in written.extra:
        assert back.extra["class_color"] == written.extra["class_color"]


def test_every_kind_comes_back_as_it_was(process: QuPathProcess) -> None:
    objects = every_kind()
    written = process.write(None, server=SERVER, add=objects)
    back = read(process, written.data)
    assert back.keys() == {one.uuid for one in objects}
    assert written.hierarchy["nObjects"] == len(objects) + 1
    for one in objects:
        ellipse = "geometry" in one.extra
        if ellipse:  # QuPath keeps its axes and draws it anew
            assert back[str(one.uuid)].extra["geometry"] == {"isEllipse": True}
            assert back[str(one.uuid)].geometry.bounds == pytest.approx(
                one.geometry.bounds, abs=0.01
            )
        else:
            assert_same(one, back[str(one.uuid)])


def test_what_was_there_stays_as_it_was_when_objects_come_and_go(process: QuPathProcess) -> None:
    objects = every_kind()
    before = process.write(None, server=SERVER, add=objects).data
    added = thing(99, "POLYGON((0 0,1 0,1 3,0 0))", path_class="Stroma")
    with_added = process.write(before, add=[added])
    assert read(process, with_added.data).keys() == {*(o.uuid for o in objects), a_uuid(99)}
    after = process.write(with_added.data, remove=[a_uuid(99)]).data
    back = read(process, after)
    assert back.keys() == {one.uuid for one in objects}
    for uuid_, one in read(process, before).items():
        assert_same(one, back[uuid_])


def test_the_children_of_what_is_taken_out_move_up(process: QuPathProcess) -> None:
    objects = [
        thing(1, "POLYGON((0 0,90 0,90 80,0 0))"),
        thing(2, "POLYGON((0 0,50 0,50 40,0 0))", parent=a_uuid(1)),
        thing(3, "POLYGON((0 0,10 0,10 9,0 0))", parent=a_uuid(2)),
    ]
    data = process.write(None, server=SERVER, add=objects).data
    left = read(process, process.write(data, remove=[a_uuid(1), a_uuid(2)]).data)
    assert {uuid: one.parent for uuid, one in left.items()} == {a_uuid(3): None}
    left = read(process, process.write(data, remove=[a_uuid(2)]).data)
    assert left[a_uuid(3)].parent == a_uuid(1)


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ("GEOMETRYCOLLECTION(POINT(1 2),POLYGON((0 0,1 0,1 1,0 0)))", "drops parts"),
        ("POLYGON EMPTY", "empty outline"),
        ("POINT(NaN 3)", "no numbers|empty"),
        ("POLYGON((0 0,9 0,9 9,0 0),(20 20,30 20,25 30,20 20))", "not valid"),
    ],
)
def test_what_qupath_would_spoil_is_refused_before_anything_is_written(
    process: QuPathProcess, outline: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as error:
        process.write(None, server=SERVER, add=[thing(5, outline)])
    assert a_uuid(5) in str(error.value)
    assert "\n" not in str(error.value)


def test_metadata_that_a_detection_cannot_hold_is_refused(process: QuPathProcess) -> None:
    noted = thing(3, "POINT(1 2)", object_type="detection", extra={"metadata": {"by": "me"}})
    with pytest.raises(SourceError, match="no metadata"):
        process.write(None, server=SERVER, add=[noted])


def test_a_uuid_that_is_there_already_and_one_that_is_not_are_refused(
    process: QuPathProcess,
) -> None:
    data = process.write(None, server=SERVER, add=every_kind()).data
    with pytest.raises(SourceError, match="there already"):
        process.write(data, add=[thing(1, "POINT(1 2)")])
    with pytest.raises(SourceError, match="is not there"):
        process.write(data, remove=[a_uuid(500)])
    with pytest.raises(SourceError, match="is not there"):
        process.write(data, add=[thing(77, "POINT(1 2)", parent=a_uuid(500))])
    assert read(process, data).keys() == {one.uuid for one in every_kind()}


coordinate = st.floats(0, 200_000, width=32)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8, unique=True))
def test_vertices_of_a_polygon_come_back_to_the_bit(
    process: QuPathProcess, vertices: list[tuple[float, float]]
) -> None:
    drawn = thing(1, shapely.Polygon(vertices))
    back = read(process, process.write(None, server=SERVER, add=[drawn]).data)[a_uuid(1)]
    np.testing.assert_array_equal(
        shapely.get_coordinates(back.geometry), shapely.get_coordinates(drawn.geometry)
    )


def test_an_image_id_that_somebody_else_has_taken_is_refused(
    process: QuPathProcess, tmp_path: Path
) -> None:
    """Two programs may hand out the same number: the data that lies under it is not written over."""
    path = create_project(
        tmp_path / "p", [NewImage("A", "file:/A.png")], classes=[], process=process
    )
    (path.parent / "data" / "2").mkdir(parents=True)
    (path.parent / "data" / "2" / "data.qpdata").write_bytes(b"another's")
    before = path.read_bytes()
    with pytest.raises(ConflictError, match="belongs to no image"):
        add_images(path, [NewImage("B", "file:/B.png", [every_kind()[0]])], process=process)
    assert path.read_bytes() == before
    assert (path.parent / "data" / "2" / "data.qpdata").read_bytes() == b"another's"


OPENED = """
import json, sys
from paquo.projects import QuPathProject
with QuPathProject(sys.argv[1], mode="r") as project:
    told = {"classes": [(c.name, c.color.to_hex()) for c in project.path_classes]}
    for entry in project.images:
        told[entry.image_name] = [len(entry.hierarchy), dict(entry.metadata),
                                  [str(a.java_object.getID()) for a in entry.hierarchy.annotations]]
print("TOLD" + json.dumps(told))
"""


def opened_with_paquo(project: Path) -> dict[str, Any]:
    """What a QuPath that opens the project finds in it."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", OPENED, str(project)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return dict(json.loads(done.stdout.split("TOLD")[1]))


def test_a_project_of_ours_opens_in_qupath_with_its_images_classes_and_objects(
    process: QuPathProcess, tmp_path: Path
) -> None:
    from PIL import Image

    for name in ("one", "two ä#"):
        Image.new("RGB", (600, 500), "white").save(tmp_path / f"{name}.png")
    images = [
        NewImage("one", (tmp_path / "one.png").as_uri(), [every_kind()[0]], {"rank": "1"}),
        NewImage("two", (tmp_path / "two ä#.png").as_uri()),
    ]
    path = create_project(
        tmp_path / "made",
        images,
        classes=[("Tumor", (200, 0, 0)), ("Stroma", None), ("Region*", (1, 2, 3))],
        process=process,
        extra_files={"note.txt": b"here"},
    )
    told = opened_with_paquo(path)
    assert [name for name, _ in told.pop("classes")] == ["Tumor", "Stroma", "Region*"]
    assert told["one"] == [1, {"rank": "1"}, [a_uuid(1)]]
    assert told["two"] == [0, {}, []]
    assert (path.parent / "note.txt").read_bytes() == b"here"
    (source,) = open_project(path)
    assert source.count == 1
    with pytest.raises(ConflictError, match=r"project\.qpproj"):
        create_project(path.parent, images, classes=[], process=process)
    before = (path.parent / "data/1/data.qpdata").read_bytes()
    assert add_images(
        path, [NewImage("three", images[0].uri, [every_kind()[3]])], process=process
    ) == [3]
    told = opened_with_paquo(path)
    assert told["three"][2] == [a_uuid(4)]
    assert (path.parent / "data/1/data.qpdata").read_bytes() == before
