"""Neighbouring disputes as one place: what an adjudicator sees at a glance and decides together.

A dispute stays what is decided, by its region and label pattern; a viewing region says only which
disputes lie side by side. Disputes that share a border belong to one region, as far as it fits
into a field of view: a chain of touching faces across the slide is many places, not one.

Frame: level-0 pixels, origin top left.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.queue.shared_borders import shared_borders

__all__ = ["FIELD_UM", "viewing_regions"]

FIELD_UM = 2000.0
"""Longest side of a region's bounding box: about the field of a microscope at a 10x objective."""


def viewing_regions(polygons: NDArray[np.object_], field_px: float) -> NDArray[np.int64]:
    """Number the regions that disputes of one slide form.

    A connected region that is wider or higher than the field is halved across its longer side:
    each dispute goes with the half in which the centre of its bounding box lies, and what is no
    longer connected becomes several regions. That is repeated until each fits. A dispute that is
    larger than the field by itself is a region of its own.

    Parameters
    ----------
    polygons : shape (n,)
        Disputes; they share borders vertex by vertex.
    field_px
        Longest side of a region's bounding box.

    Returns
    -------
    shape (n,)
        The region of each, counted from 0 in the order of the polygons. Which disputes form a
        region depends on where they lie alone.
    """
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    alone = (bounds[:, 2:] - bounds[:, :2]).max(axis=1) > field_px
    centre = (bounds[:, :2] + bounds[:, 2:]) / 2
    borders = shared_borders(polygons)
    first, second = borders.first, borders.second
    kept = ~(alone[first] | alone[second])
    while True:
        first, second = first[kept], second[kept]
        region = _connected(len(polygons), first, second)
        low, high = _spread(bounds[:, :2], bounds[:, 2:], region)
        inner, outer = _spread(centre, centre, region)
        wide = ((high - low).max(axis=1) > field_px)[region] & ~alone
        if not wide.any():
            return _numbered(region)
        # Across the longer side of the centres' box: both halves then hold a dispute.
        axis = (outer - inner).argmax(axis=1)[region]
        row = np.arange(len(polygons))
        middle = ((inner + outer) / 2)[region, axis]
        beyond = centre[row, axis] > middle
        at_one_place = (inner == outer).all(axis=1)[region]
        kept = ~wide[first] | ((beyond[first] == beyond[second]) & ~at_one_place[first])


def _connected(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n, n))
    return np.asarray(connected_components(pairs, directed=False)[1], dtype=np.int64)


def _spread(
    low: NDArray[np.float64], high: NDArray[np.float64], region: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least of ``low`` and greatest of ``high`` (n, 2) in each region."""
    n_regions = int(region.max(initial=-1)) + 1
    least, greatest = np.full((n_regions, 2), np.inf), np.full((n_regions, 2), -np.inf)
    np.minimum.at(least, region, low)
    np.maximum.at(greatest, region, high)
    return least, greatest


def _numbered(region: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same regions, counted from 0 in the order in which they come first."""
    _, first, of_each = np.unique(region, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return np.asarray(place[of_each], dtype=np.int64)
