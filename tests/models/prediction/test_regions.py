"""Cells become polygons that hold exactly these cells; tiles dissolve, and slivers are accounted for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from annotation.slides import SlideRecord
from consensus.releases.scan_conversion import scan_runs
from models.prediction.cells import NO_LABEL, Areas, CellRuns
from models.prediction.regions import Outlined, dissolved_tiles
from models.prediction.uncertainty import Spread
from models.tiling.grid import lay_grid
from models.tiling.settings import EdgePolicy, TileSettings

CLASSES = ("background", "Low", "High")
LABELS = arrays(
    np.int16,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([NO_LABEL, NO_LABEL, 0, 1]),
)


def areas_of(labels: NDArray[np.int16], cuts: list[int], values: NDArray[np.float32]) -> Areas:
    runs = CellRuns(labels.shape[1], len(values))
    for top, stop in pairwise([0, *cuts, len(labels)]):
        runs.add(top, labels[top:stop], values[:, top:stop])
    x, y = (np.arange(n + 1.0) for n in reversed(labels.shape))
    return runs.areas(x, y)


@settings(max_examples=150)
@given(LABELS, st.data())
def test_polygons_hold_exactly_the_cells_of_each_connected_area(
    labels: NDArray[np.int16], data: st.DataObject
) -> None:
    height, width = labels.shape
    cuts = sorted(data.draw(st.lists(st.integers(0, height), max_size=2)))
    values = np.arange(labels.size, dtype=np.float32).reshape(1, height, width)
    areas = areas_of(labels, cuts, values)
    everything = np.ones(len(areas.label), dtype=bool)
    edges = np.arange(width + 1) * 2.5 - 3, np.arange(height + 1) * 0.7 + 11
    polygons = areas.runs_of(everything).polygons(*edges)
    assert [polygon.geom_type for polygon in polygons] == ["Polygon"] * len(areas.label)
    assert shapely.is_valid(polygons).all()
    np.testing.assert_allclose(shapely.area(polygons), areas.cells * 2.5 * 0.7)
    np.testing.assert_array_equal(areas.size, areas.cells)
    found = np.full(labels.shape, NO_LABEL)
    owner = np.full(labels.shape, -1)
    in_cells = areas.runs_of(everything).polygons(np.arange(width + 1.0), np.arange(height + 1.0))
    for number, polygon in enumerate(in_cells):
        rows = scan_runs(
            np.array([polygon], dtype=object), downsample=1.0, columns=width, rows=height
        )
        for row, start, stop in zip(*rows, strict=True):
            assert (owner[row, start:stop] == -1).all()
            owner[row, start:stop] = number
            found[row, start:stop] = areas.label[number]
    np.testing.assert_array_equal(found, labels)
    for label in (0, 1):
        wanted, n_wanted = ndimage.label(labels == label)
        assert n_wanted == (areas.label == label).sum()
        pairs = {(a, b) for a, b in zip(wanted.ravel(), owner.ravel(), strict=True) if a}
        assert len(pairs) == n_wanted
    sums = ndimage.sum_labels(values[0], owner, np.arange(len(areas.label)))
    np.testing.assert_allclose(areas.sums[:, 0], sums)


@given(LABELS, st.integers(0, 4))
def test_leaving_areas_out_changes_none_of_the_others(
    labels: NDArray[np.int16], least: int
) -> None:
    areas = areas_of(labels, [], np.zeros((1, *labels.shape), np.float32))
    edges = np.arange(labels.shape[1] + 1.0), np.arange(labels.shape[0] + 1.0)
    everything = areas.runs_of(np.ones(len(areas.label), dtype=bool)).polygons(*edges)
    large = areas.cells > least
    kept = areas.runs_of(large).polygons(*edges)
    assert shapely.equals_exact(kept, everything[large]).all()


def test_corners_that_touch_make_holes_and_no_polygon_that_meets_itself() -> None:
    ring = np.array([[0, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=np.int16)
    (polygon,) = (
        areas_of(ring, [], np.zeros((1, 3, 3), np.float32))
        .runs_of(np.array([True]))
        .polygons(np.arange(4.0), np.arange(4.0))
    )
    assert polygon.is_valid
    assert len(polygon.interiors) == 1
    assert polygon.area == 7


def dissolved(
    side: float, stride: float, corners: NDArray[np.float64], of_class: list[int], least: float = 0
) -> Outlined:
    p = np.full((len(corners), len(CLASSES)), 0.1)
    p[np.arange(len(corners)), of_class] = 0.8
    tiles = Spread(p, p / 8, np.full(len(corners), 0.5), np.full(len(corners), 0.25))
    return dissolved_tiles(
        CLASSES,
        corners,
        side,
        stride,
        tiles,
        extent_px=(400, 1000),
        mpp=0.5,
        min_region_um2=least,
    )


def test_tiles_of_a_class_dissolve_and_the_rest_is_accounted_for() -> None:
    # H H .        H 1, L low, b background, . no tile
    # b H L
    corners = np.array([[0, 0], [100, 0], [0, 100], [100, 100], [200, 100]], dtype=np.float64)
    found = dissolved(100, 100, corners, [2, 2, 0, 2, 1])
    assert [region.class_name for region in found.regions] == ["High", "Low"]
    high, low = found.regions
    wanted = shapely.union_all([shapely.box(0, 0, 200, 100), shapely.box(100, 100, 200, 200)])
    assert high.polygon.equals(wanted)
    assert (high.probability, high.variance) == (pytest.approx(0.8), pytest.approx(0.1))
    assert (high.entropy, high.mutual_information) == (0.5, 0.25)
    assert high.area_um2 == wanted.area / 4
    assert found.area_um2 == {"Low": low.area_um2, "High": high.area_um2}
    fewer = dissolved(100, 100, corners, [2, 2, 0, 2, 1], least=5000)
    assert [region.class_name for region in fewer.regions] == ["High"]
    assert (fewer.slivers, fewer.dropped_um2) == (1, {"Low": 2500.0, "High": 0.0})
    assert fewer.area_um2 == {"Low": 0.0, "High": high.area_um2}


def test_regions_end_with_the_slide_and_do_not_bridge_gaps() -> None:
    corners = np.array([[0, 0], [200, 0], [290, 0], [390, 0]], dtype=np.float64)
    found = dissolved(100, 100, corners, [2, 2, 2, 2])
    bounds = sorted(region.polygon.bounds for region in found.regions)
    assert bounds == [(0, 0, 100, 100), (200, 0, 400, 100)]


@settings(max_examples=60)
@given(
    st.integers(130, 400), st.integers(130, 400), st.integers(0, 20), st.sampled_from(["pad", "drop", "shift"])
)  # fmt: skip
def test_tiles_that_overlap_or_were_moved_share_the_slide_without_gap_or_overlap(
    width: int, height: int, overlap: int, edge: EdgePolicy
) -> None:
    tiles = TileSettings(mpp=0.75, size_px=64, overlap_px=overlap, edge=edge)
    slide = SlideRecord(
        "S", Path("S.svs"), width, height, 1.0, "file", 40.0, "aperio", None,
        ((width, height),), None, (),
    )  # fmt: skip
    grid = lay_grid(slide, tiles)
    corners = np.column_stack([grid.x_px, grid.y_px])
    stride = grid.side_px * tiles.stride_px / tiles.size_px
    of_class = (np.arange(len(grid)) % 2) + 1
    p = np.zeros((len(grid), len(CLASSES)))
    p[np.arange(len(grid)), of_class] = 1.0
    found = dissolved_tiles(
        CLASSES,
        corners,
        grid.side_px,
        stride,
        Spread(p, p, p[:, 0], p[:, 0]),
        extent_px=(width, height),
        mpp=1.0,
        min_region_um2=0.0,
    )
    polygons = [region.polygon for region in found.regions]
    assert sum(polygon.area for polygon in polygons) == pytest.approx(
        shapely.union_all(polygons).area
    )
    together = shapely.union_all([polygon.buffer(1e-6) for polygon in polygons])
    assert together.geom_type == "Polygon"
    assert not together.interiors
    margin = (grid.side_px - stride) / 2
    assert together.bounds[0] == pytest.approx(margin, abs=1e-5)
    assert together.bounds[3] <= height + 1e-5
