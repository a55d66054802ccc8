"""Stains by Vahadane: a sparse factorisation of the densities into non-negative parts.

Minimises ``mean(|v - W h|^2 / 2 + penalty * sum(h))`` over the pixels' densities v, with
non-negative vectors W of at most unit length and non-negative concentrations h. With two stains
the best h of a pixel has a closed form, so that all pixels are solved exactly at once; W goes one
vector at a time, as in online dictionary learning.

Shapes: n pixels.

References
----------
Vahadane et al. (2016), doi:10.1109/TMI.2016.2529665. Mairal et al. (2010), JMLR 11, for the update
of the vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.stain.density import stained
from models.stain.stains import REFERENCE, Stains, checked_stains, require_pixels

__all__ = ["factorise", "sparse_concentrations", "vahadane"]

Floats = NDArray[np.float64]

PENALTY = 0.1
_MOST_ROUNDS = 300
_SETTLED = 1e-6
_TINY = 1e-12


def vahadane(pixels: NDArray[np.uint8], slide: str) -> Stains:
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
    return checked_stains(factorise(densities), densities, "vahadane", slide)


def factorise(densities: Floats, penalty: float = PENALTY) -> Floats:
    """The vectors W (3, 2) that fit densities (n, 3) best, from the reference's as a start."""
    vectors = REFERENCE.vectors / np.linalg.norm(REFERENCE.vectors, axis=0)
    for _ in range(_MOST_ROUNDS):
        found = sparse_concentrations(densities, vectors, penalty)
        often, seen = found.T @ found, densities.T @ found  # (2, 2), (3, 2)
        before, vectors = vectors, vectors.copy()
        for stain in range(2):
            if often[stain, stain] < _TINY:
                continue  # no pixel holds it; the check afterwards says so
            step = (seen[:, stain] - vectors @ often[:, stain]) / often[stain, stain]
            vector = np.maximum(vectors[:, stain] + step, 0)
            vectors[:, stain] = vector / max(np.linalg.norm(vector), 1.0)
        if np.abs(vectors - before).max() < _SETTLED:
            break
    return np.asarray(vectors)


def sparse_concentrations(densities: Floats, vectors: Floats, penalty: float) -> Floats:
    """The non-negative h (n, 2) with the least ``|v - W h|^2 / 2 + penalty * sum(h)``.

    Where the solution without bounds is negative in one stain, the best one has none of it.
    """
    gram = vectors.T @ vectors
    pull = densities @ vectors - penalty  # (n, 2)
    determinant = gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2
    alone = np.maximum(pull / np.maximum(np.diagonal(gram), _TINY), 0)
    if determinant < _TINY:  # parallel: either stain explains what both would
        alone[:, 1] = 0
        return alone
    both = (
        np.column_stack(
            [
                gram[1, 1] * pull[:, 0] - gram[0, 1] * pull[:, 1],
                gram[0, 0] * pull[:, 1] - gram[0, 1] * pull[:, 0],
            ]
        )
        / determinant
    )
    gain = alone * pull / 2  # what one stain by itself takes off the objective
    first = gain[:, 0] >= gain[:, 1]
    one = np.where(np.column_stack([first, ~first]), alone, 0.0)
    return np.where((both >= 0).all(axis=1)[:, None], both, one)
