"""Distances between two outlines of a class, in microns.

References
----------
Heimann et al. (2009), doi:10.1109/TMI.2009.2013851, for the average symmetric surface distance.
Huttenlocher, Klanderman & Rucklidge (1993), doi:10.1109/34.232073, for Hausdorff's at a quantile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    found: NDArray[np.int32], wanted: NDArray[np.int32], mpp: float
) -> SurfaceDistances | None:
    """Distances between two outlines; None where one of them is empty.

    Parameters
    ----------
    found, wanted : shapes (n, 2), (m, 2)
        Row and column of their pixels; see :class:`models.evaluation.outlines.OutlineTrace`.
    mpp
        Microns per pixel.
    """
    from scipy.spatial import KDTree

    if not (len(found) and len(wanted)):
        return None
    to_wanted = KDTree(wanted).query(found)[0] * mpp
    to_found = KDTree(found).query(wanted)[0] * mpp
    return SurfaceDistances(
        average_um=float((to_wanted.sum() + to_found.sum()) / (len(to_wanted) + len(to_found))),
        hausdorff_um=float(max(to_wanted.max(), to_found.max())),
        hausdorff_95_um=float(
            max(np.percentile(to_wanted, _QUANTILE), np.percentile(to_found, _QUANTILE))
        ),
    )
