"""Averaging of whole pixels, and resampling of what is left; the same for every source of pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Pixels", "block_means", "reduced_window", "resampled"]

Pixels = NDArray[np.uint8]

_LARGEST_BLOCK_PX = 2048


def block_means(pixels: Pixels, reduction: int) -> Pixels:
    """Return the mean of each block of `reduction` x `reduction` pixels, rounded half up.

    `pixels` has the shape (height, width, 3), both sides multiples of `reduction`.
    """
    if reduction == 1:
        return pixels
    return np.asarray(Image.fromarray(pixels).reduce(reduction))


def reduced_window(
    read: Callable[[int, int, int, int], Pixels],
    reduction: int,
    x_px: int,
    y_px: int,
    width_px: int,
    height_px: int,
) -> Pixels:
    """Return a window of averaged pixels, given in averaged pixels, shape (height, width, 3).

    `read` gives x, y, width and height of the level itself; it is asked for blocks of at most
    about 2048 px a side, so that memory doesn't depend on the reduction.
    """
    if reduction == 1:
        return read(x_px, y_px, width_px, height_px)
    step = max(1, _LARGEST_BLOCK_PX // reduction)
    window = np.empty((height_px, width_px, 3), np.uint8)
    for top in range(0, height_px, step):
        for left in range(0, width_px, step):
            width, height = min(step, width_px - left), min(step, height_px - top)
            block = read(
                (x_px + left) * reduction,
                (y_px + top) * reduction,
                width * reduction,
                height * reduction,
            )
            window[top : top + height, left : left + width] = block_means(block, reduction)
    return window


def resampled(pixels: Pixels, left: float, top: float, side: float, size_px: int) -> Pixels:
    """Return the square that begins at `left`, `top` as `size_px` x `size_px` pixels.

    Bilinear, widened where it shrinks so that nothing aliases; pixels around the square count,
    so that neighbouring tiles join without a seam.
    """
    box = (left, top, left + side, top + side)
    picture = Image.fromarray(pixels)
    return np.array(picture.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box))
