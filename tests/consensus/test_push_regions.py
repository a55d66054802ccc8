"""A consensus in QuPath: one annotation a connected region, with its posterior, marked as ours."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely

from annotation.store import Store
from consensus.adjudication import decide
from consensus.object_outlines import medoid
from tests.conftest import CommandResult, feature, square
from tests.consensus.built_run import (
    ALL_BENIGN,
    MOST_TUMOR,
    MPP,
    NOTHING,
    Item,
    build_run,
    region_items,
)

Pathquorum = Callable[..., CommandResult]


def features(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_bytes())["features"]
    assert isinstance(found, list)
    return found


def measured(feature: dict[str, Any]) -> dict[str, float]:
    return {m["name"]: m["value"] for m in feature["properties"]["measurements"]}


def outline(feature: dict[str, Any]) -> shapely.Geometry:
    return shapely.from_geojson(json.dumps(feature["geometry"]))


def named(name: str) -> dict[str, Any]:
    return feature(square(0, 0), "Benign", properties={"name": name})


def push(pathquorum: Pathquorum, run: int, folder: Path, *options: object) -> CommandResult:
    return pathquorum("push", "--run", run, "--to", folder, "--json", *options)


def test_touching_regions_of_a_class_are_one_annotation_with_the_mean_posterior(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    run = build_run(store, region_items(), slides={"A": {}})
    with store.writing() as session:
        decide(session, 1, by="L", reason="r", answer="class", path_class="Benign")
        decide(session, 2, by="L", reason="r", answer="class", path_class="Benign")
    result = push(pathquorum, run, tmp_path / "out")
    assert result.status == 0, result.err
    assert result.json["pushed"] == 3
    assert result.json["targets"] == [str(tmp_path / "out" / "A.geojson")]
    drawn = features(tmp_path / "out" / "A.geojson")
    assert [f["properties"]["classification"] for f in drawn] == [
        {"name": "Benign", "color": [0, 160, 0]},
        {"name": "Benign", "color": [0, 160, 0]},
        {"name": "=Tumor", "color": [192, 0, 0]},
    ]
    large, small, tumor = drawn
    joined = shapely.union(shapely.box(0, 0, 300, 400), shapely.box(0, 400, 200, 800))
    assert outline(large).equals(joined)
    assert outline(small).equals(shapely.box(700, 500, 800, 600))
    assert measured(large) == {
        "pathquorum posterior Benign": 1,
        "pathquorum posterior =Tumor": 0,
        "pathquorum posterior background": 0,
        "pathquorum area um2": joined.area * MPP**2,
        "pathquorum adjudicated um2": 200 * 400 * MPP**2,
    }
    assert measured(tumor)["pathquorum posterior =Tumor"] == pytest.approx(2 / 3, abs=1e-6)
    properties = large["properties"]
    assert properties["isLocked"] is True
    assert properties["objectType"] == "annotation"
    assert properties["name"] == f"consensus {run}: Benign"
    assert properties["metadata"]["pathquorum"] == f"run {run}"
    assert len({uuid.UUID(f["id"]) for f in drawn}) == 3


def test_the_posterior_of_a_region_is_the_mean_of_its_items_by_area(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    certain = {"Benign": 1.0, "=Tumor": 0.0, "background": 0.0}
    doubtful = {"Benign": 0.6, "=Tumor": 0.4, "background": 0.0}
    island, bay = shapely.box(500, 0, 600, 100), shapely.box(100, 0, 400, 100)
    items = [
        Item("A", shapely.box(0, 0, 100, 100), ALL_BENIGN, "Benign", posterior=certain),
        Item("A", shapely.union(bay, island), ALL_BENIGN, "Benign", posterior=doubtful),
    ]
    run = build_run(store, items, slides={"A": {}})
    assert push(pathquorum, run, tmp_path).status == 0
    joined, alone = features(tmp_path / "A.geojson")
    assert measured(joined)["pathquorum posterior Benign"] == pytest.approx(0.25 + 0.75 * 0.6)
    assert measured(joined)["pathquorum area um2"] == 400 * 100 * MPP**2
    assert measured(alone)["pathquorum posterior =Tumor"] == pytest.approx(0.4)


def test_regions_cover_what_is_labelled_and_background_is_not_drawn(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    items = region_items()
    run = build_run(store, items, slides={"A": {}, "B": {}})
    assert push(pathquorum, run, tmp_path).status == 0
    whole = shapely.union_all([outline(f) for f in features(tmp_path / "A.geojson")])
    labelled = [i.geometry for i in items if i.label in ("Benign", "=Tumor")]
    assert whole.equals(shapely.union_all(labelled))
    assert not (tmp_path / "B.geojson").exists()


def test_uuids_are_the_same_for_the_same_run_and_differ_between_slides(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    slides: dict[str, dict[str, Any]] = {"A": {}, "B": {}}
    run = build_run(store, [i for s in slides for i in region_items(s)], slides=slides)
    for folder in ("one", "two"):
        assert push(pathquorum, run, tmp_path / folder).json["pushed"] == 4
    one, two = ((tmp_path / f / "A.geojson").read_bytes() for f in ("one", "two"))
    assert one == two
    ids = [f["id"] for s in slides for f in features(tmp_path / "one" / f"{s}.geojson")]
    assert len(set(ids)) == 4


def test_pushing_again_skips_and_revert_takes_back(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    run = build_run(store, region_items(), slides={"A": {}})
    assert push(pathquorum, run, tmp_path / "out").json["pushed"] == 2
    again = push(pathquorum, run, tmp_path / "out").json
    assert (again["pushed"], again["skipped"]) == (0, 2)
    told = pathquorum("push", "--run", run, "--to", tmp_path / "out")
    assert "2 were there already" in told.out
    gone = push(pathquorum, run, tmp_path / "out", "--revert").json
    assert (gone["reverted"], gone["pushed"], gone["skipped"]) == (2, 0, 0)
    assert list((tmp_path / "out").iterdir()) == []
    result = push(pathquorum, run, tmp_path / "out", "--revert")
    assert (result.status, result.out) == (1, "")
    assert f"nothing of run/{run} stands in" in result.err


def test_a_decision_after_the_push_asks_to_take_back_first(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    run = build_run(store, region_items(), slides={"A": {}})
    push(pathquorum, run, tmp_path / "out")
    with store.writing() as session:
        decide(session, 2, by="L", reason="r", answer="class", path_class="=Tumor")
    result = push(pathquorum, run, tmp_path / "out")
    assert (result.status, result.out) == (1, "")
    assert "before later decisions" in result.err
    assert push(pathquorum, run, tmp_path / "out", "--revert").status == 0
    assert push(pathquorum, run, tmp_path / "out").json["pushed"] == 3


@pytest.mark.parametrize(
    ("task", "target", "said"),
    [
        ("regions", "project.qpproj", "project.qpproj can't be read"),
        ("slides", "out", "labels whole slides, so there is nothing to draw"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(
    store: Store, pathquorum: Pathquorum, tmp_path: Path, task: str, target: str, said: str
) -> None:
    geometry = None if task == "slides" else shapely.box(0, 0, 9, 9)
    run = build_run(store, [Item("A", geometry, ALL_BENIGN, "Benign")], slides={"A": {}}, task=task)
    result = push(pathquorum, run, tmp_path / target)
    assert (result.status, result.out) == (1, "")
    assert said in result.err
    assert result.err.count("\n") == 1
    assert push(pathquorum, 9, tmp_path / "out").err.startswith("Error: no consensus run 9")


def test_a_consensus_of_background_alone_draws_nothing(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    items = [Item("A", shapely.box(0, 0, 9, 9), NOTHING, "background")]
    run = build_run(store, items, slides={"A": {}})
    result = pathquorum("push", "--run", run, "--to", tmp_path / "out")
    assert result.status == 0
    assert "nothing to draw" in result.out
    assert list((tmp_path / "out").iterdir()) == []


def test_the_medoid_is_the_outline_that_is_most_like_the_others() -> None:
    boxes = [shapely.box(x, 0, x + 10, 10) for x in (0, 1, 4)]
    assert medoid(boxes).equals(boxes[1])
    assert medoid(boxes[::-1]).equals(boxes[1])
    points = [shapely.Point(0, 0), shapely.Point(5, 0), shapely.Point(6, 0)]
    assert medoid(points).equals(points[1])
    pair = [shapely.box(0, 0, 10, 10), shapely.box(0, 0, 10, 11)]
    assert medoid(pair).equals(pair[1])
    assert medoid(pair[::-1]).equals(pair[1])


def test_an_object_is_drawn_as_one_of_its_raters_did(
    study: Pathquorum, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    protocol = tmp_path / "cells.toml"
    protocol.write_text(
        'name = "cells"\nversion = "1"\ntask = "objects"\n[[classes]]\nname = "Mitosis"\n'
        '[[classes]]\nname = "Other"\n',
        encoding="utf-8",
    )
    assert study("protocol", "add", protocol).status == 0
    drawn = {"P1": 100, "P2": 102, "P3": 107}
    for rater, x in drawn.items():
        objects = [feature(square(x, 100, 40), "Mitosis"), feature(square(600, 600, 20), "Other")]
        if rater != "P1":
            objects = objects[:1]
        pulled = study(
            "pull", write_export(objects, rater), "--annotator", rater, "--protocol", "cells"
        )
        assert pulled.status == 0, pulled.err
    made = study("consensus", "run", "--protocol", "cells", "--json")
    assert made.status == 0, made.err
    result = push(study, made.json["run"], tmp_path / "out")
    assert result.status == 0, result.err
    (found,) = features(tmp_path / "out" / "S1.geojson")
    assert outline(found).equals(shapely.box(102, 100, 142, 140))
    assert measured(found)["pathquorum posterior Mitosis"] == 1
    assert found["properties"]["classification"]["name"] == "Mitosis"
    # What was drawn later does not change what the run saw.
    later = write_export([feature(square(110, 100, 40), "Mitosis")], "P2")
    assert (
        study("pull", later, "--annotator", "P2", "--protocol", "cells", "--accept-removals").status
        == 0
    )
    assert push(study, made.json["run"], tmp_path / "out").json["skipped"] == 1


def test_the_consensus_counts_as_ours_in_the_next_pull(
    study: Pathquorum, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    for rater in ("P1", "P2", "P3"):
        export = write_export([named(rater)], rater)
        assert study("pull", export, "--annotator", rater, "--protocol", "prostate").status == 0
    run = study("consensus", "run", "--protocol", "prostate", "--json").json["run"]
    assert push(study, run, tmp_path / "out").json["pushed"] == 1
    mixed = [named("P1"), *features(tmp_path / "out" / "S1.geojson")]
    export = write_export(mixed, "P1")
    pulled = study("pull", export, "--annotator", "P1", "--protocol", "prostate", "--json")
    assert pulled.status == 0, pulled.err
    (read,) = pulled.json["reads"]
    assert (read["ours"], read["unchanged"], read["added"]) == (1, 1, 0)


def test_most_say_tumor_and_the_posterior_tells_how_many(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    items = [Item("A", shapely.box(0, 0, 9, 9), MOST_TUMOR, "=Tumor")]
    run = build_run(store, items, slides={"A": {}}, task="objects")
    assert push(pathquorum, run, tmp_path).status == 0
    (found,) = features(tmp_path / "A.geojson")
    assert measured(found)["pathquorum posterior =Tumor"] == pytest.approx(2 / 3, abs=1e-6)


def test_slivers_go_to_their_neighbours_and_it_is_said(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """A strip of 40 um2 between two classes joins the longer border; borders are shared exactly."""
    benign, strip = shapely.box(0, 0, 300, 400), shapely.box(300, 0, 304, 40)
    tumor = shapely.Polygon([(300, 40), (304, 40), (304, 0), (620, 0), (620, 400), (300, 400)])
    items = [
        Item("A", benign, ALL_BENIGN, "Benign"),
        Item("A", tumor, MOST_TUMOR, "=Tumor"),
        Item("A", strip, NOTHING, "background"),
    ]
    run = build_run(store, items, slides={"A": {}})
    result = push(pathquorum, run, tmp_path / "out")
    assert (result.json["slivers"], result.json["slivers_um2"]) == (1, 40)
    left, right = features(tmp_path / "out" / "A.geojson")
    assert outline(right).equals(shapely.box(300, 0, 620, 400))
    assert measured(right)["pathquorum slivers um2"] == 40
    assert measured(right)["pathquorum area um2"] == 320 * 400 * MPP**2
    assert "pathquorum slivers um2" not in measured(left)
    assert shapely.coverage_is_valid([outline(left), outline(right)])
    told = pathquorum("push", "--run", run, "--to", tmp_path / "again").out
    assert "1 sliver, 40 um2 in all" in told
