"""Exports of a release: complete or not at all, and with everything that is known of each item."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely

from annotation.store import Store
from consensus.adjudication import decide
from tests.conftest import CommandResult
from tests.consensus.built_run import (
    ALL_BENIGN,
    MOST_TUMOR,
    MPP,
    SPLIT,
    Item,
    build_run,
    region_items,
)

Pathquorum = Callable[..., CommandResult]

SLIDES = {"A": {"patient": "=one"}, "b/../c": {"patient": "two"}}


def export(
    pathquorum: Pathquorum, folder: Path, *options: object, form: str = "geojson"
) -> CommandResult:
    return pathquorum(
        "release", "export", "v1", "--format", form, "--to", folder, "--json", *options
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "items.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def features(folder: Path, slide: str) -> dict[str, dict[str, Any]]:
    document = json.loads((folder / "geojson" / f"{slide}.geojson").read_bytes())
    return {feature["properties"]["name"]: feature for feature in document["features"]}


def measured(feature: dict[str, Any]) -> dict[str, float]:
    return {m["name"]: m["value"] for m in feature["properties"]["measurements"]}


@pytest.fixture
def released(store: Store, pathquorum: Pathquorum) -> Pathquorum:
    """A release of two slides with a decision on the first."""
    items = [item for slide in SLIDES for item in region_items(slide)]
    run = build_run(store, items, slides=SLIDES)
    with store.writing() as session:
        decide(session, 1, by="L", reason="+ clear", answer="class", path_class="=Tumor")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=0.5,test=0.5")
    assert made.status == 0, made.err
    return pathquorum


def test_the_manifest_is_the_very_bytes_that_the_digest_is_taken_over(
    released: Pathquorum, tmp_path: Path
) -> None:
    result = export(released, tmp_path / "out")
    assert result.status == 0, result.err
    manifest = (tmp_path / "out" / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == result.json["manifest_sha256"]
    assert result.json["files"] == [
        "geojson/A.geojson", "geojson/b%2F..%2Fc.geojson", "head.json", "items.csv", "manifest.json",
        "split.json",
    ]  # fmt: skip
    parts = json.loads((tmp_path / "out" / "split.json").read_bytes())["parts"]
    assert sorted(p for part in parts.values() for p in part["patients"]) == ["=one", "two"]
    assert sorted(s for part in parts.values() for s in part["slides"]) == sorted(SLIDES)


def test_features_cover_all_that_was_rated_and_say_what_is_known_of_it(
    released: Pathquorum, tmp_path: Path
) -> None:
    export(released, tmp_path / "out")
    found = features(tmp_path / "out", "A")
    outlines = [shapely.from_geojson(json.dumps(f["geometry"])) for f in found.values()]
    assert shapely.union_all(outlines).equals(shapely.box(0, 0, 900, 800))
    assert sum(o.area for o in outlines) == pytest.approx(900 * 800)

    tumor = found["A/2"]
    assert tumor["properties"]["classification"] == {"name": "=Tumor", "color": [192, 0, 0]}
    assert tumor["properties"]["isLocked"] is True
    assert measured(tumor)["pathquorum posterior =Tumor"] == pytest.approx(2 / 3)
    assert measured(tumor)["pathquorum area um2"] == pytest.approx(
        shapely.from_geojson(json.dumps(tumor["geometry"])).area * MPP**2
    )
    metadata = tumor["properties"]["metadata"]
    assert {k: v for k, v in metadata.items() if k.startswith("rater")} == {
        "rater P1": "=Tumor",
        "rater P2": "=Tumor",
        "rater P3": "Benign",
    }
    assert metadata["pathquorum state"] == "agreed"
    assert metadata["pathquorum part"] in ("train", "test")

    decided = found["A/3.1"]["properties"]
    assert decided["classification"]["name"] == "=Tumor"
    assert decided["metadata"]["pathquorum decided by"] == "L"
    assert decided["metadata"]["pathquorum decision"] == "1"
    assert measured(found["A/3.1"])["pathquorum posterior =Tumor"] == 1
    for name, state in (("A/3.2", "disputed"), ("A/4", "too few raters")):
        assert "classification" not in found[name]["properties"]
        assert found[name]["properties"]["metadata"]["pathquorum state"] == state
    assert found["A/5"]["properties"]["classification"]["name"] == "background"


def test_the_table_has_a_row_an_item_and_no_cell_that_a_spreadsheet_would_run(
    released: Pathquorum, tmp_path: Path
) -> None:
    export(released, tmp_path / "out")
    table = rows(tmp_path / "out")
    assert len(table) == 14
    by_name = {row["item"]: row for row in table}
    assert by_name["A/2"]["label"] == "'=Tumor"
    assert by_name["A/2"]["patient"] == "'=one"
    assert by_name["A/2"]["rater P3"] == "Benign"
    assert by_name["A/4"]["rater P3"] == ""
    assert float(by_name["A/2"]["posterior =Tumor"]) == pytest.approx(2 / 3)
    decided = by_name["A/3.1"]
    assert (decided["state"], decided["decided_by"], decided["reason"]) == (
        "adjudicated", "L", "'+ clear",
    )  # fmt: skip
    area = sum(float(row["area_um2"]) for row in table)
    assert area == pytest.approx(2 * 900 * 800 * MPP**2)
    lines = (tmp_path / "out" / "items.csv").read_text(encoding="utf-8").splitlines()
    cells = [cell for line in csv.reader(lines) for cell in line]
    assert len(cells) == 15 * 16
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_exporting_again_gives_the_same_files(released: Pathquorum, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert export(released, tmp_path / folder).status == 0
    one, two = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_a_folder_that_holds_something_is_left_alone(released: Pathquorum, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    result = export(released, tmp_path / "out")
    assert (result.status, result.out) == (1, "")
    assert "is not empty" in result.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    result = export(released, tmp_path / "out" / "mine.txt")
    assert (result.status, result.out) == (1, "")
    assert "is a file" in result.err


def test_an_empty_folder_is_filled_and_parents_are_made(
    released: Pathquorum, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert export(released, folder).status == 0
        assert (folder / "manifest.json").is_file()


def test_a_fault_in_the_middle_leaves_no_folder(
    released: Pathquorum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import consensus.releases.export

    calls = []

    def fails(*arguments: object) -> list[Path]:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("no space left")
        return []

    monkeypatch.setattr(consensus.releases.export, "write_geojson", fails)
    before = sorted(tmp_path.iterdir())
    result = export(released, tmp_path / "out")
    assert (result.status, result.out) == (1, "")
    assert len(calls) == 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_release_that_no_longer_matches_the_store_is_not_exported(
    released: Pathquorum, store: Store, tmp_path: Path
) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE slides SET fingerprint = 'other' WHERE name = 'A'")
    result = export(released, tmp_path / "out")
    assert (result.status, result.out) == (1, "")
    assert "no longer matches the store: the fingerprint of slide 'A' changed" in result.err
    assert not (tmp_path / "out").exists()
    shown = released("release", "show", "v1", "--json").json
    assert shown["matches_store"] is False
    assert "no longer matches" in released("release", "show", "v1").out


def test_slides_that_are_labelled_as_a_whole_have_a_table_and_no_outlines(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    slides: dict[str, dict[str, Any]] = {"A": {}, "B": {}}
    items = [
        Item("A", None, ALL_BENIGN, "Benign"),
        Item("B", None, SPLIT, None, "disputed", places=[None]),
    ]
    run = build_run(store, items, slides=slides, task="slides")
    with store.writing() as session:
        decide(session, 1, by="L", reason="r", answer="class", path_class="=Tumor")
    assert pathquorum("release", "create", "v1", "--run", run).status == 0
    result = export(pathquorum, tmp_path / "out")
    assert result.status == 0, result.err
    assert result.json["files"] == ["head.json", "items.csv", "manifest.json", "split.json"]
    assert [(r["item"], r["label"]) for r in rows(tmp_path / "out")] == [
        ("A/1", "Benign"),
        ("B/1", "'=Tumor"),
    ]


def test_objects_are_exported_with_those_that_nobody_else_found(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    items = [
        Item("A", shapely.box(0, 0, 9, 9), MOST_TUMOR, "=Tumor"),
        Item(
            "A", shapely.Point(50, 50), {"P1": "Benign", "P2": "absent", "P3": "absent"}, "absent"
        ),
    ]
    run = build_run(store, items, slides={"A": {}, "B": {}}, task="objects")
    assert pathquorum("release", "create", "v1", "--run", run).status == 0
    assert export(pathquorum, tmp_path / "out").status == 0
    found = features(tmp_path / "out", "A")
    assert found["A/1"]["properties"]["classification"]["name"] == "=Tumor"
    assert found["A/2"]["properties"]["classification"]["name"] == "absent"
    assert found["A/2"]["geometry"] == {"type": "Point", "coordinates": [50.0, 50.0]}


def test_clean_regions_tile_what_was_rated_and_say_what_moved(
    released: Pathquorum, tmp_path: Path
) -> None:
    """One valid coverage of the domain; the speck of 1 um2 is background, and counted."""
    result = export(released, tmp_path / "out", form="regions")
    assert result.status == 0, result.err
    assert "regions/A.geojson" in result.json["files"]
    document = json.loads((tmp_path / "out" / "regions" / "A.geojson").read_bytes())
    shapes = [shapely.from_geojson(json.dumps(f["geometry"])) for f in document["features"]]
    assert shapely.coverage_is_valid(shapes)
    assert sum(shape.area for shape in shapes) == pytest.approx(900 * 800)
    assert min(shape.area for shape in shapes) * MPP**2 >= 100
    names = [f["properties"]["name"] for f in document["features"]]
    assert set(names) == {"Benign", "=Tumor", "background", "no class"}
    said = json.loads((tmp_path / "out" / "regions.json").read_bytes())
    assert said["min_area_um2"] == 100
    assert [(s["slivers"], s["slivers_um2"]) for s in said["slides"]] == [(1, 1), (1, 1)]
    exact = {row["item"]: row for row in rows(tmp_path / "out")}
    assert float(exact["A/3.rest"]["area_um2"]) == 1


def test_clean_regions_of_slides_are_refused(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """A slide's label has no outline; nothing is written."""
    run = build_run(store, [Item("A", None, ALL_BENIGN, "Benign")], slides={"A": {}}, task="slides")
    assert pathquorum("release", "create", "v1", "--run", run).status == 0
    result = export(pathquorum, tmp_path / "out", form="regions")
    assert (result.status, result.out) == (1, "")
    assert "clean regions are for regions" in result.err
    assert not (tmp_path / "out").exists()
