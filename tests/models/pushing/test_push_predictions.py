"""Predictions as GeoJSON: what QuPath is told of them, and that they are never somebody's answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from sqlalchemy import func, select

from annotation.pushed import REFERENCE_ONLY
from annotation.store import Store
from annotation.tables import Event, ProtocolVersion, PullRead, PushedObject, Revision
from tests.conftest import CommandResult
from tests.models.prediction.written_run import (
    CLASSES,
    REGIONS,
    make_study,
    tile_grid,
    write_run,
)

Pathquorum = Callable[..., CommandResult]

TILES = len(tile_grid("A").coordinates)


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Path:
    """The folder of a run of the slides A and B."""
    make_study(store, ("A", "B", "C"))
    return write_run(store, tmp_path / "p1")


def push(pathquorum: Pathquorum, target: Path, *options: object) -> CommandResult:
    return pathquorum("push", "--predictions", "p1", "--to", target, "--json", *options)


def features(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = json.loads(text)["features"]
    assert isinstance(found, list)
    return found


def measured(feature: dict[str, Any]) -> dict[str, float]:
    return {m["name"]: m["value"] for m in feature["properties"]["measurements"]}


def outline(feature: dict[str, Any]) -> shapely.Geometry:
    return shapely.from_geojson(json.dumps(feature["geometry"]))


def in_force(store: Store) -> int:
    with store.reading() as session:
        ours = select(func.count()).where(PushedObject.reverted_at.is_(None))
        return session.scalar(ours) or 0


def test_regions_are_locked_annotations_that_say_what_they_are(
    pathquorum: Pathquorum, store: Store, run: Path, tmp_path: Path
) -> None:
    result = push(pathquorum, tmp_path / "out")
    assert result.status == 0, result.err
    assert (result.json["pushed"], result.json["skipped"], result.json["failed"]) == (4, 0, [])
    assert result.json["targets"] == [str(tmp_path / f"out/{name}.geojson") for name in "AB"]
    drawn = features(tmp_path / "out" / "A.geojson")
    for feature, region in zip(drawn, REGIONS, strict=True):
        properties = feature["properties"]
        assert outline(feature).equals(region.polygon)
        assert properties["objectType"] == "annotation"
        assert properties["isLocked"] is True
        assert properties["classification"]["name"] == f"Predicted: {region.class_name}"
        assert properties["metadata"]["ANNOTATION_DESCRIPTION"] == f"{REFERENCE_ONLY}; model m"
        assert measured(feature) == {
            "pathquorum probability": region.probability,
            "pathquorum entropy nats": region.entropy,
            "pathquorum mutual information nats": region.mutual_information,
            "pathquorum area um2": region.area_um2,
        }
    assert drawn[1]["properties"]["classification"]["color"] == [192, 0, 0]
    with store.reading() as session:
        rows = session.scalars(select(PushedObject)).all()
    assert {row.origin for row in rows} == {"predictions/p1"}
    written = {f["id"] for name in "AB" for f in features(tmp_path / "out" / f"{name}.geojson")}
    assert {row.uuid for row in rows} == written
    assert len(written) == 4


def test_tiles_are_detections_with_measurements_that_end_at_the_slides_edge(
    pathquorum: Pathquorum, run: Path, tmp_path: Path
) -> None:
    result = push(pathquorum, tmp_path, "--as", "detections", "--tiles", "--gzip")
    assert result.status == 0, result.err
    assert result.json["pushed"] == 2 * (TILES + len(REGIONS))
    drawn = features(tmp_path / "A.geojson.gz")
    assert {f["properties"]["objectType"] for f in drawn} == {"detection"}
    assert not any("metadata" in f["properties"] for f in drawn)  # QuPath keeps none of detections
    assert all("for reference only" in f["properties"]["name"] for f in drawn)
    tiles, of = drawn[len(REGIONS) :], tile_grid("A")
    whole = shapely.union_all([outline(feature) for feature in tiles])
    assert whole.equals(shapely.box(0, 0, of.width_px, of.height_px))
    assert of.attention is not None
    for i, feature in enumerate(tiles):
        values = measured(feature)
        shown = [values[f"pathquorum probability {name}"] for name in CLASSES]
        assert shown == pytest.approx(of.probability[i].tolist(), abs=1e-6)
        label = CLASSES[int(np.argmax(of.probability[i]))]
        assert feature["properties"]["classification"]["name"] == f"Predicted: {label}"
        assert values["pathquorum entropy nats"] == pytest.approx(float(of.entropy[i]), abs=1e-6)
        told = values["pathquorum attention"]
        assert told == pytest.approx(float(of.attention[i]), rel=1e-6)
    document = json.loads(gzip.decompress((tmp_path / "A.geojson.gz").read_bytes()))
    assert document["metadata"]["pathquorum p1: =Tumor"] == "0.7000 (0.6000 to 0.8000)"


def test_pushing_again_adds_nothing_and_revert_takes_back(
    pathquorum: Pathquorum, store: Store, run: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    assert push(pathquorum, target, "--tiles").status == 0
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    again = push(pathquorum, target, "--tiles").json
    assert (again["pushed"], again["skipped"]) == (0, 2 * (TILES + len(REGIONS)))
    assert in_force(store) == again["skipped"]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    by_number = pathquorum("push", "--predictions", 1, "--to", target, "--tiles")
    assert "were there already" in by_number.out
    gone = push(pathquorum, target, "--revert")
    assert gone.json["reverted"] == 2 * (TILES + len(REGIONS))
    assert list(target.iterdir()) == []
    assert in_force(store) == 0
    nothing = push(pathquorum, target, "--revert")
    assert (nothing.status, nothing.out) == (1, "")
    assert "nothing of predictions/p1 stands in" in nothing.err


def test_a_file_that_is_not_what_was_predicted_refuses_all_before_anything_is_written(
    pathquorum: Pathquorum, store: Store, run: Path, tmp_path: Path
) -> None:
    path = run / "slides" / "B.h5"
    whole = path.read_bytes()
    for spoil in (lambda: path.write_bytes(whole + b"x"), path.unlink):
        spoil()
        refused = push(pathquorum, tmp_path / "out")
        assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
        assert "B.h5, of slide 'B'" in refused.err
    assert not (tmp_path / "out").exists()
    assert in_force(store) == 0


def test_a_slide_that_fails_is_named_and_pushed_once_it_is_mended(
    pathquorum: Pathquorum, store: Store, run: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "A.geojson"
    theirs.write_text("[]", encoding="utf-8")
    failed = push(pathquorum, tmp_path)
    assert (failed.status, failed.out) == (1, "")
    told, summary = failed.err.splitlines()
    assert "Slide 'A' failed" in told
    assert "was not pushed by this study" in told
    assert "1 slide of prediction run 'p1' failed (A)" in summary
    assert theirs.read_text(encoding="utf-8") == "[]"
    assert in_force(store) == len(features(tmp_path / "B.geojson")) == len(REGIONS)
    theirs.unlink()
    mended = push(pathquorum, tmp_path)
    assert (mended.json["pushed"], mended.json["skipped"]) == (2, 2)


def test_slides_that_are_not_done_refuse_the_push_unless_they_may_be_missing(
    pathquorum: Pathquorum, store: Store, tmp_path: Path
) -> None:
    make_study(store, ("A", "B", "C"))
    write_run(store, tmp_path / "p1", ("A",), failed=("B", "C"))
    refused = push(pathquorum, tmp_path / "out")
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "2 slides of prediction run 'p1' not done (B, C)" in refused.err
    assert not (tmp_path / "out").exists()
    result = push(pathquorum, tmp_path / "out", "--allow-missing")
    assert (result.status, result.json["pushed"]) == (0, 2)
    assert result.json["not_done"] == ["B", "C"]
    assert "2 slides not predicted yet, left out: B, C." in result.err


def test_what_comes_back_is_ours_and_the_read_ai_assisted(
    pathquorum: Pathquorum, store: Store, run: Path, tmp_path: Path
) -> None:
    """One stands as it was, one was moved, and one was copied: only a person's own is rated."""
    assert push(pathquorum, tmp_path / "out").status == 0
    document = json.loads((tmp_path / "out" / "A.geojson").read_bytes())
    kept, moved = document["features"]
    moved["geometry"] = shapely.geometry.mapping(shapely.box(420, 0, 600, 90))
    copied = {**kept, "id": "00000000-0000-4000-8000-000000000001"}
    own = {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(shapely.box(0, 500, 90, 590)),
        "properties": {"objectType": "annotation", "classification": {"name": "=Tumor"}},
    }
    document["features"] += [copied, own]
    export = tmp_path / "A.geojson"
    export.write_text(json.dumps(document), encoding="utf-8")
    pulled = pathquorum("pull", export, "--annotator", "P1", "--protocol", "prostate", "--json")
    assert pulled.status == 0, pulled.err
    (read,) = pulled.json["reads"]
    counts = [read[name] for name in ("objects", "ours", "added", "derived", "unmapped")]
    assert counts == [4, 1, 3, 1, 2]
    assert set(read["unmapped_classes"]) == {"Predicted: Benign", "Predicted: =Tumor"}
    with store.reading() as session:
        row = session.scalars(select(PullRead)).one()
        assert row.circumstances is not None
        assert row.circumstances["ai_assisted"] is True
        assert row.circumstances["saw"] == ["predictions/p1"]
        mapped = dict(session.execute(select(Revision.path_class, Revision.mapped_class)).all())
        derived = session.scalars(select(Revision.derived_from)).all()
    assert mapped == {"Predicted: Benign": None, "Predicted: =Tumor": None, "=Tumor": "=Tumor"}
    assert [one for one in derived if one] == [f"predictions/p1/{moved['id']}"]


def test_scores_in_sight_make_a_read_ai_assisted(
    pathquorum: Pathquorum, store: Store, run: Path, tmp_path: Path
) -> None:
    """No object of ours is there, but the image's metadata tells what the model thinks."""
    assert push(pathquorum, tmp_path / "out").status == 0
    document = json.loads((tmp_path / "out" / "A.geojson").read_bytes())
    document["features"] = []
    export = tmp_path / "A.geojson"
    export.write_text(json.dumps(document), encoding="utf-8")
    pulled = pathquorum("pull", export, "--annotator", "P1", "--protocol", "prostate")
    assert pulled.status == 0, pulled.err
    with store.reading() as session:
        circumstances = session.scalars(select(PullRead)).one().circumstances
    assert circumstances is not None
    assert (circumstances["ai_assisted"], circumstances["saw"]) == (True, ["predictions/p1"])


def test_a_protocol_that_would_take_predictions_for_answers_refuses_them(
    pathquorum: Pathquorum, store: Store, tmp_path: Path
) -> None:
    make_study(store)
    write_run(store, tmp_path / "p1")
    with store.writing() as session:
        row = session.scalars(select(ProtocolVersion)).one()
        row.text = row.text.replace('name = "Benign"', 'name = "Benign"\naliases = ["Predicted"]')
    refused = push(pathquorum, tmp_path / "out")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "would take 'Predicted: =Tumor' for a person's 'Benign'" in refused.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Name one of --run and --predictions"),
        (("--run", 1, "--predictions", "p1"), "Name one of --run and --predictions"),
        (("--run", 1, "--tiles"), "are of --predictions"),
        (("--predictions", "p1", "--gzip", "--to", "x.qpproj"), "--gzip is of a folder"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_usage(
    pathquorum: Pathquorum, tmp_path: Path, arguments: tuple[object, ...], said: str
) -> None:
    to = () if "--to" in arguments else ("--to", tmp_path)
    result = pathquorum("push", *arguments, *to)
    assert (result.status, said in result.err) == (2, True)


def test_a_run_that_is_not_there_is_named_with_the_nearest(
    pathquorum: Pathquorum, run: Path, tmp_path: Path
) -> None:
    result = pathquorum("push", "--predictions", "p11", "--to", tmp_path)
    assert (result.status, result.out) == (1, "")
    assert "no prediction run 'p11' (near: p1); make one with" in result.err


def test_the_trail_tells_each_slide(
    pathquorum: Pathquorum, store: Store, run: Path, tmp_path: Path
) -> None:
    assert push(pathquorum, tmp_path / "out").status == 0
    with store.reading() as session:
        told = session.scalars(select(Event).where(Event.subject == "push:predictions/p1")).all()
    assert [list(event.new["files"]) for event in told if event.new] == [
        ["A.geojson"],
        ["B.geojson"],
    ]
