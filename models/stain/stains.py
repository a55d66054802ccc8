"""The stains of one slide, and when an estimate of them means nothing.

Shapes: n pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from models.errors import StainError
from models.stain.density import optical_density

__all__ = ["MIN_PIXELS", "REFERENCE", "Stains", "checked_stains", "require_pixels"]

Floats = NDArray[np.float64]

MIN_PIXELS = 1000
"""Fewer stained pixels say little about a slide's stains."""

MIN_ANGLE = 5.0
"""Degrees between the stains' vectors; below it, how much there is of each depends on noise."""

MIN_CONCENTRATION = 0.05
"""Of the 99th percentile; below it the slide is all but without the stain."""

_NEGATIVE = -0.1
_STRONGEST = 99


@dataclass(frozen=True, eq=False)
class Stains:
    """Two stains and how strong they are on a slide.

    Attributes
    ----------
    vectors : shape (3, 2)
        Density in red, green and blue of a unit of each stain, of length 1; haematoxylin first.
    strongest : shape (2,)
        The 99th percentile of each one's concentration.
    method
        ``macenko`` or ``vahadane``.
    """

    vectors: Floats
    strongest: Floats
    method: str

    def concentrations(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How much of each stain pixels (..., 3) hold, by least squares, (..., 2)."""
        found: NDArray[np.float32] = optical_density(pixels) @ np.float32(self.unmixing.T)
        return found

    @property
    def unmixing(self) -> Floats:
        """From densities to concentrations, shape (2, 3)."""
        return np.asarray(np.linalg.pinv(self.vectors))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as in a file of settings."""
        return {
            "method": self.method,
            "vectors": self.vectors.tolist(),
            "strongest": self.strongest.tolist(),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Stains:
        """The stains that :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            It holds anything else.
        """
        try:
            vectors = np.array(document["vectors"], dtype=np.float64)
            strongest = np.array(document["strongest"], dtype=np.float64)
            method = str(document["method"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"these are no stains: {error}; write them with to_dict") from error
        finite = np.isfinite(vectors).all() and np.isfinite(strongest).all()
        if vectors.shape != (3, 2) or strongest.shape != (2,) or not finite:
            raise InputError("stains have three densities for each of two, and two strengths")
        return cls(vectors, strongest, method)


REFERENCE = Stains(
    np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]]),
    np.array([1.9705, 1.0308]),
    "macenko",
)
"""The reference of Macenko's own implementation, where a study has no slide that it prefers."""


def require_pixels(number: int, slide: str) -> None:
    """Refuse a slide with too few stained pixels to estimate anything from.

    Raises
    ------
    StainError
        With the slide, and how many there are.
    """
    if number < MIN_PIXELS:
        raise StainError(
            f"slide {slide!r} has {number} stained pixels of {MIN_PIXELS} needed; loosen the "
            "tissue settings, or leave its colours as they are",
            slide=slide,
        )


def checked_stains(vectors: Floats, densities: Floats, method: str, slide: str) -> Stains:
    """Stains with the strengths that they have in these pixels, haematoxylin first.

    Haematoxylin is the stain that absorbs more red than the other.

    Parameters
    ----------
    vectors : shape (3, 2)
        In either order.
    densities : shape (n, 3)

    Raises
    ------
    StainError
        The vectors are not finite, absorb less than nothing, or are nearly parallel, or the slide
        holds hardly any of one of the stains.
    """
    lengths = np.linalg.norm(vectors, axis=0)
    if not (np.isfinite(vectors).all() and (lengths > 0).all()):
        raise StainError(_told(slide, method, "its vectors are no numbers"), slide=slide)
    vectors = vectors / lengths
    if vectors[0, 0] < vectors[0, 1]:
        vectors = vectors[:, ::-1]
    if vectors.min() < _NEGATIVE:
        raise StainError(
            _told(slide, method, "a stain would absorb less than nothing"), slide=slide
        )
    angle = float(np.degrees(np.arccos(np.clip(vectors[:, 0] @ vectors[:, 1], -1, 1))))
    if angle < MIN_ANGLE:
        reason = f"the two stains are {angle:.1f}° apart, of {MIN_ANGLE:.0f}° needed"
        raise StainError(_told(slide, method, reason), slide=slide)
    found = densities @ np.linalg.pinv(vectors).T
    strongest = np.percentile(found, _STRONGEST, axis=0)
    for name, strength in zip(("haematoxylin", "eosin"), strongest.tolist(), strict=True):
        if strength < MIN_CONCENTRATION:
            reason = f"there is hardly any {name} (strength {strength:.3f})"
            raise StainError(_told(slide, method, reason), slide=slide)
    return Stains(vectors, strongest, method)


def _told(slide: str, method: str, reason: str) -> str:
    return (
        f"the stains of slide {slide!r} can't be told apart by {method}: {reason}; take another "
        "method, or leave its colours as they are"
    )
