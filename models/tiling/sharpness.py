"""Which parts of the tissue are out of focus."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.errors import TileError
from models.reader import Reader
from models.reading.ahead import iterate
from models.reading.resampling import Pixels
from models.tiling.picture import Missing, SlidePicture
from models.tiling.settings import TissueSettings

__all__ = ["SHARPNESS_UM", "blurred_cells", "laplacian_variance"]

Mask = NDArray[np.bool_]

# Wide enough that any tissue has nuclei and edges in it.
SHARPNESS_UM = 128.0
_CELLS_PER_BLOCK = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def blurred_cells(
    reader: Reader,
    picture: SlidePicture,
    tissue: Mask,
    settings: TissueSettings,
    *,
    threads: int = 1,
    missing: Missing | None = None,
) -> Mask:
    """Return where the picture is blurred, in squares of 128 um; only where there is tissue.

    The slide is read at `settings.blur_mpp` where `tissue` (height, width) has any. What can't be
    read counts as blurred, and `missing` is told of it.
    """
    cell_px = max(8, round(SHARPNESS_UM / settings.blur_mpp))
    size_px = cell_px * _CELLS_PER_BLOCK
    side = reader.plan(mpp=settings.blur_mpp, size_px=size_px).side_px / picture.cell_px
    height, width = tissue.shape  # of the picture, in whose pixels everything below is
    blurred = np.zeros_like(tissue)
    corners = np.array(
        [
            (top, left)
            for top in np.arange(0, height, side)
            for left in np.arange(0, width, side)
            if tissue[_span(top, side), _span(left, side)].any()
        ]
    ).reshape(-1, 2)

    def unread(tell: Missing, index: int, error: TileError) -> None:
        top, left = corners[index]
        blurred[_span(top, side), _span(left, side)] = True
        tell(error)

    blocks = iterate(
        reader,
        picture.x_px + corners[:, 1] * picture.cell_px,
        picture.y_px + corners[:, 0] * picture.cell_px,
        mpp=settings.blur_mpp,
        size_px=size_px,
        threads=threads,
        ahead=0,
        missing=None if missing is None else partial(unread, missing),
    )
    centers = (np.arange(size_px) + 0.5) * side / size_px
    for index, block in blocks:
        top, left = corners[index]
        y, x = top + centers, left + centers
        inside = tissue[np.ix_(_within(y, height), _within(x, width))]
        inside = inside & (y < height)[:, None] & (x < width)
        dull = laplacian_variance(block, inside, cell_px) < settings.min_sharpness
        rows, columns = _cells(top, side, height), _cells(left, side, width)
        blurred[_span(top, side), _span(left, side)] = dull[np.ix_(rows, columns)]
    return blurred


def laplacian_variance(pixels: Pixels, tissue: Mask, cell_px: int) -> NDArray[np.float64]:
    """Return the variance of the Laplacian of brightness over the tissue of each square.

    Parameters
    ----------
    pixels : shape (height, width, 3)
        Both sides multiples of `cell_px`.
    tissue : shape (height, width)
        The pixels that count: glass has no edges to be sharp.

    Returns
    -------
    shape (height / cell_px, width / cell_px)
        Infinity in a square without tissue.
    """
    laplacian = ndimage.laplace(pixels.astype(np.float32) @ _LUMA, mode="nearest")
    count = _sums(tissue, cell_px)
    of_tissue = np.where(tissue, laplacian, 0.0)
    divisor = np.maximum(count, 1)
    mean = _sums(of_tissue, cell_px) / divisor
    variance = _sums(of_tissue**2, cell_px) / divisor - mean**2
    return np.where(count > 0, variance, np.inf)


def _sums(values: NDArray[np.floating] | Mask, cell: int) -> NDArray[np.float64]:
    rows, columns = values.shape[0] // cell, values.shape[1] // cell
    return np.asarray(values.reshape(rows, cell, columns, cell).sum(axis=(1, 3), dtype=np.float64))


def _span(begin: float, side: float) -> slice:
    """The pixels whose centres lie between `begin` and `begin + side`."""
    return slice(math.ceil(begin - 0.5), math.ceil(begin + side - 0.5))


def _cells(begin: float, side: float, extent: int) -> NDArray[np.int64]:
    """In which square of a block each pixel of `_span` lies."""
    span = _span(begin, side)
    centers = np.arange(span.start, min(span.stop, extent)) + 0.5 - begin
    return _within(centers * (_CELLS_PER_BLOCK / side), _CELLS_PER_BLOCK)


def _within(place: NDArray[np.float64], extent: int) -> NDArray[np.int64]:
    return np.clip(place.astype(np.int64), 0, extent - 1)
