"""Masks as COCO keeps them: the lengths of runs of pixels, column by column, as a line of text.

Polygons go straight to runs, so that a region of a whole slide needs no raster of it.

The text holds each length less the one two places before it (from the fourth on), in groups of five
bits, the lowest first; a sixth bit says that more groups follow, and 48 makes it a character. See
pycocotools' ``maskApi.c``, against which it is tested.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.releases.scan_conversion import scan_runs

__all__ = ["LARGEST_IMAGE_PX2", "mask_of", "run_lengths", "run_lengths_text"]

LARGEST_IMAGE_PX2 = 2**32 - 1
"""Readers of the format count pixels in 32 bits."""

_FIRST_DIFFERENCE = 3


def mask_of(
    geometry: shapely.Geometry, *, downsample: float, width_px: int, height_px: int
) -> dict[str, Any]:
    """A polygon or multipolygon as a COCO mask.

    Parameters
    ----------
    geometry
        In level-0 pixels, counted from the image's corner.
    downsample
        Level-0 pixels per pixel of the image.
    width_px, height_px
        Size of the image.
    """
    lengths = run_lengths(geometry, downsample=downsample, width_px=width_px, height_px=height_px)
    return {"size": [height_px, width_px], "counts": run_lengths_text(lengths)}


def run_lengths(
    geometry: shapely.Geometry, *, downsample: float, width_px: int, height_px: int
) -> NDArray[np.int64]:
    """Lengths of runs outside and inside by turns, down the columns; the first one is outside."""
    turned = shapely.transform(geometry, lambda xy: xy[:, ::-1])
    column, start, stop = scan_runs(
        shapely.get_parts(turned), downsample=downsample, columns=height_px, rows=width_px
    )
    begin, end = column * height_px + start, column * height_px + stop
    joined = begin[1:] == end[:-1]  # the foot of a column and the head of the next
    begin = begin[np.append(True, ~joined)[: len(begin)]]
    end = end[np.append(~joined, True)[: len(end)]]
    borders = np.column_stack([begin, end]).ravel()
    lengths = np.diff(borders, prepend=0, append=width_px * height_px)
    return lengths[:-1] if len(lengths) > 1 and lengths[-1] == 0 else lengths


def run_lengths_text(lengths: NDArray[np.int64]) -> str:
    """Run lengths as the line of text that COCO files hold."""
    values = lengths.copy()
    values[_FIRST_DIFFERENCE:] -= lengths[_FIRST_DIFFERENCE - 2 : -2]
    text = bytearray()
    for value in values.tolist():
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text.append(48 + group + 32 * more)
    return text.decode("ascii")
