"""The whole slide, or what was scanned of it, as one picture at a coarse resolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from annotation.errors import InputError
from models.errors import TileError
from models.reader import Reader
from models.reading.ahead import iterate
from models.reading.resampling import Pixels

__all__ = ["Missing", "SlidePicture", "read_picture"]

Missing = Callable[[TileError], None]

_BLOCK_PX = 512
_LARGEST_PICTURE_PX = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class SlidePicture:
    """A picture of a slide.

    Attributes
    ----------
    pixels : shape (height, width, 3)
        Its colours; uint8.
    x_px, y_px
        Where it begins, in level-0 pixels.
    cell_px
        Level-0 pixels that one of its pixels covers, along one side.
    mpp
        Microns per pixel.
    """

    pixels: Pixels
    x_px: float
    y_px: float
    cell_px: float
    mpp: float


def read_picture(
    reader: Reader, mpp: float, *, threads: int = 1, missing: Missing | None = None
) -> SlidePicture:
    """Read the slide, within its bounds, at `mpp` microns per pixel.

    Parameters
    ----------
    missing
        Told of each part that can't be read; it stays white. None: the first is raised.

    Raises
    ------
    InputError
        The picture would have more than 67 million pixels.
    """
    left, top, width_px, height_px = reader.slide.bounds or (
        0, 0, reader.slide.width_px, reader.slide.height_px,
    )  # fmt: skip
    plan = reader.plan(mpp=mpp, size_px=_BLOCK_PX)
    cell_px = plan.side_px / _BLOCK_PX
    width, height = max(1, math.ceil(width_px / cell_px)), max(1, math.ceil(height_px / cell_px))
    if width * height > _LARGEST_PICTURE_PX:
        raise InputError(
            f"slide {reader.slide.name!r} has {width * height:,} pixels at {mpp:g} microns each, "
            "too many to look for tissue on; choose a larger tissue.mpp",
            slide=reader.slide.name,
        )
    pixels = np.full((height, width, 3), 255, np.uint8)
    rows, columns = (each.ravel() for each in np.mgrid[0:height:_BLOCK_PX, 0:width:_BLOCK_PX])
    blocks = iterate(
        reader, left + columns * cell_px, top + rows * cell_px,
        mpp=mpp, size_px=_BLOCK_PX, threads=threads, ahead=0,
        missing=None if missing is None else lambda _, error: missing(error),
    )  # fmt: skip
    for index, block in blocks:
        row, column = rows[index], columns[index]
        part = pixels[row : row + _BLOCK_PX, column : column + _BLOCK_PX]
        part[:] = block[: part.shape[0], : part.shape[1]]
    return SlidePicture(pixels, float(left), float(top), cell_px, mpp)
