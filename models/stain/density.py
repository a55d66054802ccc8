"""Optical density: what a pixel absorbs, in which stains add up.

By Beer and Lambert the density of a pixel is the sum of the stains' vectors, each times its
concentration. Densities are natural logarithms, relative to the light that passes clear glass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRANSMITTED", "intensities", "optical_density", "stained"]

Floats = NDArray[np.float32]

TRANSMITTED = 240.0
"""Grey level of clear glass, as in Macenko et al.; one is added so that black is finite."""

CLEAR = 0.15
"""Pixels below this density in any channel are glass, or all but unstained."""

_DENSITIES = (-np.log((np.arange(256) + 1) / TRANSMITTED)).astype(np.float32)


def optical_density(pixels: NDArray[np.uint8]) -> Floats:
    """Densities of pixels (..., 3)."""
    densities: Floats = _DENSITIES[pixels]
    return densities


def intensities(densities: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels (..., 3) of densities: the inverse of :func:`optical_density`, cut at 0 and 255."""
    levels = np.exp(-densities)
    levels *= TRANSMITTED
    levels -= 1
    np.rint(levels, out=levels)
    np.clip(levels, 0, 255, out=levels)
    return np.asarray(levels, dtype=np.uint8)


def stained(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Densities (n, 3) of those pixels (m, 3) that hold stain in every channel."""
    densities = optical_density(pixels)
    return densities[(densities >= CLEAR).all(axis=1)].astype(np.float64)
