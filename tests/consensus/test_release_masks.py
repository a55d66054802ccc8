"""Masks of a release: each pixel bears its class, and open, outside and excluded are told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image

from annotation.store import Store
from consensus.adjudication import decide
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MPP, Item, build_run, region_items
from tests.tampering import tamper

Pathquorum = Callable[..., CommandResult]

OUTSIDE, UNLABELLED = 255, 254


def export(
    pathquorum: Pathquorum, folder: Path, *options: object, name: str = "v1"
) -> CommandResult:
    return pathquorum(
        "release", "export", name, "--format", "masks", "--to", folder, "--json", *options
    )


def mosaic(folder: Path) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The whole mask of a slide put together from its tiles, as the sidecar places them."""
    sidecar = json.loads((folder / "mask.json").read_text(encoding="utf-8"))
    side = sidecar["tile_px"]
    image = np.full((sidecar["rows"] * side, sidecar["columns"] * side), OUTSIDE, dtype=np.uint8)
    for tile in sidecar["tiles"]:
        with Image.open(folder / tile["file"]) as picture:
            assert (picture.mode, picture.size) == ("L", (side, side))
            column = round(tile["x_px"] / sidecar["downsample"])
            row = round(tile["y_px"] / sidecar["downsample"])
            assert (column, row) == (tile["column"] * side, tile["row"] * side)
            image[row : row + side, column : column + side] = np.asarray(picture)
    assert len(list(folder.glob("*.png"))) == len(sidecar["tiles"])
    return image[: sidecar["height_px"], : sidecar["width_px"]], sidecar


@pytest.fixture
def released(store: Store, pathquorum: Pathquorum) -> Pathquorum:
    """A release of the regions of slide A: one dispute decided, one excluded."""
    run = build_run(store, region_items(), slides={"A": {}})
    with store.writing() as session:
        decide(session, 1, by="L", reason="r", answer="class", path_class="=Tumor")
        decide(session, 2, by="L", reason="r", answer="exclude")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=1")
    assert made.status == 0, made.err
    return pathquorum


@pytest.mark.parametrize(("mpp", "tile_px"), [(MPP, 512), (1.0, 64), (1.3, 100), (0.25, 512)])
def test_pixels_add_up_to_the_areas_and_lie_in_their_regions(
    released: Pathquorum, tmp_path: Path, mpp: float, tile_px: int
) -> None:
    result = export(released, tmp_path / "out", "--mpp", mpp, "--tile-px", tile_px)
    assert result.status == 0, result.err
    image, sidecar = mosaic(tmp_path / "out" / "masks" / "A")
    assert sidecar["classes"] == ["Benign", "=Tumor", "background"]
    assert sidecar["values"] == {"Benign": 0, "=Tumor": 1, "background": 2}
    benign, tumor, disputed, few, background = (i.geometry for i in region_items())
    assert disputed is not None
    decided, excluded, speck = shapely.get_parts(disputed)
    wanted = {
        0: [benign],
        1: [tumor, decided],
        2: [background],
        UNLABELLED: [few, speck],
        OUTSIDE: [excluded, shapely.box(900, 0, 1000, 800)],
    }
    downsample = mpp / MPP
    random = np.random.default_rng(0)
    column = random.integers(0, image.shape[1], 4000)
    row = random.integers(0, image.shape[0], 4000)
    x, y = (column + 0.5) * downsample, (row + 0.5) * downsample
    checked = 0
    for value, geometries in wanted.items():
        region = shapely.union_all(geometries)
        inside = shapely.contains_xy(region, x, y)
        assert (image[row, column][inside] == value).all()
        checked += inside.sum()
        perimeter_px = region.length / downsample
        error_um2 = abs((image == value).sum() * mpp**2 - region.area * MPP**2)
        assert error_um2 <= perimeter_px * mpp**2
    assert checked > 3900
    assert image.shape == (np.ceil(800 / downsample), np.ceil(1000 / downsample))


def test_the_sidecar_places_the_mask_on_the_slide(released: Pathquorum, tmp_path: Path) -> None:
    export(released, tmp_path / "out", "--mpp", 2.0, "--tile-px", 100)
    _, sidecar = mosaic(tmp_path / "out" / "masks" / "A")
    assert sidecar["slide"] == "A"
    assert (sidecar["mpp"], sidecar["downsample"], sidecar["slide_mpp"]) == (2.0, 4.0, MPP)
    assert (sidecar["level"], sidecar["level_downsample"]) == (2, 4.0)
    assert sidecar["level_source"].startswith("computed")
    assert (sidecar["width_px"], sidecar["height_px"]) == (250, 200)
    assert (sidecar["columns"], sidecar["rows"]) == (3, 2)
    assert sidecar["tile_side_level0_px"] == 400
    assert (sidecar["unlabelled"], sidecar["outside_domain"]) == (UNLABELLED, OUTSIDE)


def test_the_level_is_the_nearest_of_the_slides_own_where_it_can_be_read(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    import tifffile

    path = tmp_path / "pyramid.tif"
    pixels = np.zeros((512, 1024, 3), dtype=np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        for factor in (1, 4):
            tiff.write(
                pixels[::factor, ::factor],
                tile=(256, 256),
                photometric="rgb",
                subfiletype=0 if factor == 1 else 1,
                resolution=(20000 / factor, 20000 / factor),
                resolutionunit="CENTIMETER",
            )
    assert pathquorum("slide", "add", path).status == 0
    run = build_run(
        store, [Item("A", shapely.box(0, 0, 9, 9), ALL_BENIGN, "Benign")], slides={"A": {}}
    )
    tamper(store, "UPDATE consensus_items SET slide_id = 1")
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    result = export(pathquorum, tmp_path / "out", "--mpp", 1.6)
    assert result.status == 0, result.err
    _, sidecar = mosaic(tmp_path / "out" / "masks" / "pyramid")
    assert sidecar["level_source"] == "slide"
    assert (sidecar["level"], sidecar["level_downsample"]) == (1, 4.0)


def test_tiles_without_rated_area_are_not_written(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    large = {"width_px": 100_000, "height_px": 80_000}
    corners = shapely.union(
        shapely.box(10, 10, 200, 200), shapely.box(99_000, 79_000, 99_990, 79_990)
    )
    run = build_run(store, [Item("A", corners, ALL_BENIGN, "Benign")], slides={"A": large})
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    assert export(pathquorum, tmp_path / "out").status == 0
    sidecar = json.loads((tmp_path / "out" / "masks" / "A" / "mask.json").read_bytes())
    assert (sidecar["columns"], sidecar["rows"]) == (196, 157)
    assert [(t["column"], t["row"]) for t in sidecar["tiles"]] == [
        (0, 0), (193, 154), (194, 154), (195, 154), (193, 155), (194, 155), (195, 155),
        (193, 156), (194, 156), (195, 156),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tile-px", 0), "--tile-px 0 can't be used"),
        (("--mpp", 0), "--mpp 0 can't be used"),
        (("--mpp", "nan"), "--mpp nan can't be used"),
    ],
)
def test_sizes_that_make_no_mask_are_refused(
    released: Pathquorum, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    result = export(released, tmp_path / "out", *options)
    assert (result.status, result.out) == (1, "")
    assert said in result.err
    assert not (tmp_path / "out").exists()


def test_masks_are_for_regions_only(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> None:
    items = [Item("A", shapely.box(0, 0, 9, 9), ALL_BENIGN, "Benign")]
    run = build_run(store, items, slides={"A": {}}, task="objects")
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    result = export(pathquorum, tmp_path / "out")
    assert (result.status, result.out) == (1, "")
    assert "masks are for regions, and this release is of objects" in result.err
