"""A slide that a model is to see, known before anything of it is opened."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["SlideImage"]


@dataclass(frozen=True)
class SlideImage:
    """A slide to encode or to predict.

    Attributes
    ----------
    path, fingerprint
        Its image, and what the image must be, where the store knows it.
    mpp
        Microns per pixel at level 0 that hold whatever the file says; None: what it says.
    part
        Of the release's split; empty without a release.
    centres : shape (n, 2)
        Of the objects around which tiles are wanted, in level-0 pixels; None lays tiles over tissue.
    """

    name: str
    path: str | None
    fingerprint: str | None = None
    mpp: float | None = None
    part: str = ""
    centres: NDArray[np.float64] | None = field(default=None, compare=False)
