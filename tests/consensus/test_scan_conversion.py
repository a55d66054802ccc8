"""Polygons to pixels: by the centre, exactly one polygon to a pixel, tile by tile the same."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from consensus.releases.scan_conversion import EMPTY, scan_tiles


def whole(
    polygons: list[shapely.Geometry],
    side_px: int,
    *,
    values: list[int] | None = None,
    downsample: float = 1.0,
    tile_px: int = 32,
) -> NDArray[np.uint8]:
    tiles = -(-side_px // tile_px)
    image = np.full((tiles * tile_px, tiles * tile_px), EMPTY, dtype=np.uint8)
    for column, row, pixels in scan_tiles(
        np.array(polygons, dtype=object),
        np.array(values if values is not None else range(len(polygons)), dtype=np.int64),
        downsample=downsample,
        columns=tiles,
        rows=tiles,
        tile_px=tile_px,
    ):
        place = np.s_[
            row * tile_px : (row + 1) * tile_px, column * tile_px : (column + 1) * tile_px
        ]
        assert (image[place] == EMPTY).all(), "a tile came twice"
        assert (pixels != EMPTY).any(), "an empty tile came"
        image[place] = pixels
    return image[:side_px, :side_px]


def centres(side_px: int, downsample: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps = (np.arange(side_px) + 0.5) * downsample
    x, y = np.meshgrid(steps, steps)
    return x, y


def coverage(seed: int, side: float, n: int, step: float) -> list[shapely.Geometry]:
    """Polygons with ragged borders, some with holes, that share their borders vertex by vertex."""
    random = np.random.default_rng(seed)
    points = random.uniform(0, side, (n, 2))
    frame = shapely.box(0, 0, side, side)
    cells = shapely.get_parts(
        shapely.voronoi_polygons(shapely.multipoints(points), extend_to=frame)
    )
    cells = shapely.segmentize(shapely.intersection(cells, frame), step)
    cells = shapely.transform(cells, lambda xy: np.round(xy, 6))
    labels = random.integers(0, 4, n)
    joined = [shapely.union_all(cells[labels == label]) for label in range(4)]

    def bend(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = xy.T / (2 * step)
        return xy + step * np.stack([np.sin(y), np.cos(x)], axis=1)

    return [shapely.transform(geometry, bend) for geometry in joined]


@pytest.mark.parametrize("downsample", [1.0, 0.5, 3.7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_pixel_has_the_value_of_the_polygon_its_centre_lies_in(
    seed: int, downsample: float
) -> None:
    side_px = 150
    regions = coverage(seed, side_px * downsample, 60, 4.0 * downsample)
    assert all(region.is_valid for region in regions)
    parts, owner = shapely.get_parts(np.array(regions, dtype=object), return_index=True)
    image = whole(list(parts), side_px, values=owner.tolist(), downsample=downsample)
    x, y = centres(side_px, downsample)
    covered = np.zeros(image.shape, dtype=int)
    for value, region in enumerate(regions):
        inside = shapely.contains_xy(region, x, y)
        assert (image[inside] == value).all()
        covered += inside
    assert covered.max() == 1
    assert (image[covered == 0] == EMPTY).all()


@pytest.mark.parametrize("tile_px", [16, 23, 64, 512])
def test_the_size_of_tiles_changes_nothing(tile_px: int) -> None:
    regions = coverage(5, 100, 30, 5.0)
    parts, owner = shapely.get_parts(np.array(regions, dtype=object), return_index=True)
    image = whole(list(parts), 100, values=owner.tolist(), tile_px=tile_px)
    assert (image == whole(list(parts), 100, values=owner.tolist())).all()


def test_centres_on_a_shared_border_go_to_exactly_one_polygon() -> None:
    left, right = shapely.box(0, 0, 10.5, 30), shapely.box(10.5, 0, 30, 30)
    above, below = shapely.box(30, 0, 60, 12.5), shapely.box(30, 12.5, 60, 30)
    triangle = shapely.Polygon([(0, 30), (60, 30), (60, 60)])
    other = shapely.Polygon([(0, 30), (60, 60), (0, 60)])
    image = whole([left, right, above, below, triangle, other], 60)
    counts = np.bincount(image.ravel(), minlength=256)
    assert counts[EMPTY] == 0
    assert counts[0] + counts[1] == counts[2] + counts[3] == 900
    assert counts[4] + counts[5] == 1800
    assert (image[:30, 10] != image[:30, 9]).all() or (image[:30, 10] != image[:30, 11]).all()


def test_a_hole_is_empty_and_what_lies_in_it_has_its_own_value() -> None:
    hole = shapely.box(10, 10, 30, 30)
    ring = shapely.difference(shapely.box(0, 0, 40, 40), hole)
    image = whole([ring, shapely.box(15, 15, 20, 20)], 40)
    assert (image == 1).sum() == 25
    assert (image == EMPTY).sum() == 400 - 25
    assert (image == 0).sum() == 1600 - 400


def test_overlapping_polygons_give_the_value_of_one_of_them() -> None:
    image = whole([shapely.box(0, 0, 20, 20), shapely.box(10, 10, 33, 33)], 40, values=[7, 254])
    assert set(np.unique(image)) == {7, 254, EMPTY}
    assert (image != EMPTY).sum() == 400 + 529 - 100


def test_what_lies_beyond_the_grid_is_left_out() -> None:
    image = whole([shapely.box(-50, -20, 500, 700)], 64)
    assert (image == 0).all()
    assert whole([shapely.box(-50, -20, -1, 700), shapely.box(80, 3, 90, 4)], 64).min() == EMPTY


def test_a_polygon_between_centres_has_no_pixel_and_nothing_gives_no_tile() -> None:
    assert (whole([shapely.box(3.6, 3.6, 4.4, 4.4)], 32) == EMPTY).all()
    assert (whole([], 32) == EMPTY).all()


def test_a_polygon_of_a_million_pixels_costs_no_more_than_its_tiles() -> None:
    image = whole([shapely.Point(500, 500).buffer(480, quad_segs=500)], 1000, tile_px=250)
    area = np.pi * 480**2
    assert abs(int((image == 0).sum()) - area) < 2 * np.sqrt(area)
