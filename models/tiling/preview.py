"""A picture of a slide with its tissue and tiles, to look at before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from annotation.paths import file_name, inside, replacing
from models.tiling.grid import TileGrid
from models.tiling.mask import TissueMask
from models.tiling.picture import SlidePicture

__all__ = ["write_preview"]

_LARGEST_PX = 2048
_COLOURS = {"tissue": (0, 140, 60), "pen": (230, 90, 0), "blurred": (120, 60, 200)}
_TILE = (30, 80, 200)


def write_preview(folder: Path, picture: SlidePicture, mask: TissueMask, grid: TileGrid) -> Path:
    """Write `SLIDE.png` into a folder, and return its path.

    Tissue is outlined in green, pen marks in orange and blur in violet; each tile is a blue square.

    Parameters
    ----------
    picture, mask
        From `find_tissue`.
    """
    shown = Image.fromarray(picture.pixels)
    shrink = max(1.0, max(shown.size) / _LARGEST_PX)
    size = max(1, round(shown.width / shrink)), max(1, round(shown.height / shrink))
    shown = shown.resize(size, Image.Resampling.BOX)
    pixels = np.array(shown)
    for name, colour in _COLOURS.items():
        area = Image.fromarray(getattr(mask, name)).resize(size, Image.Resampling.NEAREST)
        pixels[_outline(np.asarray(area))] = colour
    shown = Image.fromarray(pixels)
    draw = ImageDraw.Draw(shown)
    scale = 1 / (picture.cell_px * shrink)  # preview pixels per level-0 pixel
    side = grid.side_px * scale
    lefts, tops = (grid.x_px - picture.x_px) * scale, (grid.y_px - picture.y_px) * scale
    for left, top in zip(lefts.tolist(), tops.tolist(), strict=True):
        draw.rectangle((left, top, left + side, top + side), outline=_TILE)
    path = inside(folder, file_name(grid.slide, ".png"))
    with replacing(path) as temporary:
        shown.save(temporary, "PNG")
    return path


def _outline(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(area & ~ndimage.binary_erosion(area))
