"""Pen marks on glass, by the hue and saturation of ink."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.reading.resampling import Pixels

__all__ = ["pen_marks"]

# A felt tip leaves lines of a millimetre; tissue has specks of any colour.
_SMALLEST_MARK_UM2 = 40_000.0
_HALO_UM = 40.0  # the pale edge of a stroke
# Hue in degrees, from and to, and the least saturation. Haematoxylin and eosin, and DAB with it, lie
# between 250 and 360 degrees or below 40; red ink shares eosin's hue, and is told by a saturation
# that eosin, even in red cells, does not reach. Blue counterstain is paler than ink.
_INKS = {
    "green": (75.0, 185.0, 0.35),
    "blue": (185.0, 245.0, 0.5),
    "red": (345.0, 372.0, 0.72),
}
_BLACK_VALUE = 0.3
_BLACK_SPAN = 0.1  # between the brightest and the darkest colour: dark nuclei are violet


def pen_marks(pixels: Pixels, mpp: float) -> NDArray[np.bool_]:
    """Return where a picture (height, width, 3) shows green, blue, red or black ink.

    Parameters
    ----------
    mpp
        Its microns per pixel; marks are lines of some breadth, and have a halo.
    """
    colours = pixels.astype(np.float32) / np.float32(255)
    most, least = colours.max(axis=2), colours.min(axis=2)
    span = most - least
    hue = _hue(colours, most, span)
    saturation = np.divide(span, most, out=np.zeros_like(span), where=most > 0)
    ink = (most < _BLACK_VALUE) & (span < _BLACK_SPAN)
    for begin, end, least_saturation in _INKS.values():
        within = ((hue - begin) % 360) < end - begin
        ink |= within & (saturation >= least_saturation) & (span > _BLACK_SPAN)
    ink = ndimage.binary_opening(ink)
    labels, _ = ndimage.label(ink)
    kept = np.bincount(labels.ravel()) >= _SMALLEST_MARK_UM2 / mpp**2
    kept[0] = False
    marks = kept[labels]
    if not marks.any():
        return np.asarray(marks)
    return np.asarray(ndimage.binary_dilation(marks, iterations=max(1, round(_HALO_UM / mpp))))


def _hue(
    colours: NDArray[np.float32], most: NDArray[np.float32], span: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return hue in degrees, 0 red, 120 green, 240 blue; 0 where there is none."""
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    divisor = np.where(span > 0, span, 1)
    hue = np.where(
        most == red,
        (green - blue) / divisor % 6,
        np.where(most == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return np.asarray(hue * 60, np.float32)
