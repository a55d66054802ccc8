"""Pixels to estimate stains from: of tissue tiles alone, and the same for a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotation.slides import read_slide
from models.errors import StainError
from models.reader import open_reader
from models.stain.macenko import macenko
from models.stain.slide_pixels import tissue_pixels
from models.tiling.grid import TileGrid, lay_grid
from models.tiling.settings import TileSettings
from tests.models.slides import write_jpeg_tiff
from tests.models.stain.conftest import VECTORS, Tissue, degrees_apart


@pytest.fixture
def slide(tmp_path: Path, tissue: Tissue) -> tuple[Path, TileGrid]:
    """A slide of 768 px with two-stain tissue, in blocks of 8 px, on its left half."""
    blocks = tissue(96 * 48, glass=0).reshape(96, 48, 3)
    pixels = np.full((768, 768, 3), 238, np.uint8)
    pixels[:, :384] = blocks.repeat(8, axis=0).repeat(8, axis=1)
    path = write_jpeg_tiff(tmp_path / "A.tif", pixels, mpp=0.5, quality=95)
    return path, lay_grid(read_slide(path), TileSettings(mpp=0.5, size_px=64))


def test_stains_come_from_tissue_all_over_the_slide(slide: tuple[Path, TileGrid]) -> None:
    """The stains of a slide are found from a sample of its tiles, through reader and grid."""
    path, grid = slide
    with open_reader(path) as reader:
        found = tissue_pixels(reader, grid)
        again = tissue_pixels(reader, grid)
        other = tissue_pixels(reader, grid, seed=1)
    assert (found == again).all()
    assert found.shape[1] == 3
    assert len(found) <= 200_000
    assert found.shape != other.shape or (found != other).any()
    assert degrees_apart(macenko(found, "A").vectors, VECTORS).max() < 6


def test_a_slide_without_tissue_is_refused(slide: tuple[Path, TileGrid]) -> None:
    """No tile of tissue, no stains: refused by the slide's name."""
    path, grid = slide
    none = np.zeros(0)
    empty = replace(grid, x_px=none, y_px=none, tissue_share=none.astype(np.float32))
    with open_reader(path) as reader, pytest.raises(StainError, match="slide 'A' has no tile"):
        tissue_pixels(reader, empty)
