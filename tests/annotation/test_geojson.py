"""Reading exports: every dialect, each by a small literal, and every real export."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely

from annotation.errors import NotGeoJSONError
from annotation.geojson.export import Export, open_export
from annotation.records import Batch, PathObject

UUID = "26b06e11-096e-4cc2-b7dc-8441bcf74cb1"
OTHER_UUID = "92f08b75-5a0c-447c-a8c1-e37a2ef7f278"
SQUARE = [[[10, 10], [110, 10], [110, 110], [10, 110], [10, 10]]]
POLYGON = {"type": "Polygon", "coordinates": SQUARE}
OLD_EXPORT_FOLDERS = ("qupath_geojson", "qupath_geojson_advanced")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A factory of files: text, bytes, or a value to be written as JSON."""

    def write(content: Any, name: str = "slide.geojson") -> Path:
        path = tmp_path / name
        if isinstance(content, str):
            content = content.encode()
        elif not isinstance(content, bytes):
            content = json.dumps(content).encode()
        path.write_bytes(content)
        return path

    return write


def feature(geometry: Any = POLYGON, **members: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {}, **members}


def collection(*features: Any, **members: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features), **members}


def read_all(path: Path, **options: Any) -> Batch:
    return gather(open_export(path), **options)


def gather(export: Export, **options: Any) -> Batch:
    whole = Batch([], [], [], [])
    for batch in export.batches(**options):
        assert len(batch.objects) == len(batch.geometry_digests) == len(batch.content_digests)
        whole.objects += batch.objects
        whole.rejections += batch.rejections
        whole.geometry_digests += batch.geometry_digests
        whole.content_digests += batch.content_digests
    return whole


def read_one(path: Path) -> PathObject:
    batch = read_all(path)
    assert batch.rejections == []
    assert len(batch.objects) == 1
    return batch.objects[0]


def test_a_qupath_05_annotation_comes_in_whole(write: Write) -> None:
    """Every member that QuPath 0.5 writes for an annotation has its place in the object."""
    thing = read_one(
        write(
            '{"type":"FeatureCollection","features":[{"type":"Feature","id":"' + UUID.upper() + '",'
            '"geometry":{"type":"Polygon","coordinates":[[[10, 10],[110, 10],[110, 110],[10, 10]]],'
            '"plane":{"c":-1,"z":2,"t":1},"isEllipse":true},"properties":{"objectType":"annotation",'
            '"name":"n","color":[1, 2, 3],"classification":{"names":["Tumor","Positive"],'
            '"color":[200, 50, 50]},"isLocked":true,"measurements":{"A":"NaN","B":"Infinity",'
            '"C":1.5},"metadata":{"k":"v"}}}]}'
        )
    )
    assert thing.uuid == UUID
    assert thing.object_type == "annotation"
    assert thing.path_class == "Tumor: Positive"
    assert thing.name == "n"
    assert thing.locked is True
    assert thing.geometry.equals(shapely.Polygon([(10, 10), (110, 10), (110, 110)]))
    assert (thing.z, thing.t, thing.c) == (2, 1, None)
    assert math.isnan(thing.measurements["A"] or 0)
    assert thing.measurements["B"] == math.inf
    assert thing.measurements["C"] == 1.5
    assert thing.extra == {
        "color": [1, 2, 3],
        "class_color": [200, 50, 50],
        "metadata": {"k": "v"},
        "geometry": {"isEllipse": True},
    }


@pytest.mark.parametrize("wrap", [collection, lambda f: [f], lambda f: f], ids=["fc", "list", "1"])
def test_collection_list_and_single_feature_are_the_same(
    write: Write, wrap: Callable[[Any], Any]
) -> None:
    """A FeatureCollection, a bare list and a lone Feature give the same object."""
    thing = read_one(write(wrap(feature(id=UUID))))
    assert thing.uuid == UUID
    assert thing.geometry.area == 10_000


def test_a_bare_geometry_is_an_annotation(write: Write) -> None:
    """A geometry alone, as QuPath writes a ROI, is an unclassified annotation without identity."""
    path = write({"type": "MultiPolygon", "coordinates": [SQUARE], "plane": {"z": 3}})
    thing = read_one(path)
    assert (thing.uuid, thing.object_type, thing.path_class) == (None, "annotation", None)
    assert thing.z == 3
    assert open_export(path).count == 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("annotation", "annotation"),
        ("detection", "detection"),
        ("cell", "cell"),
        ("tile", "tile"),
        ("tmaCore", "tma_core"),
        ("tma_core", "tma_core"),
    ],
)
@pytest.mark.parametrize("key", ["objectType", "object_type", "type"])
def test_object_types_under_their_three_keys(
    write: Write, key: str, written: str, meant: str
) -> None:
    """The type stands under ``objectType``, before that ``object_type``, and an alias ``type``."""
    assert read_one(write([feature(properties={key: written})])).object_type == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("PathAnnotationObject", "annotation"),
        ("PathDetectionObject", "detection"),
        ("PathCellObject", "cell"),
        ("PathTileObject", "tile"),
        ("TMACoreObject", "tma_core"),
    ],
)
def test_the_old_id_is_a_type_and_no_identity(write: Write, written: str, meant: str) -> None:
    """Before 0.4 the id, of the feature or among the properties, named the type."""
    outer = read_one(write([feature(id=written)]))
    inner = read_one(write([feature(properties={"id": written})]))
    assert (outer.uuid, outer.object_type, outer.extra) == (None, meant, {})
    assert (inner.uuid, inner.object_type, inner.extra) == (None, meant, {})


def test_an_unknown_type_is_an_annotation_and_kept(write: Write) -> None:
    """QuPath makes an annotation of a type it doesn't know; so do we, and keep what stood there."""
    thing = read_one(write([feature(properties={"objectType": "glomerulus"})]))
    assert thing.object_type == "annotation"
    assert thing.extra == {"object_type": "glomerulus"}


@pytest.mark.parametrize("written", ["1", 7, "roi-12", UUID.replace("-", "")])
def test_only_a_uuid_is_an_identity(write: Write, written: object) -> None:
    """Any other id identifies nothing and is kept."""
    thing = read_one(write([feature(id=written)]))
    assert thing.uuid is None
    assert thing.extra == {"feature": {"id": written}}


def test_a_uuid_among_the_properties_counts_where_the_feature_has_none(write: Write) -> None:
    """The feature's own UUID wins; without one, that of the properties is the identity."""
    both = read_one(write([feature(id=UUID, properties={"id": OTHER_UUID})]))
    inner = read_one(write([feature(properties={"id": OTHER_UUID})]))
    typed = read_one(write([feature(id="PathCellObject", properties={"id": OTHER_UUID})]))
    assert (both.uuid, both.extra) == (UUID, {"properties": {"id": OTHER_UUID}})
    assert (inner.uuid, inner.extra) == (OTHER_UUID, {})
    assert (typed.uuid, typed.object_type) == (OTHER_UUID, "cell")


@pytest.mark.parametrize(
    ("written", "meant", "color"),
    [
        ({"name": "Tumor", "color": [200, 0, 0]}, "Tumor", [200, 0, 0]),
        ({"name": "Tumor", "colorRGB": -3670016}, "Tumor", [200, 0, 0]),
        ({"name": "Tumor: Positive", "color": []}, "Tumor: Positive", None),
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3, 4]}, "Tumor: Positive", [1, 2, 3, 4]),
        (
            {"parentClass": {"name": "Tumor", "colorRGB": 0}, "name": "3+", "colorRGB": -1},
            "Tumor: 3+",
            [255, 255, 255],
        ),
        ("Stroma", "Stroma", None),
        ("{'name': 'Tumor'}", "{'name': 'Tumor'}", None),
        ({}, None, None),
        ({"name": None, "color": []}, None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_classes_in_every_spelling(
    write: Write, written: object, meant: str | None, color: list[int] | None
) -> None:
    """A class is as written, its levels joined; colours become red, green, blue."""
    thing = read_one(write([feature(properties={"classification": written})]))
    assert thing.path_class == meant
    assert thing.extra.get("class_color") == color


def test_further_members_of_a_classification_are_kept(write: Write) -> None:
    """What else stands in a classification is not dropped."""
    written = {"name": "Tumor", "color": [0, 0, 0], "ontology": {"id": 1}}
    thing = read_one(write([feature(properties={"classification": written})]))
    assert thing.path_class == "Tumor"
    assert thing.extra["classification"] == {"ontology": {"id": 1}}


def test_measurements_as_dict_and_list(write: Write) -> None:
    """Both forms give the same numbers; null and the names of special numbers are understood."""
    as_dict = {"a": 1, "b": 2.5, "c": None, "d": "-Infinity", "e": "Infinity"}
    as_list = [{"name": name, "value": value} for name, value in as_dict.items()]
    expected = {"a": 1.0, "b": 2.5, "c": None, "d": -math.inf, "e": math.inf}
    for written in (as_dict, as_list):
        thing = read_one(write([feature(properties={"measurements": written})]))
        assert thing.measurements == expected
        assert thing.extra == {}


def test_measurements_that_are_no_numbers_are_kept_aside(write: Write) -> None:
    """Text, truth values, second values and nameless ones are no measurements, and not lost."""
    as_dict = {"a": 1, "note": "good", "flag": True}
    thing = read_one(write([feature(properties={"measurements": as_dict})]))
    assert thing.measurements == {"a": 1.0}
    assert thing.extra["measurements"] == [
        {"name": "note", "value": "good"},
        {"name": "flag", "value": True},
    ]
    as_list = [{"name": "a", "value": 1}, {"name": "a", "value": 2}, {"value": 3}]
    thing = read_one(write([feature(properties={"measurements": as_list})]))
    assert thing.measurements == {"a": 1.0}
    assert thing.extra["measurements"] == as_list[1:]


def test_bare_nan_and_infinity_are_read(write: Write) -> None:
    """QuPath before 0.5 writes special numbers as bare words; strings that hold them stay strings."""
    text = (
        '[{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":'
        '{"name":"a \\"NaN\\" name","measurements":{"NaN":NaN,"p":Infinity,"m":-Infinity,"x":1}}},'
        '{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":'
        '{"name":"Infinity","odd":{"deep":[NaN,-Infinity]},"measurements":[{"name":"n","value":NaN}]}}]'
    )
    first, second = read_all(write(text)).objects
    assert first.name == 'a "NaN" name'
    assert math.isnan(first.measurements["NaN"] or 0)
    assert first.measurements | {"NaN": 0} == {"NaN": 0, "p": math.inf, "m": -math.inf, "x": 1}
    assert second.name == "Infinity"
    assert second.extra == {"properties": {"odd": {"deep": ["NaN", "-Infinity"]}}}
    assert math.isnan(second.measurements["n"] or 0)


def test_a_cell_has_its_nucleus(write: Write) -> None:
    """A cell's nucleus is a geometry of its own."""
    nucleus = {"type": "Polygon", "coordinates": [[[40, 40], [50, 40], [50, 50], [40, 40]]]}
    thing = read_one(write([feature(nucleusGeometry=nucleus, properties={"objectType": "cell"})]))
    assert thing.object_type == "cell"
    assert thing.nucleus is not None
    assert thing.nucleus.area == 50


def test_the_plane_of_a_nucleus_is_that_of_its_cell(write: Write) -> None:
    """Both decoders take the same plane for granted and keep another one."""
    plane, other = {"c": -1, "z": 1, "t": 0}, {"c": -1, "z": 2, "t": 0}
    for further in ({}, {"reviewed": True}):
        cells = [
            feature({**POLYGON, "plane": plane}, nucleusGeometry={**POLYGON, "plane": p}, **further)
            for p in (plane, other)
        ]
        same, differs = read_all(write(cells)).objects
        assert "nucleus" not in same.extra
        assert differs.extra["nucleus"]["plane"] == other


@pytest.mark.parametrize(
    ("geometry", "wkt"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "POINT (1 2)"),
        ({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}, "MULTIPOINT (1 2, 3 4)"),
        ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "LINESTRING (1 2, 3 4)"),
        (
            {"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]},
            "MULTILINESTRING ((1 2, 3 4), (5 6, 7 8))",
        ),
        (
            {
                "type": "Polygon",
                "coordinates": [[[0, 0], [9, 0], [9, 9]], [[5, 3], [6, 3], [6, 4]]],
            },
            "POLYGON ((0 0, 9 0, 9 9, 0 0), (5 3, 6 3, 6 4, 5 3))",
        ),
        (
            {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[0, 0], [9, 0], [9, 9]], [[5, 3], [6, 3], [6, 4]]],
                    [[[20, 0], [29, 0], [29, 9], [20, 0]]],
                ],
            },
            "MULTIPOLYGON (((0 0, 9 0, 9 9, 0 0), (5 3, 6 3, 6 4, 5 3)),"
            " ((20 0, 29 0, 29 9, 20 0)))",
        ),
        (
            {
                "type": "GeometryCollection",
                "geometries": [POLYGON, {"type": "Point", "coordinates": [1, 2]}],
            },
            "GEOMETRYCOLLECTION (POLYGON ((10 10, 110 10, 110 110, 10 110, 10 10)), POINT (1 2))",
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_every_geometry_type(write: Write, geometry: dict[str, Any], wkt: str) -> None:
    """Each type is built as it stands, by both decoders: an unknown member takes the slow one."""
    for further in ({}, {"bbox": [0, 0, 1, 1]}):
        thing = read_one(write([feature({**geometry, **further})]))
        assert thing.geometry.wkt == shapely.from_wkt(wkt).wkt


def test_mixed_types_keep_their_order(write: Write) -> None:
    """Geometries are built type by type and come out in the order of the file."""
    point, line = {"type": "Point", "coordinates": [5, 6]}, [[0, 0], [3, 4]]
    shapes = [POLYGON, point, {"type": "LineString", "coordinates": line}, point, POLYGON]
    batch = read_all(write([feature(shape) for shape in shapes]))
    assert [thing.geometry.geom_type for thing in batch.objects] == [s["type"] for s in shapes]
    assert [thing.geometry.length for thing in batch.objects] == [400, 0, 5, 0, 400]


@pytest.mark.parametrize(
    "members",
    [
        {"geometry": {**POLYGON, "plane": {"c": 1, "z": 2, "t": 3}}},
        {"geometry": {**POLYGON, "c": 1, "z": 2, "t": 3}},
        {"plane": {"c": 1, "z": 2, "t": 3}},
        {"properties": {"plane": {"c": 1, "z": 2, "t": 3}}},
        {"properties": {"z": 2, "t": 3, "c": 1}},
    ],
)
def test_the_image_plane_in_every_place(write: Write, members: dict[str, Any]) -> None:
    """QuPath's ``plane`` stands in the geometry; other programs put it, or z and t, elsewhere."""
    thing = read_one(write([{**feature(), **members}]))
    assert (thing.z, thing.t, thing.c) == (2, 3, 1)
    assert thing.extra == {}


def test_a_plane_that_is_none_is_kept(write: Write) -> None:
    """What can't be an image plane is not guessed at."""
    thing = read_one(write([feature(properties={"z": "deep", "plane": "top"})]))
    assert (thing.z, thing.t, thing.c) == (0, 0, None)
    assert thing.extra == {"properties": {"z": "deep", "plane": "top"}}


def test_a_third_ordinate_is_dropped_and_noted(write: Write) -> None:
    """Geometry is two-dimensional; that a position had more numbers is kept."""
    thing = read_one(write([feature({"type": "Point", "coordinates": [1, 2, 3]})]))
    assert thing.geometry.wkt == "POINT (1 2)"
    assert thing.extra == {"geometry": {"ordinates": 3}}


def test_unknown_members_are_kept_in_their_place(write: Write) -> None:
    """Whatever a feature holds beside what QuPath writes stays with the object."""
    thing = read_one(
        write(
            [
                feature(
                    {**POLYGON, "bbox": [10, 10, 110, 110]},
                    reviewed=True,
                    properties={
                        "isMissing": False,
                        "stain": {"H": [0.65, 0.7]},
                        "metadata": {"a": {}},
                    },
                )
            ]
        )
    )
    assert thing.extra == {
        "geometry": {"bbox": [10, 10, 110, 110]},
        "feature": {"reviewed": True},
        "properties": {"isMissing": False, "stain": {"H": [0.65, 0.7]}, "metadata": {"a": {}}},
    }


def test_children_come_out_behind_their_parent(write: Write) -> None:
    """A hierarchical export nests objects in ``childObjects``; each comes out and knows its parent."""
    grandchild = feature(properties={"objectType": "cell"})
    child = feature(
        id=OTHER_UUID, properties={"objectType": "detection", "childObjects": [grandchild]}
    )
    path = write(collection(feature(id=UUID, properties={"childObjects": [child]}), feature()))
    batch = read_all(path, batch_size=1)
    assert [thing.object_type for thing in batch.objects] == [
        "annotation",
        "detection",
        "cell",
        "annotation",
    ]
    assert [thing.parent for thing in batch.objects] == [None, UUID, OTHER_UUID, None]
    assert open_export(path).count == 2


def test_a_parent_that_we_wrote_is_read(write: Write) -> None:
    """``parent`` among the properties is a UUID or kept as it is."""
    assert read_one(write([feature(properties={"parent": UUID})])).parent == UUID
    odd = read_one(write([feature(properties={"parent": "root"})]))
    assert odd.parent is None


def test_gzip_and_byte_order_mark(write: Write) -> None:
    """Gzip is known by its bytes, with several members too; a byte order mark is skipped."""
    text = json.dumps(collection(feature(id=UUID))).encode()
    packed = gzip.compress(text[:50]) + gzip.compress(text[50:]) + bytes(16)
    for content in (packed, b"\xef\xbb\xbf" + text, b" \n" + text + b"\n"):
        path = write(content, "slide.geojson.gz")
        assert read_one(path).uuid == UUID
        assert open_export(path).raw == content


@pytest.mark.parametrize("empty", [[], {"type": "FeatureCollection", "features": []}])
def test_an_empty_export_has_no_objects(write: Write, empty: object) -> None:
    """QuPath writes either when nothing is drawn; it is a read, not a fault."""
    export = open_export(write(empty))
    assert export.count == 0
    assert list(export.batches()) == []


def test_what_stands_beside_the_features(write: Write) -> None:
    """Foreign members are kept; the image's name and metadata are found among them."""
    path = write(
        collection(
            feature(), image={"name": "A12.svs"}, metadata={"grade": "3", "n": 2}, crs={"x": [1]}
        )
    )
    export = open_export(path)
    assert export.image_name == "A12.svs"
    assert export.image_metadata == {"grade": "3", "n": "2"}
    assert export.foreign.keys() == {"image", "metadata", "crs"}
    assert open_export(write(collection(feature(), imageName="B.svs"))).image_name == "B.svs"
    assert open_export(write(collection(feature(), name="layer"))).image_name is None


def test_batches_do_not_change_what_is_read(write: Write) -> None:
    """Any size of batch gives the same objects, rejections and digests."""
    features = [feature(id=f"26b06e11-096e-4cc2-b7dc-{i % 7:012d}") for i in range(20)]
    path = write(collection(*features, feature(None), feature()))
    whole = read_all(path)
    assert len(whole.objects) == 8
    for batch_size in (1, 3, 22):
        parts = read_all(path, batch_size=batch_size)
        assert parts.content_digests == whole.content_digests
        assert parts.rejections == whole.rejections


def exports(shared_data: Path) -> list[Path]:
    folder = shared_data / "qupath"
    found = sorted(folder.rglob("*.geojson"))
    for path in sorted(folder.rglob("*.json")):
        if any(name in path.as_posix() for name in OLD_EXPORT_FOLDERS):
            found.append(path)
    return found


def test_every_real_export_adds_up(shared_data: Path) -> None:
    """Every real export is read, and each of its features is an object; none is rejected."""
    found = exports(shared_data)
    assert len(found) >= 31
    for path in found:
        content = json.loads(path.read_bytes())
        features = content.get("features", [content]) if isinstance(content, dict) else content
        export = open_export(path)
        batch = gather(export)
        assert export.count == len(features), path
        assert (len(batch.objects), batch.rejections) == (len(features), []), path
        for thing, written in zip(batch.objects, features, strict=True):
            geometry = written.get("geometry", written)
            assert thing.geometry.equals(shapely.geometry.shape(geometry)), path


def test_real_files_that_are_no_geojson_are_refused(shared_data: Path) -> None:
    """Class lists, server descriptions, projects and other programs' formats are told apart."""
    folder = shared_data / "qupath"
    known = set(exports(shared_data))
    others = [
        path
        for pattern in ("*.json", "*.txt", "*.xml", "*.qpproj", "*.qpdata")
        for path in sorted(folder.rglob(pattern))
        if path not in known
    ]
    assert len(others) > 20
    for path in others:
        with pytest.raises(NotGeoJSONError) as caught:
            open_export(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
