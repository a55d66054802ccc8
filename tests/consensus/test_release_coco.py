"""COCO exports, as pycocotools reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from pycocotools.coco import COCO

from annotation.store import Store
from consensus.adjudication import decide
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MOST_TUMOR, SPLIT, Item, build_run, region_items
from tests.gradient_slides import give_images, gradient

Pathquorum = Callable[..., CommandResult]

# pycocotools 2.0.11 hands its pixels to numpy 2 in numpy 1's way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def export(pathquorum: Pathquorum, folder: Path, *options: object) -> CommandResult:
    return pathquorum(
        "release", "export", "v1", "--format", "coco", "--to", folder, "--json", *options
    )


def part_of(folder: Path, part: str = "train") -> COCO:
    return COCO(folder / "coco" / f"instances_{part}.json")


@pytest.fixture
def released(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> Pathquorum:
    """Regions of slide A: one dispute decided, one open, and a speck that nobody was asked about."""
    run = build_run(store, region_items(), slides={"A": {}})
    give_images(store, tmp_path / "slides")
    with store.writing() as session:
        decide(session, 1, by="L", reason="r", answer="class", path_class="=Tumor")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=1")
    assert made.status == 0, made.err
    return pathquorum


def outline(annotation: dict[str, Any]) -> shapely.Geometry:
    return shapely.multipolygons(
        [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in annotation["segmentation"]]
    )


def test_what_has_a_class_is_an_annotation_and_what_is_open_a_crowd(
    released: Pathquorum, tmp_path: Path
) -> None:
    result = export(released, tmp_path / "out")
    assert result.status == 0, result.err
    coco = part_of(tmp_path / "out")
    assert {c["id"]: c["name"] for c in coco.loadCats([1, 2])} == {1: "Benign", 2: "=Tumor"}
    (image,) = coco.imgs.values()
    assert (image["width"], image["height"], image["mpp"], image["slide"]) == (1000, 800, 0.5, "A")
    by_item = {a["item"]: a for a in coco.anns.values() if not a["iscrowd"]}
    assert {name: a["category_id"] for name, a in by_item.items()} == {
        "A/1": 1, "A/2": 2, "A/3.1": 2,
    }  # fmt: skip
    tumor = by_item["A/2"]
    expected = region_items()[1].geometry
    assert outline(tumor).geoms[0].equals_exact(expected, 1e-3, normalize=True)
    assert tumor["area"] == pytest.approx(expected.area, abs=1e-3)
    assert tumor["bbox"] == [300, 0, 320.5, 400]
    assert tumor["posterior"]["=Tumor"] == pytest.approx(2 / 3)
    assert tumor["votes"] == MOST_TUMOR
    crowds = {(a["item"], a["category_id"]) for a in coco.anns.values() if a["iscrowd"]}
    assert crowds == {
        ("A/3.2", 1), ("A/3.2", 2), ("A/3.rest", 1), ("A/3.rest", 2), ("A/4", 1),
    }  # fmt: skip
    (crowd,) = (a for a in coco.anns.values() if (a["item"], a["category_id"]) == ("A/4", 1))
    mask = coco.annToMask(crowd)
    assert mask[600:800, 400:500].all()
    assert mask.sum() == 200 * 100


def test_what_only_one_rater_called_background_may_be_any_class(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    items = [
        Item("A", shapely.box(0, 0, 300, 400), ALL_BENIGN, "Benign"),
        Item("A", shapely.box(300, 0, 600, 400), {"P1": "background"}, None, "too few raters"),
    ]
    run = build_run(store, items, slides={"A": {}})
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    assert export(pathquorum, tmp_path / "out").status == 0
    crowds = [a for a in part_of(tmp_path / "out").anns.values() if a["iscrowd"]]
    assert [(a["item"], a["category_id"]) for a in crowds] == [("A/2", 1), ("A/2", 2)]


def test_all_that_was_rated_is_there_once_and_holes_stay_holes(
    released: Pathquorum, tmp_path: Path
) -> None:
    export(released, tmp_path / "out")
    coco = part_of(tmp_path / "out")
    (background,) = coco.dataset["negatives"]
    assert background["item"] == "A/5"
    mask = coco.annToMask({**background, "image_id": 1})
    assert mask.sum() == pytest.approx(background["area"], rel=1e-3)
    covered = mask.astype(int)
    for name in {a["item"] for a in coco.anns.values()}:
        one = next(a for a in coco.anns.values() if a["item"] == name)
        covered += coco.annToMask(one)
    assert (covered[:, 900:] == 0).all()
    # pycocotools rounds outlines of polygons to pixels; away from them each place is there once.
    edges = np.abs(np.diff(covered, axis=0)).sum() + np.abs(np.diff(covered, axis=1)).sum()
    assert edges < 4_000
    assert (covered[:, :900] == 1).mean() > 0.99


def test_images_of_another_resolution_scale_what_is_drawn_on_them(
    released: Pathquorum, tmp_path: Path
) -> None:
    assert export(released, tmp_path / "out", "--mpp", 2).status == 0
    coco = part_of(tmp_path / "out")
    (image,) = coco.imgs.values()
    assert (image["width"], image["height"], image["downsample"]) == (250, 200, 4)
    tumor = next(a for a in coco.anns.values() if a["item"] == "A/2")
    assert tumor["area"] == pytest.approx(region_items()[1].geometry.area / 16, abs=1e-3)
    assert coco.annToMask(tumor).shape == (200, 250)


def test_tiles_show_what_the_annotations_say(released: Pathquorum, tmp_path: Path) -> None:
    """Pixels are those of the place, and the parts of an item add up to the item."""
    result = export(released, tmp_path / "out", "--tile-px", 200, "--mpp", 1)
    assert result.status == 0, result.err
    coco = part_of(tmp_path / "out")
    assert len(coco.imgs) == 6  # 3 x 2 of 400 level-0 px each
    for image in coco.imgs.values():
        with Image.open(tmp_path / "out" / "coco" / image["file_name"]) as picture:
            pixels = np.asarray(picture, dtype=float)
        assert pixels.shape == (200, 200, 3)
        centre = (np.arange(200) + 0.5) * 2
        x, y = image["x_px"] + centre[None, :], image["y_px"] + centre[:, None]
        inside = (x < 1000) & (y < 800)
        assert np.abs(pixels - gradient(x, y))[inside].max() <= 1.01
        assert (pixels[~inside] == 255).all()
    area = sum(a["area"] for a in coco.anns.values() if a["item"] == "A/2")
    assert area == pytest.approx(region_items()[1].geometry.area / 4, abs=0.1)
    assert {a["cut"] for a in coco.anns.values() if a["item"] == "A/1"} == {False}
    assert {a["cut"] for a in coco.anns.values() if a["item"] == "A/2"} == {True}


def test_objects_without_area_get_the_box_in_which_another_would_match(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """The protocol's distance is 7.5 um: 15 px at 0.5 um."""
    items = [
        Item("A", shapely.Point(100, 200), MOST_TUMOR, "=Tumor"),
        Item("A", shapely.Point(5, 300), SPLIT, None, "disputed", places=[shapely.Point(5, 300)]),
        Item("A", shapely.box(40, 50, 60, 90), dict.fromkeys(ALL_BENIGN, "absent"), "absent"),
    ]
    run = build_run(store, items, slides={"A": {}}, task="objects")
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    result = export(pathquorum, tmp_path / "out")
    assert result.status == 0, result.err
    coco = part_of(tmp_path / "out")
    tumor = next(a for a in coco.anns.values() if a["item"] == "A/1")
    assert (tumor["bbox"], tumor["category_id"]) == ([85, 185, 30, 30], 2)
    crowds = [a for a in coco.anns.values() if a["iscrowd"]]
    assert [a["bbox"] for a in crowds] == [[0, 285, 20, 30]] * 2
    (nothing,) = coco.dataset["negatives"]
    assert nothing["bbox"] == [40, 50, 20, 40]


def test_what_coco_cannot_hold_is_refused(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    whole = shapely.box(0, 0, 100_000, 80_000)
    items = [Item("A", whole, ALL_BENIGN, "Benign")]
    run = build_run(store, items, slides={"A": {"width_px": 100_000, "height_px": 80_000}})
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    refused = export(pathquorum, tmp_path / "out")
    assert (refused.status, refused.out) == (1, "")
    assert "slide 'A' has 100000 x 80000 px" in refused.err
    assert "--mpp 0.69 or more" in refused.err
    assert export(pathquorum, tmp_path / "out", "--mpp", 0.69).status == 0
    written = json.loads((tmp_path / "out" / "coco" / "instances_train.json").read_bytes())
    assert len(written["annotations"]) == 1
    refused = export(pathquorum, tmp_path / "tiles", "--tile-px", 512)
    assert (refused.status, refused.out) == (1, "")
    assert "slide 'A' has no image here: it was added without one" in refused.err
    assert not (tmp_path / "tiles").exists()


def test_slides_labelled_as_a_whole_have_no_instances(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    run = build_run(store, [Item("A", None, ALL_BENIGN, "Benign")], slides={"A": {}}, task="slides")
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    refused = export(pathquorum, tmp_path / "out")
    assert (refused.status, refused.out) == (1, "")
    assert "labels slides as a whole" in refused.err
