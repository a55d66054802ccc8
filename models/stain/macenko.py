"""Stains by Macenko: the extreme directions in the plane of the densities' largest spread.

References
----------
Macenko et al. (2009), doi:10.1109/ISBI.2009.5193250.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.stain.density import stained
from models.stain.stains import Stains, checked_stains, require_pixels

__all__ = ["macenko"]

EXTREME = 1.0
"""Percentile of the angles that counts as extreme, from either end."""


def macenko(pixels: NDArray[np.uint8], slide: str) -> Stains:
    """The stains of a slide's tissue.

    Parameters
    ----------
    pixels : shape (n, 3)
        Of tissue; glass among them is passed over.
    slide
        For messages.

    Raises
    ------
    StainError
        See :func:`models.stain.stains.checked_stains`.
    """
    densities = stained(pixels)
    require_pixels(len(densities), slide)
    _, directions = np.linalg.eigh(np.cov(densities.T))
    plane = directions[:, 1:]  # (3, 2), of the two largest eigenvalues
    # An eigenvector has no sign of its own; densities lie ahead of it, not behind.
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    along = densities @ plane
    angle = np.arctan2(along[:, 0], along[:, 1])
    low, high = np.percentile(angle, (EXTREME, 100 - EXTREME))
    ends = np.array([[np.sin(low), np.sin(high)], [np.cos(low), np.cos(high)]])
    return checked_stains(plane @ ends, densities, "macenko", slide)
