"""A slide under the stains of another: each stain keeps its place and takes the other's colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.stain.density import intensities, optical_density
from models.stain.stains import REFERENCE, Stains

__all__ = ["normalise"]


def normalise(
    pixels: NDArray[np.uint8], stains: Stains, reference: Stains = REFERENCE
) -> NDArray[np.uint8]:
    """Pixels (..., 3) as they would look with the reference's stains and strengths.

    What the slide's two stains don't explain, as pigment or pen, is lost; that is how both methods
    are published.

    Parameters
    ----------
    stains
        Of the slide that the pixels are from.
    """
    stronger = np.diag(reference.strongest / stains.strongest)
    change = reference.vectors @ stronger @ stains.unmixing  # (3, 3), from density to density
    return intensities(optical_density(pixels) @ np.float32(change.T))
