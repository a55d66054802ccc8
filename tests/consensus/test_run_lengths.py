"""COCO's run lengths, held against pycocotools."""

from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import Polygon, box

from consensus.releases.run_lengths import mask_of, run_lengths, run_lengths_text
from consensus.releases.scan_conversion import EMPTY, scan_tiles

# pycocotools 2.0.11 hands its pixels to numpy 2 in numpy 1's way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIDE = 24


@st.composite
def shapes(draw: st.DrawFn) -> shapely.Geometry:
    """One or several polygons, with holes, that may reach beyond the image or miss it."""
    points = draw(st.lists(st.tuples(st.floats(-8, 60), st.floats(-8, 60)), min_size=3, max_size=8))
    made = shapely.make_valid(Polygon(points))
    x, y = draw(st.tuples(st.floats(-8, 60), st.floats(-8, 60)))
    made = shapely.difference(made, box(x, y, x + 9, y + 7))
    parts = [part for part in shapely.get_parts(made) if part.geom_type == "Polygon"]
    return shapely.multipolygons(parts) if parts else shapely.MultiPolygon()


def raster(geometry: shapely.Geometry, downsample: float) -> NDArray[np.uint8]:
    """The mask that tiles of an export would show."""
    pixels = np.full((SIDE, SIDE), EMPTY, dtype=np.uint8)
    parts = shapely.get_parts(geometry)
    for _, _, found in scan_tiles(
        parts, np.zeros(len(parts), dtype=np.int64),
        downsample=downsample, columns=1, rows=1, tile_px=SIDE,
    ):  # fmt: skip
        pixels = found
    return (pixels != EMPTY).astype(np.uint8)


@given(shapes(), st.sampled_from([1.0, 2.5]))
def test_pycocotools_reads_the_pixels_whose_centres_lie_inside(
    geometry: shapely.Geometry, downsample: float
) -> None:
    mask = mask_of(geometry, downsample=downsample, width_px=SIDE, height_px=SIDE)
    decoded = pycocotools.mask.decode(mask)
    again = pycocotools.mask.encode(np.asfortranarray(decoded))
    assert again["counts"].decode() == mask["counts"]
    different = decoded != raster(geometry, downsample)
    # Rows and columns scan from another side: only a centre on an outline may fall either way.
    y, x = np.nonzero(different)
    centres = shapely.points((x + 0.5) * downsample, (y + 0.5) * downsample)
    assert (shapely.distance(centres, shapely.boundary(geometry)) < 1e-5).all()


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 7))
def test_the_text_is_the_one_pycocotools_writes(pixels: list[bool], height: int) -> None:
    width = -(-len(pixels) // height)
    flat = np.zeros(width * height, dtype=np.uint8)
    flat[: len(pixels)] = pixels
    image = np.asfortranarray(flat.reshape(width, height).T)
    changes = np.flatnonzero(np.diff(flat, prepend=0)) if flat.any() else np.empty(0, dtype=int)
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]]))
    encoded = pycocotools.mask.encode(image)
    assert run_lengths_text(lengths) == encoded["counts"].decode()


def test_a_region_of_a_whole_slide_needs_no_raster() -> None:
    """60,000 x 60,000 px with a hole: as many pixels as its area."""
    region = Polygon(
        box(100, 200, 59_000, 58_000).exterior.coords,
        holes=[box(20_000, 20_000, 30_000, 25_000).exterior.coords],
    )
    mask = mask_of(region, downsample=1.0, width_px=60_000, height_px=60_000)
    assert int(pycocotools.mask.area(mask)) == region.area
    x, y, width, height = pycocotools.mask.toBbox(mask).tolist()
    assert (x, y, width, height) == (100, 200, 58_900, 57_800)


@pytest.mark.parametrize("geometry", [shapely.MultiPolygon(), box(50, 50, 60, 60)])
def test_what_lies_off_the_image_is_an_empty_mask(geometry: shapely.Geometry) -> None:
    lengths = run_lengths(geometry, downsample=1.0, width_px=9, height_px=7)
    assert lengths.tolist() == [63]
