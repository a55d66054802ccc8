"""Region files: regions come back as they were, and what is none of ours is named and refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely

from models.errors import TileError
from models.prediction.regions import PredictedRegion
from models.prediction.regions_file import RegionsOrigin, read_regions, write_regions

ORIGIN = RegionsOrigin("A/12 é", "ab" * 32, ("cd" * 32, "ef" * 32), "01" * 32)
REGIONS = [
    PredictedRegion(
        shapely.box(0, 0, 90, 60).difference(shapely.box(10.125, 10, 20, 20)),
        "=Low, or so",
        0.75,
        0.56,
        0.01,
        1325.5,
        0.02,
    ),
    PredictedRegion(shapely.box(100, 0, 110, 10), "High", 0.5, 0.69, 0.0, 25.0),
]


@pytest.mark.parametrize("regions", [REGIONS, []], ids=["two", "none"])
def test_what_is_written_comes_back_and_is_the_same_bytes_again(
    tmp_path: Path, regions: list[PredictedRegion]
) -> None:
    path, again = tmp_path / "a.geojson.gz", tmp_path / "b.geojson.gz"
    write_regions(path, regions, ORIGIN)
    write_regions(again, regions, ORIGIN)
    assert path.read_bytes() == again.read_bytes()
    origin, found = read_regions(path)
    assert origin == ORIGIN
    assert [{**vars(one), "polygon": one.polygon.wkb} for one in found] == [
        {**vars(one), "polygon": one.polygon.wkb} for one in regions
    ]
    assert json.loads(gzip.decompress(path.read_bytes()))["type"] == "FeatureCollection"


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def spoil(packed: bytes) -> bytes:
        document = json.loads(gzip.decompress(packed))
        change(document)
        return gzip.compress(json.dumps(document).encode())

    return spoil


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda packed: packed[:-40], "truncated"),
    "format": (changed(lambda it: it.pop("format")), "no file of the format"),
    "origin": (changed(lambda it: it.pop("slide")), "what made it"),
    "property": (
        changed(lambda it: it["features"][0]["properties"].pop("class")),
        "something else",
    ),
    "number": (
        changed(lambda it: it["features"][0]["properties"].update(entropy="much")),
        "something else",
    ),
    "point": (
        changed(
            lambda it: it["features"][1].update(geometry={"type": "Point", "coordinates": [1, 2]})
        ),
        "is a Point",
    ),
    "empty": (
        changed(lambda it: it["features"][1]["geometry"].update(coordinates=[])),
        "is unusable",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.geojson.gz"
    write_regions(path, REGIONS, ORIGIN)
    spoil, said = DAMAGE[damage]
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(TileError, match=said) as caught:
        read_regions(path)
    assert "a.geojson.gz" in str(caught.value)
    assert "pathquorum predict" in str(caught.value)


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(TileError, match=r"nowhere\.geojson\.gz.*can't be read"):
        read_regions(tmp_path / "nowhere.geojson.gz")
