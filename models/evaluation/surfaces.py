"""Distances between the outlines of two masks, in microns.

The outline of a mask is made of its pixels that have a neighbour, along a row or column, outside of
it; beyond the edge of the picture there is nothing.

References
----------
Heimann et al. (2009), doi:10.1109/TMI.2009.2013851, for the average symmetric surface distance.
Huttenlocher, Klanderman & Rucklidge (1993), doi:10.1109/34.232073, for Hausdorff's at a quantile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError

__all__ = ["SurfaceDistances", "surface_distances"]

_QUANTILE = 95


@dataclass(frozen=True)
class SurfaceDistances:
    """How far two outlines are apart.

    Attributes
    ----------
    average_um
        Mean over the pixels of both outlines of the distance to the other outline.
    hausdorff_um
        The largest of these distances.
    hausdorff_95_um
        The larger one of the two directions' 95th percentiles.
    """

    average_um: float
    hausdorff_um: float
    hausdorff_95_um: float


def surface_distances(
    found: NDArray[np.bool_], wanted: NDArray[np.bool_], mpp: float
) -> SurfaceDistances | None:
    """Distances between two masks' outlines; None where one of them is empty.

    Parameters
    ----------
    found, wanted : shape (h, w)
    mpp
        Microns per pixel.

    Raises
    ------
    InputError
        Masks of different shapes.
    """
    from scipy.ndimage import distance_transform_edt

    if found.shape != wanted.shape or found.ndim != 2:
        raise InputError(f"masks of shapes {found.shape} and {wanted.shape}; give two of one shape")
    if not (found.any() and wanted.any()):
        return None
    one, other = _outline(found), _outline(wanted)
    to_wanted = distance_transform_edt(~other, sampling=mpp)[one]
    to_found = distance_transform_edt(~one, sampling=mpp)[other]
    return SurfaceDistances(
        average_um=float((to_wanted.sum() + to_found.sum()) / (len(to_wanted) + len(to_found))),
        hausdorff_um=float(max(to_wanted.max(), to_found.max())),
        hausdorff_95_um=float(
            max(np.percentile(to_wanted, _QUANTILE), np.percentile(to_found, _QUANTILE))
        ),
    )


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    inner: NDArray[np.bool_] = binary_erosion(mask)
    return mask & ~inner
