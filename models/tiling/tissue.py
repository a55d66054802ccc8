"""Tissue on a picture of a slide: what has colour, without dirt, pen marks and blur."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from annotation.errors import InputError
from models.reader import Reader
from models.reading.resampling import Pixels
from models.tiling.mask import TissueMask
from models.tiling.pens import pen_marks
from models.tiling.picture import Missing, SlidePicture, read_picture
from models.tiling.settings import TissueSettings
from models.tiling.sharpness import blurred_cells

__all__ = ["TissueModel", "find_tissue", "otsu_threshold", "saturation", "tissue_model"]

Mask = NDArray[np.bool_]
TissueModel = Callable[[Pixels, float], Any]

_EDGE_UM = 16.0  # how far JPEG and the eyepiece smear tissue and ink


def find_tissue(
    reader: Reader,
    settings: TissueSettings,
    *,
    threads: int = 1,
    missing: Missing | None = None,
) -> tuple[TissueMask, SlidePicture]:
    """Find the tissue of a slide; returns the mask, and the picture it was found on.

    Otsu's threshold on saturation (or the settings' model), pen marks out before it is taken;
    small pieces and holes are cleaned away, and what is blurred is left out at the end.

    Parameters
    ----------
    threads
        How many read the slide.
    missing
        Told of each part of the slide that can't be read, which counts as glass. None: the first
        is raised.

    Raises
    ------
    InputError
        The model can't be imported or used, or the slide is too large for `settings.mpp`.
    TileError
        A part of the slide can't be read.
    """
    picture = read_picture(reader, settings.mpp, threads=threads, missing=missing)
    pixels = picture.pixels
    pen = pen_marks(pixels, picture.mpp) if settings.pens else np.zeros(pixels.shape[:2], np.bool_)
    if settings.model is None:
        tissue = _by_saturation(pixels, pen, settings)
    else:
        tissue = _by_model(settings.model, pixels, picture.mpp)
    tissue = _cleaned(tissue & ~pen, settings) & ~pen
    blurred = np.zeros_like(tissue)
    if settings.min_sharpness > 0:
        blurred = tissue & blurred_cells(
            reader, picture, tissue, settings, threads=threads, missing=missing
        )
    mask = TissueMask(tissue & ~blurred, pen, blurred, picture.x_px, picture.y_px, picture.cell_px)
    return mask, picture


def saturation(pixels: Pixels) -> NDArray[np.float32]:
    """Return the saturation of colours (height, width, 3) as HSV has it, 0 to 1; black has none."""
    most = pixels.max(axis=2).astype(np.float32)
    span = most - pixels.min(axis=2)
    return np.asarray(np.divide(span, most, out=np.zeros_like(most), where=most > 0))


def otsu_threshold(values: NDArray[np.float32]) -> float:
    """Return the threshold that parts values between 0 and 1 into the two most distinct classes.

    References
    ----------
    Otsu (1979), doi:10.1109/TSMC.1979.4310076, on 256 bins.
    """
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    centers = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum(), counts[::-1].cumsum()[::-1]
    sums = (counts * centers).cumsum()
    mean_below = sums / np.maximum(below, 1)
    mean_above = (sums[-1] - np.concatenate([[0.0], sums[:-1]])) / np.maximum(above, 1)
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(centers[between.argmax()])


def tissue_model(name: str) -> TissueModel:
    """Return the function that `module:function` names.

    Raises
    ------
    InputError
        There is no such module or function; says which.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise InputError(f"tissue model {name!r} is no function; name it as module:function")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"tissue model {name!r} can't be imported ({error}); check the name, and that its "
            "module is installed here"
        ) from None
    if not callable(found):
        raise InputError(f"tissue model {name!r} is no function; name one that takes a picture")
    return found  # type: ignore[no-any-return]


def _by_saturation(pixels: Pixels, pen: Mask, settings: TissueSettings) -> Mask:
    values = saturation(pixels)
    threshold = otsu_threshold(values[~pen]) if not pen.all() else 1.0
    return values > max(threshold, settings.min_saturation)


def _by_model(name: str, pixels: Pixels, mpp: float) -> Mask:
    mask = np.asarray(tissue_model(name)(pixels, mpp))
    if mask.shape != pixels.shape[:2]:
        raise InputError(
            f"tissue model {name!r} gave a mask of shape {mask.shape} for a picture of "
            f"{pixels.shape[:2]}; it must have the picture's height and width"
        )
    return mask.astype(np.bool_)


def _cleaned(tissue: Mask, settings: TissueSettings) -> Mask:
    """Close gaps narrower than a smeared edge, then fill small holes and drop small pieces."""
    um2 = settings.mpp**2
    reach = max(1, round(_EDGE_UM / settings.mpp))
    closed = ndimage.binary_closing(np.pad(tissue, reach), iterations=reach)
    closed = closed[reach:-reach, reach:-reach]
    holes = ~closed & ~_pieces(~closed, settings.largest_hole_um2 / um2)
    return _pieces(closed | holes, settings.smallest_um2 / um2)


def _pieces(mask: Mask, smallest: float) -> Mask:
    """Return the pieces that have at least so many cells; corners don't join."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    kept = sizes >= smallest
    kept[0] = False
    return np.asarray(kept[labels])
