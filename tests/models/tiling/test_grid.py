"""Where tiles lie, by target microns per pixel."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import InputError
from annotation.slides import SlideRecord
from models.errors import TileError
from models.reading.plan import plan_reading
from models.tiling.grid import lay_grid
from models.tiling.mask import TissueMask
from models.tiling.settings import EdgePolicy, TileSettings, TissueSettings

SLIDE = SlideRecord(
    "S", Path("S.svs"), 40_000, 30_000, 0.265, "file", 40.0, "aperio", None,
    ((40_000, 30_000), (10_000, 7_500)), "f" * 64, (),
)  # fmt: skip


def test_a_slide_of_0265_um_is_not_tiled_as_40x() -> None:
    """256 px at 0.25 um are 64 um: 241.5 px of this slide, not 256."""
    grid = lay_grid(SLIDE, TileSettings(mpp=0.25, size_px=256))
    assert grid.side_px == pytest.approx(64 / 0.265)
    assert np.unique(np.diff(np.unique(grid.x_px))) == pytest.approx(64 / 0.265)
    assert (grid.level, grid.resampling) == (0, "antialiased bilinear by 0.943396")
    assert (grid.slide, grid.fingerprint, grid.mpp) == ("S", "f" * 64, 0.265)


@given(
    width_px=st.integers(50, 5_000),
    height_px=st.integers(50, 5_000),
    mpp=st.floats(0.2, 0.6),
    target=st.floats(0.3, 4.0),
    size_px=st.integers(16, 300),
    data=st.data(),
)
def test_tiles_lie_as_the_edge_policy_says(
    width_px: int, height_px: int, mpp: float, target: float, size_px: int, data: st.DataObject
) -> None:
    overlap_px = data.draw(st.integers(0, size_px // 2))
    bounds = data.draw(st.sampled_from([None, (13, 7, width_px // 2, height_px // 2)]))
    slide = replace(SLIDE, width_px=width_px, height_px=height_px, mpp=mpp, levels=((width_px, height_px),), bounds=bounds)  # fmt: skip
    grids = {}
    policies: tuple[EdgePolicy, ...] = ("pad", "drop", "shift")
    for edge in policies:
        settings = TileSettings(mpp=target, size_px=size_px, overlap_px=overlap_px, edge=edge)
        grids[edge] = lay_grid(slide, settings)
    left, top, width, height = bounds or (0, 0, width_px, height_px)
    for begin, extent, axis in ((left, width, "x_px"), (top, height, "y_px")):
        pad, drop, shift = (np.unique(getattr(grids[edge], axis)) for edge in policies)
        side = grids["pad"].side_px
        stride = side * (size_px - overlap_px) / size_px
        assert side == plan_reading(slide, mpp=target, size_px=size_px).side_px
        if not len(drop):
            assert side > min(width, height)
            continue
        assert pad[0] == drop[0] == shift[0] == begin
        assert np.allclose(np.diff(pad), stride)
        # Padding covers everything, and no tile begins where all has been covered.
        assert pad[-1] + side >= begin + extent - 1e-6
        assert len(pad) == 1 or pad[-2] + side < begin + extent + 1e-6
        # What is dropped is exactly what overhangs.
        assert np.array_equal(drop, pad[pad + side <= begin + extent + 1e-6])
        # Shifting covers everything from within.
        assert len(shift) == len(pad)
        assert np.array_equal(shift[:-1], pad[:-1])
        assert shift[-1] + side == pytest.approx(max(begin + extent, begin + side))


def test_a_whole_number_of_tiles_has_no_sliver() -> None:
    """Sides that are no whole pixels must not add a column by a rounding error."""
    for columns in range(1, 60):
        width_px = 300 * columns
        slide = replace(SLIDE, width_px=width_px, height_px=300, mpp=0.3, levels=((width_px, 300),))
        for edge in ("pad", "drop", "shift"):
            settings = TileSettings(mpp=0.9, size_px=100, edge=edge)
            assert len(lay_grid(slide, settings)) == columns


def quarter_mask() -> TissueMask:
    """Tissue in the upper left quarter of the slide; cells of 100 px."""
    tissue = np.zeros((300, 400), np.bool_)
    tissue[:150, :200] = True
    none = np.zeros_like(tissue)
    return TissueMask(tissue, none, none, 0.0, 0.0, 100.0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_tiles_are_kept_by_their_exact_share_of_tissue(share: float) -> None:
    settings = TileSettings(mpp=0.53, size_px=500, tissue=TissueSettings(min_share=share))
    grid = lay_grid(SLIDE, settings, quarter_mask())
    side = 1000
    x, y = (v.ravel() for v in np.meshgrid(np.arange(40) * side, np.arange(30) * side))
    assert grid.n_candidates == 1200
    covered = np.clip(20_000 - x, 0, side) * np.clip(15_000 - y, 0, side) / side**2
    kept = (covered >= share) & (covered > 0)
    assert np.array_equal(grid.x_px, x[kept])
    assert np.array_equal(grid.y_px, y[kept])
    assert np.allclose(grid.tissue_share, covered[kept])


@given(
    x=st.floats(-900, 4500),
    y=st.floats(-900, 3500),
    side=st.floats(1, 3000),
    seed=st.integers(0, 9),
)
def test_a_share_is_the_area_of_the_cells_within(
    x: float, y: float, side: float, seed: int
) -> None:
    tissue = np.random.default_rng(seed).random((30, 40)) < 0.5
    mask = TissueMask(tissue, ~tissue, ~tissue, 50.0, -20.0, 97.0)
    lefts, tops = 50.0 + 97.0 * np.arange(40), -20.0 + 97.0 * np.arange(30)
    wide = np.clip(np.minimum(lefts + 97, x + side) - np.maximum(lefts, x), 0, None)
    tall = np.clip(np.minimum(tops + 97, y + side) - np.maximum(tops, y), 0, None)
    expected = (tissue * np.outer(tall, wide)).sum() / side**2
    share = mask.share(np.array([x]), np.array([y]), side)
    assert share == pytest.approx(expected, abs=1e-6)


def test_a_grid_beyond_all_measure_is_refused() -> None:
    slide = replace(SLIDE, width_px=400_000, height_px=400_000, levels=((400_000, 400_000),))
    with pytest.raises(TileError, match=r"would have about .* tiles; ask for larger ones"):
        lay_grid(slide, TileSettings(mpp=0.265, size_px=64, overlap_px=60))


def test_a_slide_too_coarse_is_refused() -> None:
    with pytest.raises(InputError, match=r"too coarse for tiles at 0\.1"):
        lay_grid(SLIDE, TileSettings(mpp=0.1, size_px=256))


def test_a_slide_smaller_than_a_tile_is_padded_or_dropped() -> None:
    slide = replace(SLIDE, width_px=100, height_px=80, levels=((100, 80),))
    for edge, count in (("pad", 1), ("drop", 0), ("shift", 1)):
        grid = lay_grid(slide, TileSettings(mpp=0.265, size_px=256, edge=edge))
        assert len(grid) == count
        assert (grid.x_px == 0).all()
    assert math.isclose(grid.side_px, 256)
