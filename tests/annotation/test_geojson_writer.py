"""Writing GeoJSON: it reads back as the same objects, and says what QuPath understands."""

from __future__ import annotations

import gzip
import json
import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.digests import content_digests, geometry_digests
from annotation.errors import InputError
from annotation.geojson.export import open_export
from annotation.geojson.writer import feature, write_feature_collection
from annotation.geojson.written import read_back
from annotation.records import PathObject

UUID = "26b06e11-096e-4cc2-b7dc-8441bcf74cb1"
SQUARE = shapely.box(10, 10, 110, 110)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.none() | st.floats(allow_nan=True, allow_infinity=True)
coordinate = st.floats(-1000, 1000).map(lambda value: round(value, 2) + 0.0)
position = st.tuples(coordinate, coordinate)
ring = st.lists(position, min_size=3, max_size=6)
polygon = st.builds(shapely.Polygon, ring, st.lists(ring, max_size=2))
line = st.builds(shapely.LineString, st.lists(position, min_size=2, max_size=5))
point = st.builds(shapely.Point, position)
geometry = st.one_of(
    polygon,
    line,
    point,
    st.builds(shapely.MultiPolygon, st.lists(polygon, min_size=1, max_size=3)),
    st.builds(shapely.MultiPoint, st.lists(position, min_size=1, max_size=4)),
    st.builds(shapely.MultiLineString, st.lists(line, min_size=1, max_size=3)),
    st.builds(shapely.GeometryCollection, st.lists(polygon | point, min_size=1, max_size=3)),
)
color = st.lists(st.integers(0, 255), min_size=3, max_size=4)
extra = st.fixed_dictionaries(
    {},
    optional={
        "color": color,
        "metadata": st.dictionaries(text, text, min_size=1, max_size=3),
        "geometry": st.just({"isEllipse": True}),
        "feature": st.just({"reviewed": {"by": "x"}}),
        "properties": st.just({"isMissing": False, "stain": [0.5, None]}),
        "measurements": st.just([{"name": "note", "value": "good"}]),
    },
)
path_object = st.builds(
    PathObject,
    uuid=st.uuids().map(str),
    object_type=st.sampled_from(["annotation", "detection", "cell", "tile", "tma_core"]),
    path_class=st.none() | text.filter(str.strip),
    name=st.none() | text,
    locked=st.booleans(),
    geometry=geometry,
    nucleus=st.none() | polygon,
    z=st.integers(0, 9),
    t=st.integers(0, 9),
    c=st.none() | st.integers(0, 9),
    parent=st.none() | st.uuids().map(str),
    measurements=st.dictionaries(text, number, max_size=4),
    extra=extra,
)


def read(path: Path) -> list[PathObject]:
    [batch] = open_export(path).batches()
    assert batch.rejections == []
    return batch.objects


def digests(things: list[PathObject]) -> list[bytes]:
    return content_digests(things, geometry_digests([thing.geometry for thing in things]))


def an_object(**changes: Any) -> PathObject:
    fields: dict[str, Any] = {
        "uuid": UUID,
        "object_type": "annotation",
        "path_class": "Tumor",
        "name": None,
        "locked": False,
        "geometry": SQUARE,
    }
    return PathObject(**(fields | changes))


@given(st.lists(path_object, min_size=1, max_size=4, unique_by=lambda thing: thing.uuid))
@settings(max_examples=100, deadline=None)
def test_what_is_written_reads_back_as_the_same(things: list[PathObject]) -> None:
    """Writing and reading changes no content digest, no identity, no parent and nothing kept."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "slide.geojson.gz"
        assert write_feature_collection(path, things) == len(things)
        again = read(path)
    assert digests(again) == digests(things)
    for one, other in zip(things, again, strict=True):
        assert (other.uuid, other.parent, other.extra) == (one.uuid, one.parent, one.extra)


def test_a_real_export_survives_writing(shared_data: Path, tmp_path: Path) -> None:
    """Real exports, cells with many measurements and MultiPolygons, come back as they were."""
    for pattern in ("*Single_cells.geojson", "*MultiPolygon.geojson", "*03012023_JN.geojson"):
        [path] = (shared_data / "qupath" / "lmd").glob(pattern)
        things = read(path)
        write_feature_collection(tmp_path / "again.geojson", things)
        again = read(tmp_path / "again.geojson")
        assert digests(again) == digests(things)
        assert [thing.extra for thing in again] == [thing.extra for thing in things]


def test_a_feature_has_the_members_that_qupath_expects() -> None:
    """Type, class with colour, lock, plane, measurements and nucleus stand where QuPath looks."""
    thing = an_object(
        object_type="cell",
        path_class="Tumor: Positive",
        name="n",
        locked=True,
        nucleus=shapely.box(20, 20, 30, 30),
        z=2,
        measurements={"a": 1.5, "b": math.nan, "c": -math.inf, "d": None},
        extra={"class_color": [1, 2, 3], "metadata": {"k": "v"}, "geometry": {"isEllipse": True}},
    )
    ring = [[110.0, 10.0], [110.0, 110.0], [10.0, 110.0], [10.0, 10.0], [110.0, 10.0]]
    written = feature(thing)
    assert written["id"] == UUID
    assert written["geometry"] == {
        "type": "Polygon",
        "coordinates": [ring],
        "plane": {"c": -1, "z": 2, "t": 0},
        "isEllipse": True,
    }
    assert written["nucleusGeometry"]["plane"] == {"c": -1, "z": 2, "t": 0}
    assert written["properties"] == {
        "objectType": "cell",
        "name": "n",
        "classification": {"name": "Tumor: Positive", "color": [1, 2, 3]},
        "isLocked": True,
        "measurements": [
            {"name": "a", "value": 1.5},
            {"name": "b", "value": "NaN"},
            {"name": "c", "value": "-Infinity"},
            {"name": "d", "value": "NaN"},
        ],
        "metadata": {"k": "v"},
    }


def test_what_is_default_is_not_written() -> None:
    """No plane, lock, name or measurements where QuPath writes none; an unclassified object has no
    classification."""
    written = feature(an_object(path_class=None, uuid=None))
    assert written.keys() == {"type", "geometry", "properties"}
    assert written["geometry"].keys() == {"type", "coordinates"}
    assert written["properties"] == {"objectType": "annotation"}


def test_the_colour_of_a_class() -> None:
    """A given colour wins over the pulled one; without any QuPath is left to choose."""
    thing = an_object(extra={"class_color": [1, 2, 3]})
    assert feature(thing, color=(9, 8, 7))["properties"]["classification"]["color"] == [9, 8, 7]
    assert feature(thing)["properties"]["classification"]["color"] == [1, 2, 3]
    assert feature(an_object())["properties"]["classification"]["color"] == []


def test_one_part_is_written_as_itself() -> None:
    """QuPath breaks on a MultiPolygon of one part, so that part is written alone."""
    multi = shapely.MultiPolygon([SQUARE])
    assert feature(an_object(geometry=multi))["geometry"]["type"] == "Polygon"


@pytest.mark.parametrize("empty", [None, shapely.Polygon()])
def test_an_object_without_geometry_is_refused_and_nothing_is_left(
    tmp_path: Path, empty: object
) -> None:
    """QuPath has no such object; the file that stood there stays, and no part file remains."""
    path = tmp_path / "slide.geojson"
    path.write_text("before")
    with pytest.raises(InputError, match=UUID):
        write_feature_collection(path, [an_object(), an_object(geometry=empty)])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_foreign_members_stand_beside_the_features(tmp_path: Path) -> None:
    """Image metadata is written where reading finds it; 'features' can't be overwritten."""
    path = tmp_path / "new" / "slide.geojson"
    write_feature_collection(path, [], foreign_members={"metadata": {"grade": "3"}, "image": "A"})
    export = open_export(path)
    assert (export.count, export.image_metadata, export.image_name) == (0, {"grade": "3"}, "A")
    with pytest.raises(InputError):
        write_feature_collection(path, [], foreign_members={"features": []})


def test_the_same_objects_give_the_same_bytes(tmp_path: Path) -> None:
    """Plain and packed files are deterministic, and the packed one holds the plain one."""
    things = [an_object(measurements={"a": 0.1})]
    for name in ("a.geojson", "b.geojson", "a.geojson.gz", "b.geojson.gz"):
        write_feature_collection(tmp_path / name, things)
    plain = (tmp_path / "a.geojson").read_bytes()
    packed = (tmp_path / "a.geojson.gz").read_bytes()
    assert (tmp_path / "b.geojson").read_bytes() == plain
    assert (tmp_path / "b.geojson.gz").read_bytes() == packed
    assert gzip.decompress(packed) == plain
    assert json.loads(plain)["type"] == "FeatureCollection"


def test_features_are_taken_one_by_one(tmp_path: Path) -> None:
    """A generator is written as it goes, mappings among the objects too."""

    def features() -> Any:
        yield an_object()
        yield {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}

    path = tmp_path / "slide.geojson"
    assert write_feature_collection(path, features()) == 2
    assert [thing.geometry.geom_type for thing in read(path)] == ["Polygon", "Point"]


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_others_may_read_the_file(tmp_path: Path) -> None:
    """The file has the mode of any new file, not that of a temporary one."""
    (tmp_path / "any").touch()
    write_feature_collection(tmp_path / "slide.geojson", [])
    assert (tmp_path / "slide.geojson").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_disk_that_fails_while_more_is_made_fails_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressing goes on in a thread of its own, whose fault must not be lost."""

    def full(*_: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    thing = PathObject(UUID, "annotation", None, None, False, SQUARE)
    with pytest.raises(OSError, match="no space left"):
        write_feature_collection(tmp_path / "full.geojson.gz", [thing] * 10_000)
    assert list(tmp_path.iterdir()) == []


def test_small_outlines_by_the_thousand_and_large_ones_keep_their_order(tmp_path: Path) -> None:
    """Those of one ring are taken apart together; among them stand holes, points and long rings."""
    outlines: list[shapely.Geometry] = []
    for i in range(1100):
        outlines.append(shapely.box(i, 0, i + 1, 1))
        if i % 100 == 0:
            hole = shapely.box(20, 20, 30 + i / 1000, 30).exterior.coords
            outlines += [shapely.Polygon(SQUARE.exterior.coords, [hole]), shapely.Point(i, 7)]
            outlines.append(shapely.Point(i, 0).buffer(5, quad_segs=50))
    things = [PathObject(None, "annotation", None, None, False, one) for one in outlines]
    path = tmp_path / "many.geojson.gz"
    assert write_feature_collection(path, things) == len(outlines)
    found = [thing.geometry for batch in open_export(path).batches() for thing in batch.objects]
    assert geometry_digests(found) == geometry_digests(outlines)


@pytest.mark.parametrize("name", ["ours.geojson", "ours.geojson.gz"])
def test_reading_back_finds_what_is_there_and_nothing_in_a_file_that_is_not_whole(
    tmp_path: Path, name: str
) -> None:
    things = [
        PathObject(UUID.replace("26b0", f"{i:04x}"), "annotation", "A: B", None, False, SQUARE)
        for i in range(30)
    ]
    path = tmp_path / name
    write_feature_collection(path, things, foreign_members={"metadata": {"key": "[\n]}"}})
    found = read_back(path)
    assert found is not None
    (outline,) = geometry_digests([SQUARE])
    assert list(found) == [(thing.uuid, "A: B", outline) for thing in things]
    whole = path.read_bytes()
    text = gzip.decompress(whole) if path.suffix == ".gz" else whole
    cut = [whole[:end] for end in (0, 10, len(whole) // 2, len(whole) - 1)]
    spoiled = [
        text[:-3],
        text + b"more",
        text.replace(b"110.0", b"x", 1),
        text.replace(b"110.0", b"1e999", 1),
    ]
    if path.suffix == ".gz":
        spoiled = [gzip.compress(one) for one in spoiled]
    for content in (*cut, *spoiled):
        path.write_bytes(content)
        assert read_back(path) is None
