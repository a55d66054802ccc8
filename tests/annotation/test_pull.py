"""Pulling: every object is counted once, only changes are written, and faults change nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from annotation.source_files import source_bytes
from annotation.store import Store
from annotation.tables import Revision
from tests.annotation.pulling import PULL, Study, WriteExport, only_read, rows, three
from tests.conftest import feature, square

pytestmark = pytest.mark.both_databases


def test_the_first_pull_adds_everything(study: Study, write_export: WriteExport) -> None:
    read = only_read(study("pull", write_export(three()), *PULL, "--json"))
    assert (read["objects"], read["added"], read["removed"]) == (3, 3, 0)
    assert (read["read_date"], read["read_date_source"]) == ("2026-03-02", "given")
    assert (read["slide"], read["annotator"], read["rejections"]) == ("S1", "P1", [])


def test_pulling_the_same_again_writes_nothing_but_the_pull(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    study("pull", write_export(three()), *PULL)
    before = rows(store)
    read = only_read(study("pull", write_export(three()), *PULL, "--json"))
    assert read["unchanged"] == 3
    after = rows(store)
    assert after["pulls"] == before["pulls"] + 1
    assert after["revisions"] == before["revisions"]
    assert after["source_files"] == before["source_files"]


def test_order_whitespace_and_ring_direction_are_no_change(
    study: Study, write_export: WriteExport
) -> None:
    study("pull", write_export(three()), *PULL)
    turned = three()[::-1]
    for entry in turned:
        ring = entry["geometry"]["coordinates"][0]
        entry["geometry"]["coordinates"][0] = [*ring[2:-1], *ring[:3]][::-1]
    path = write_export(turned)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3))
    assert only_read(study("pull", path, *PULL, "--json"))["unchanged"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"properties": {"name": "another name"}},
        {"properties": {"classification": {"name": "Benign"}}},
        {"properties": {"isLocked": True}},
        {"properties": {"measurements": {"Area": 5.0}}},
        {"geometry": square(601, 10)},
    ],
    ids=["name", "class", "lock", "measurement", "geometry"],
)
def test_a_changed_object_is_one_revision_and_one_change(
    study: Study, store: Store, write_export: WriteExport, change: dict[str, Any]
) -> None:
    objects = three()
    study("pull", write_export(objects), *PULL)
    objects[2] = {**objects[2], **change}
    if "properties" in change:
        objects[2]["properties"] = {**three()[2]["properties"], **change["properties"]}
    before = rows(store)
    read = only_read(study("pull", write_export(objects), *PULL, "--json"))
    assert (read["changed"], read["unchanged"]) == (1, 2)
    assert rows(store)["revisions"] == before["revisions"] + 1


def test_what_is_gone_is_removed_and_what_comes_back_is_added(
    study: Study, write_export: WriteExport
) -> None:
    study("pull", write_export(three()), *PULL)
    read = only_read(study("pull", write_export(three()[:2]), *PULL, "--json"))
    assert (read["removed"], read["unchanged"]) == (1, 2)
    read = only_read(study("pull", write_export(three()), *PULL, "--json"))
    assert (read["added"], read["removed"]) == (1, 0)
    states = study("history", "--slide", "S1", "--annotator", "P1", "--json").json["revisions"]
    assert [row["state"] for row in states] == ["added", "added", "added", "removed", "added"]


def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    before = rows(store)
    result = study("pull", write_export(three()), *PULL, "--dry-run", "--json")
    assert only_read(result)["added"] == 3
    assert result.json["pull"] is None
    assert rows(store) == before


def test_object_faults_reject_the_object_alone(study: Study, write_export: WriteExport) -> None:
    objects = [
        *three(),
        feature({"type": "Polygon", "coordinates": [[[0, 0], [float("nan"), 5], [5, 5], [0, 0]]]}),
        feature({"type": "Polygon", "coordinates": [[[0, 0], [float("inf"), 5], [5, 5], [0, 0]]]}),
        feature({"type": "Polygon", "coordinates": []}),
        feature(square(5000, 5000), "Benign"),
        three()[0],
        {**three()[1], "geometry": square(1, 1)},
    ]
    read = only_read(study("pull", write_export(objects), *PULL, "--json"))
    assert (read["added"], read["rejected"]) == (3, 6)
    reasons = [entry["reason"] for entry in read["rejections"]]
    assert sum("duplicate" in reason for reason in reasons) == 2
    assert sum("outside the slide" in reason for reason in reasons) == 1
    ids = {entry["id"] for entry in read["rejections"]}
    assert objects[6]["id"] in ids


def test_an_object_that_cannot_be_read_any_more_is_not_removed(
    study: Study, write_export: WriteExport
) -> None:
    study("pull", write_export(three()), *PULL)
    broken = {**three()[2], "geometry": None}
    read = only_read(study("pull", write_export([*three()[:2], broken]), *PULL, "--json"))
    assert (read["rejected"], read["removed"], read["unchanged"]) == (1, 0, 2)


def test_an_empty_export_is_a_read_and_no_copy_of_another(
    study: Study, write_export: WriteExport
) -> None:
    for handle in ("P1", "P2"):
        arguments = ("--annotator", handle, "--protocol", "prostate", "--json")
        read = only_read(study("pull", write_export([], handle), *arguments))
        assert read["objects"] == 0


def test_outlines_copied_vertex_by_vertex_are_flagged(
    study: Study, write_export: WriteExport
) -> None:
    study("pull", write_export(three()), *PULL)
    copies = [
        {**entry, "id": f"00000000-0000-4000-8000-00000000000{i}"}
        for i, entry in enumerate(three())
    ]
    arguments = ("--annotator", "P2", "--protocol", "prostate", "--json")
    read = only_read(study("pull", write_export(copies, "P2"), *arguments))
    assert read["copied"] == [{"annotator": "P1", "objects": 3, "flag": "copied, not independent"}]
    assert read["excluded"] is None


def test_classes_are_mapped_and_strangers_are_listed(
    study: Study, write_export: WriteExport
) -> None:
    objects = [
        feature(square(0, 0), "Normal"),
        feature(square(0, 200), "High grade: Positive"),
        feature(square(0, 400), "Hihg grade"),
        feature(square(0, 600)),
        feature(square(200, 600), "Ignore*"),
    ]
    read = only_read(study("pull", write_export(objects), *PULL, "--json"))
    assert (read["added"], read["unmapped"], read["unclassified"], read["ignored"]) == (5, 1, 1, 1)
    assert read["unmapped_classes"] == {"Hihg grade": {"objects": 1, "nearest": "High grade"}}
    mapped = study("history", "--slide", "S1", "--annotator", "P1", "--json").json["revisions"]
    assert [(row["class"], row["mapped_class"]) for row in mapped] == [
        ("Normal", "Benign"),
        ("High grade: Positive", "High grade"),
        ("Hihg grade", None),
        (None, None),
        ("Ignore*", None),
    ]


def test_objects_without_a_uuid_are_the_same_ones_next_time(
    study: Study, write_export: WriteExport
) -> None:
    objects = [{**entry, "id": "PathAnnotationObject"} for entry in [*three(), three()[0]]]
    assert only_read(study("pull", write_export(objects), *PULL, "--json"))["added"] == 4
    shuffled = write_export([objects[i] for i in (2, 0, 3, 1)])
    assert only_read(study("pull", shuffled, *PULL, "--json"))["unchanged"] == 4


def test_overhang_and_repairs_are_counted_and_the_pulled_geometry_stays(
    study: Study, store: Store, write_export: WriteExport
) -> None:
    bow_tie = {
        "type": "Polygon",
        "coordinates": [[[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]],
    }
    objects = [feature(bow_tie, "Benign"), feature(square(950, 10), "Benign")]
    read = only_read(study("pull", write_export(objects), *PULL, "--json"))
    assert (read["repaired"], read["overhanging"]) == (1, 1)
    with store.reading() as session:
        bow, over = session.scalars(select(Revision).order_by(Revision.id)).all()
    assert bow.repair_px2 == pytest.approx(5000)
    assert over.overhang_px2 == pytest.approx(5000)
    assert bow.geometry != bow.rated_geometry
    state = study("history", "--slide", "S1", "--annotator", "P1", "--json").json["revisions"]
    assert state[0]["geometry"] == bow_tie


def test_the_raw_bytes_are_kept(study: Study, store: Store, write_export: WriteExport) -> None:
    path = write_export(three())
    study("pull", path, *PULL)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with store.reading() as session:
        assert b"".join(source_bytes(session, digest)) == path.read_bytes()


def test_a_gz_is_pulled_under_its_slides_name(study: Study, write_export: WriteExport) -> None:
    path = write_export(three())
    packed = path.with_name("S1.geojson.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert only_read(study("pull", packed, *PULL, "--json"))["added"] == 3


def test_a_folder_of_exports_is_one_pull(study: Study, write_export: WriteExport) -> None:
    study("slide", "add", "S2", "--width", 1000, "--height", 800, "--mpp", 0.5)
    write_export(three(), slide="S1")
    folder = write_export(three()[:1], slide="S2").parent
    result = study("pull", folder, *PULL, "--json")
    assert [(r["slide"], r["added"]) for r in result.json["reads"]] == [("S1", 3), ("S2", 1)]


def test_names_may_hold_any_character(
    study: Study, write_export: WriteExport, tmp_path: Path
) -> None:
    name = "<b>'; DROP TABLE slides; --"
    handle = "../P\u202e1"
    study("slide", "add", name, "--width", 1000, "--height", 800, "--mpp", 0.5)
    study("annotator", "add", handle, "--role", "pathologist")
    path = write_export([feature(square(1, 1), '"; \x1b[31m')])
    arguments = ("--annotator", handle, "--protocol", "prostate", "--slide", name)
    read = only_read(study("pull", path, *arguments, "--json"))
    assert (read["slide"], read["annotator"]) == (name, handle)
    assert "\x1b" not in study("pull", path, *arguments).out
    written = study("restore", 1, "--to", tmp_path / "back", "--json").json["files"]
    assert all(Path(file).resolve().parent == tmp_path / "back" for file in written)


@pytest.mark.sqlite
@pytest.mark.parametrize("n", [200_000, pytest.param(2_000_000, marks=pytest.mark.soak)])
def test_a_polygon_of_many_vertices_is_pulled(study: Study, tmp_path: Path, n: int) -> None:
    rng = random.Random(1)
    ring = [f"[{10 + 980 * i / n:.4f},{10 + rng.random():.4f}]" for i in range(n)]
    path = tmp_path / "S1.geojson"
    path.write_text(
        '{"type":"Feature","geometry":{"type":"Polygon","coordinates":[['
        + ",".join([*ring, "[990,700]", "[10,700]", ring[0]])
        + ']]},"properties":{"classification":{"name":"Benign"}}}'
    )
    assert only_read(study("pull", path, *PULL, "--json"))["added"] == 1
