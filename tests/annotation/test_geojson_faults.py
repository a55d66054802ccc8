"""Broken exports: faults of the file refuse it, faults of an object reject that object."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import annotation.geojson.export as geojson_module
from annotation.errors import NotGeoJSONError, SourceError
from annotation.geojson.export import open_export
from annotation.records import Rejection

UUID = "26b06e11-096e-4cc2-b7dc-8441bcf74cb1"
POLYGON = '{"type":"Polygon","coordinates":[[[10,10],[110,10],[110,110],[10,10]]]}'
GOOD = '{"type":"Feature","geometry":' + POLYGON + ',"properties":{}}'


def of_geometry(geometry: str, **members: str) -> str:
    further = "".join(f',"{key}":{value}' for key, value in members.items())
    return f'{{"type":"Feature","geometry":{geometry},"properties":{{}}{further}}}'


def rejections(tmp_path: Path, *features: str) -> list[Rejection]:
    """Read the features between two good ones; those two must come in."""
    path = tmp_path / "slide.geojson"
    path.write_text(
        f'{{"type":"FeatureCollection","features":[{",".join((GOOD, *features, GOOD))}]}}'
    )
    export = open_export(path)
    batches = list(export.batches())
    assert export.count == len(features) + 2
    found = [rejection for batch in batches for rejection in batch.rejections]
    assert sum(len(batch.objects) for batch in batches) + len(found) == export.count
    return found


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        ("null", "empty geometry"),
        ('{"type":"Polygon","coordinates":[]}', "empty geometry"),
        ('{"type":"Polygon","coordinates":[[]]}', "empty geometry"),
        ('{"type":"MultiPolygon","coordinates":[[[]]]}', "empty geometry"),
        ('{"type":"MultiPoint","coordinates":[]}', "empty geometry"),
        ('{"type":"Point","coordinates":[]}', "empty geometry"),
        ('{"type":"GeometryCollection","geometries":[]}', "empty geometry"),
        ('{"type":"Point","coordinates":[NaN,1]}', "NaN or infinite coordinates"),
        ('{"type":"Point","coordinates":[1,-Infinity]}', "NaN or infinite coordinates"),
        ('{"type":"Point","coordinates":["NaN",1]}', "NaN or infinite coordinates"),
        ('{"type":"Point","coordinates":[1e999,1]}', "NaN or infinite coordinates"),
        (
            '{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,NaN],[0,0]]]}',
            "NaN or infinite coordinates",
        ),
        ('{"type":"Point","coordinates":[1e13,1]}', "coordinates beyond 1e+12 px"),
        ('{"type":"Point","coordinates":[1]}', "malformed coordinates"),
        ('{"type":"Point","coordinates":["1",2]}', "malformed coordinates"),
        ('{"type":"Point","coordinates":[null,2]}', "malformed coordinates"),
        ('{"type":"Point","coordinates":[true,2]}', "malformed coordinates"),
        ('{"type":"Point"}', "malformed coordinates"),
        ('{"type":"Point","coordinates":{"x":1}}', "malformed coordinates"),
        ('{"type":"LineString","coordinates":[[1,2]]}', "malformed coordinates"),
        ('{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}', "malformed coordinates"),
        ('{"type":"Polygon","coordinates":[[0,0],[1,1],[2,0]]}', "malformed coordinates"),
        (
            '{"type":"MultiPolygon","coordinates":[[[[0,0],[9,0],[9,9],[0,0]]],[]]}',
            "malformed coordinates",
        ),
        ('{"type":"GeometryCollection"}', "malformed geometry"),
        ('{"type":"GeometryCollection","geometries":[null]}', "empty geometry"),
        ('"here"', "malformed geometry"),
        ('{"type":"Circle","coordinates":[1,2]}', "unknown geometry type 'Circle'"),
        ('{"coordinates":[1,2]}', "unknown geometry type 'None'"),
    ],
)
def test_a_bad_geometry_rejects_its_object_alone(
    tmp_path: Path, geometry: str, reason: str
) -> None:
    """What can't be a geometry is rejected with its reason and its UUID, or its place without one."""
    with_id = of_geometry(geometry, id=f'"{UUID}"')
    named, placed = rejections(tmp_path, with_id, of_geometry(geometry))
    assert (named.id, placed.id) == (UUID, "#3")
    assert named.reason.startswith(reason)
    assert placed.reason == named.reason


def test_a_bad_nucleus_rejects_its_cell(tmp_path: Path) -> None:
    """A cell whose nucleus is broken is not half a cell."""
    bad = '{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,NaN],[0,0]]]}'
    short = '{"type":"Polygon","coordinates":[[[0,0],[1,0]]]}'
    for nucleus, reason in (
        (bad, "NaN or infinite coordinates in the nucleus"),
        (short, "malformed coordinates: too few positions in the nucleus"),
    ):
        [rejection] = rejections(tmp_path, of_geometry(POLYGON, nucleusGeometry=nucleus))
        assert rejection.reason == reason


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        ("7", "not a Feature"),
        ("null", "not a Feature"),
        ("[1,2]", "not a Feature"),
        ("{}", "not a Feature"),
        ('{"type":"FeatureCollection","features":[]}', "not a Feature"),
        ('{"geometry":' + POLYGON + "}", "not a Feature"),
        ('{"type":"Feature","geometry":' + POLYGON + ',"properties":[]}', "malformed properties"),
        (of_geometry(POLYGON, odd="1" * 5000), "malformed JSON"),
        (of_geometry(POLYGON, odd="[" * 200 + "]" * 200), "nested too deeply"),
        (
            of_geometry('{"type":"GeometryCollection","geometries":[' * 20 + POLYGON + "]}" * 20),
            "malformed geometry: collections nested too deeply",
        ),
    ],
)
def test_what_is_no_usable_feature_is_rejected(tmp_path: Path, feature: str, reason: str) -> None:
    """Anything in the list that can't become an object is rejected; it never ends in a traceback."""
    [rejection] = rejections(tmp_path, feature)
    assert rejection.id == "#2"
    assert rejection.reason.startswith(reason)


def test_a_uuid_that_stood_earlier_is_a_duplicate(tmp_path: Path) -> None:
    """The first of a UUID comes in; later ones are duplicates, told apart by what they hold."""
    identified = f'"{UUID}"'
    first = of_geometry(POLYGON, id=identified)
    turned = '{"coordinates":[[[110,110],[110,10],[10,10],[110,110]]],"type":"Polygon"}'
    same = of_geometry(turned, id=identified.upper())
    other = of_geometry(POLYGON.replace("110", "111"), id=identified)
    broken = of_geometry("null", id=identified)
    found = rejections(tmp_path, first, same, other, broken)
    assert [(one.id, one.reason) for one in found] == [
        (UUID, "duplicate (same content)"),
        (UUID, "duplicate (other content)"),
        (UUID, "duplicate (other content)"),
    ]


def test_a_uuid_of_a_rejected_object_stood_earlier_too(tmp_path: Path) -> None:
    """A good object behind a broken one of the same UUID is a duplicate of other content."""
    identified = f'"{UUID}"'
    found = rejections(
        tmp_path, of_geometry("null", id=identified), of_geometry(POLYGON, id=identified)
    )
    assert [one.reason for one in found] == ["empty geometry", "duplicate (other content)"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b'{"type":"FeatureCollection","features":[' + GOOD.encode(), "is truncated"),
        (b'[{"type":"Feature","geometry":{"type":"Poi', "is truncated"),
        (b'[{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2,', "is truncated"),
        (b"[1,2,}]", "is not JSON (byte 5)"),
        (b"\xef\xbb\xbf[1,2,}]", "is not JSON (byte 8)"),
        (b"[NaNa]", "is not JSON (byte "),
        (b"<xml/>", "is not JSON (byte 0)"),
        (b"[] []", "is not JSON (byte 4)"),
        (b'{"pathClasses":["\xb5m"]}', "is not UTF-8 (near byte 17)"),
        ('{"a":1}'.encode("utf-16"), "is not UTF-8 (near byte 0)"),
        (b"PK\x03\x04rest", "is a zip archive"),
        (b"7", "is JSON, but not GeoJSON"),
        (b'"Feature"', "is JSON, but not GeoJSON"),
        (b"{}", "is JSON, but not GeoJSON: it has no features"),
        (b'{"type":"Area","content":[]}', "is JSON, but not GeoJSON: its type is 'Area'"),
        (b'{"type":"Topology","features":[]}', "is JSON, but not GeoJSON: its type is 'Topology'"),
        (b'{"type":"FeatureCollection"}', "is JSON, but not GeoJSON"),
        (b'{"type":"FeatureCollection","features":{}}', "its features are no list"),
        (b'{"type":"FeatureCollection","features":null}', "its features are no list"),
        (b'[{"type":"Area"},7]', "no item of its list is a Feature"),
        (b'{"type":"FeatureCollection","features":[7],"features":[]}', "it has 'features' twice"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
        (b'{"features":[],"odd":' + b"[" * 100 + b"]" * 100 + b"}", "nested too deeply"),
        (b'{"features":[],"odd":"\\ud800 half a pair"}', "is not JSON (byte 28)"),
    ],
)
def test_a_fault_of_the_file_refuses_it_in_one_line(
    tmp_path: Path, content: bytes, what: str
) -> None:
    """The message names the file, what is wrong, where it is known, and ends in a next step."""
    path = tmp_path / "slide.geojson"
    path.write_bytes(content)
    with pytest.raises(NotGeoJSONError) as caught:
        open_export(path)
    message = str(caught.value)
    assert what in message
    assert "slide.geojson" in message
    assert "; " in message
    assert "\n" not in message
    assert caught.value.path == path


def test_a_name_with_a_line_break_keeps_the_message_in_one_line(tmp_path: Path) -> None:
    """Names of files are data; they can't break the line."""
    path = tmp_path / "a\nb.geojson"
    path.write_bytes(b"{")
    with pytest.raises(NotGeoJSONError) as caught:
        open_export(path)
    assert "\n" not in str(caught.value)


def test_features_twice_is_no_matter_inside_a_feature(tmp_path: Path) -> None:
    """Only the collection's own member is meant."""
    odd = of_geometry(POLYGON, features='[1,{"features":[]}]')
    assert rejections(tmp_path, odd) == []


@pytest.mark.parametrize("cut", [5, 40, -12, -3])
def test_truncated_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    """Compressed data that end early are a truncated file, wherever they end."""
    path = tmp_path / "slide.geojson.gz"
    path.write_bytes(gzip.compress(f"[{GOOD}]".encode())[:cut])
    with pytest.raises(NotGeoJSONError, match="is truncated"):
        open_export(path)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    """A flipped bit in compressed data is found."""
    path = tmp_path / "slide.geojson.gz"
    packed = bytearray(gzip.compress(f"[{GOOD}]".encode()))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(NotGeoJSONError, match="not a sound gzip file"):
        open_export(path)


def test_decompression_stops_at_the_stated_size(tmp_path: Path) -> None:
    """A small file can't fill the memory: not past the size, plain or packed."""
    plain, packed = tmp_path / "slide.geojson", tmp_path / "slide.geojson.gz"
    text = b"[" + b" " * 5_000_000 + b"]"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    for path in (plain, packed):
        with pytest.raises(SourceError, match="1,000,000"):
            open_export(path, max_bytes=1_000_000)


def test_decompression_stops_at_the_stated_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What grows beyond all reason is refused long before the size is reached."""
    monkeypatch.setattr(geojson_module, "_RATIO_FREE_BYTES", 1_000_000)
    path = tmp_path / "slide.geojson.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 5_000_000 + b"]"))
    with pytest.raises(SourceError, match="200 times its size"):
        open_export(path)


@pytest.mark.parametrize("name", ["missing.geojson", "folder"])
def test_a_path_that_can_not_be_read(tmp_path: Path, name: str) -> None:
    """A missing file and a folder are source errors like any other."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match="can't be read"):
        open_export(tmp_path / name)


def test_bare_words_are_told_from_strings_with_escapes(tmp_path: Path) -> None:
    """Quotes and backslashes before a bare word don't mislead the search for it."""
    names = ['say "NaN', "back\\slash NaN \\", 'NaN\\"', "Infinity"]
    properties = [json.dumps({"name": name}) for name in names]
    features: list[Any] = [
        GOOD.replace('"properties":{}', f'"properties":{{"measurements":{{"m":NaN}},{text[1:]}')
        for text in properties
    ]
    path = tmp_path / "slide.geojson"
    path.write_text(f"[{','.join(features)}]")
    [batch] = open_export(path).batches()
    assert [thing.name for thing in batch.objects] == names
    assert all(str(thing.measurements["m"]) == "nan" for thing in batch.objects)


def test_children_of_a_rejected_parent_come_in(tmp_path: Path) -> None:
    """What is wrong with an object is not wrong with those below it."""
    deep = "[" * 200 + "]" * 200
    for geometry, odd in (("null", "1"), (POLYGON, deep)):
        parent = (
            f'{{"type":"Feature","geometry":{geometry},'
            f'"properties":{{"odd":{odd},"childObjects":[{GOOD}]}}}}'
        )
        path = tmp_path / "slide.geojson"
        path.write_text(f"[{parent}]")
        [batch] = open_export(path).batches()
        assert len(batch.objects) == 1
        assert [rejection.id for rejection in batch.rejections] == ["#1"]


def test_a_delete_character_is_a_character(tmp_path: Path) -> None:
    """DEL marks substitutes; a text that holds one of its own is read as it stands."""
    odd = of_geometry(POLYGON, odd='"\x7f"')
    path = tmp_path / "slide.geojson"
    path.write_text(f"[{odd}]")
    [batch] = open_export(path).batches()
    assert batch.objects[0].extra == {"feature": {"odd": "\x7f"}}
    path.write_text(f"[{odd},{of_geometry(POLYGON, odd='NaN')}]")
    with pytest.raises(NotGeoJSONError, match="is not JSON"):
        open_export(path)
