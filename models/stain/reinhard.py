"""Colours by Reinhard: mean and spread of each channel in CIE's L*a*b*, moved to another slide's.

Reinhard's own space is a logarithmic one of cones; in pathology it is L*a*b* that is meant.

References
----------
Reinhard et al. (2001), doi:10.1109/38.946629. IEC 61966-2-1 and CIE 15, for sRGB and L*a*b* under D65.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from models.errors import StainError
from models.stain.density import CLEAR, optical_density
from models.stain.stains import require_pixels

__all__ = ["COMMON_COLOURS", "Colours", "from_lab", "reinhard", "repaint", "to_lab"]

Floats = NDArray[np.float64]

MIN_SPREAD = 0.5
"""Of a channel; below it there is one colour, and its spread can't be matched."""

_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_LINEAR = np.where(
    np.arange(256) / 255 > 0.04045,
    ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4,
    np.arange(256) / 255 / 12.92,
)
_KNEE = 6 / 29


@dataclass(frozen=True, eq=False)
class Colours:
    """Mean and standard deviation of L*, a* and b*, shape (3,) each."""

    mean: Floats
    spread: Floats

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as in a file of settings."""
        return {"mean": self.mean.tolist(), "spread": self.spread.tolist()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Colours:
        """The colours that :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            It holds anything else.
        """
        try:
            mean, spread = (np.array(document[k], dtype=np.float64) for k in ("mean", "spread"))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"these are no colours: {error}; write them with to_dict") from error
        if mean.shape != (3,) or spread.shape != (3,) or not np.isfinite([mean, spread]).all():
            raise InputError("colours have a mean and a spread of each of three channels")
        return cls(mean, spread)


COMMON_COLOURS = Colours(np.array([59.5, 25.6, -14.9]), np.array([16.9, 11.0, 12.6]))
"""Where a study has no slide that it prefers: the reference that HistomicsTK publishes (a section of
TCGA-A2-A3XS, as mean and standard deviation in Reinhard's own space), carried over to L*a*b* by the
colours that a normal distribution of them gives."""


def reinhard(pixels: NDArray[np.uint8], slide: str) -> Colours:
    """The colours of a slide's tissue.

    Parameters
    ----------
    pixels : shape (n, 3)
        Of tissue; glass among them is passed over.
    slide
        For messages.

    Raises
    ------
    StainError
        Too few pixels, or all of one colour.
    """
    # Eosin alone absorbs hardly any red, and more or less of it from one laboratory to the next: were
    # density needed in every channel, two slides would be measured on different tissue.
    tissue = pixels[(optical_density(pixels) >= CLEAR).any(axis=1)]
    require_pixels(len(tissue), slide)
    lab = to_lab(tissue)
    spread = lab.std(axis=0)
    if spread.min() < MIN_SPREAD:
        raise StainError(
            f"slide {slide!r} is of one colour (a channel spreads by {spread.min():.2f}), which can't "
            "be matched to another's; leave its colours as they are",
            slide=slide,
        )
    return Colours(lab.mean(axis=0), spread)


def repaint(pixels: NDArray[np.uint8], colours: Colours, reference: Colours) -> NDArray[np.uint8]:
    """Pixels (..., 3) of a slide with the reference's mean and spread of each channel."""
    lab = (to_lab(pixels) - colours.mean) * (reference.spread / colours.spread) + reference.mean
    return from_lab(lab)


def to_lab(pixels: NDArray[np.uint8]) -> Floats:
    """L* from 0 to 100, a* and b* of sRGB pixels (..., 3)."""
    share = _LINEAR[pixels] @ (_TO_XYZ / _WHITE[:, None]).T
    bent = np.where(share > _KNEE**3, np.cbrt(share), share / (3 * _KNEE**2) + 4 / 29)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(lab: NDArray[Any]) -> NDArray[np.uint8]:
    """sRGB pixels of L*a*b* (..., 3); colours that sRGB doesn't have are cut channel by channel."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    bent = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    share = np.where(bent > _KNEE, bent**3, 3 * _KNEE**2 * (bent - 4 / 29))
    linear = np.clip((share * _WHITE) @ np.linalg.inv(_TO_XYZ).T, 0, 1)
    levels = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return np.asarray(np.rint(levels * 255), dtype=np.uint8)
