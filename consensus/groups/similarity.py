"""Which objects of different raters may be one and the same, and how much speaks for it.

Two objects with area are compared by intersection over union, any others by the distance of their
centroids. Within the threshold they are compatible, and their similarity speaks for putting them
into one group; a pair that misses the threshold speaks against it, the more the further off.
Weights are counted in billionths, so that sums of them don't depend on their order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.groups.outlines import MOST_VERTICES, Outlines
from consensus.groups.places import places
from consensus.groups.star_overlap import common_area_px2

__all__ = ["UNIT", "Pairs", "in_parts", "near_pairs"]

UNIT = 1_000_000_000
"""What two objects that are the same add; two that have nothing in common take it off."""

CHUNK = 10_000
"""Objects whose neighbours are looked up at a time: enough to be fast, few enough to be small."""


@dataclass(frozen=True)
class Pairs:
    """Objects of different raters that are near each other, as indices, ``one`` < ``other``.

    ``weight`` is what the pair adds to a group: the similarity (intersection over union, or
    ``1 - d / (2 distance_px)``) if it is compatible; else from 0, just beyond the threshold, down
    to minus ``UNIT``, at half the overlap or twice the distance. Pairs further off than that, all
    at minus ``UNIT``, are listed only where a lower ``least_iou`` asks for them.

    ``iou`` is the intersection over union, NaN where one of the two has no area; there ``away_px``
    is the distance of the centroids, elsewhere NaN.
    """

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    weight: NDArray[np.int64]
    iou: NDArray[np.float64]
    away_px: NDArray[np.float64]

    def within(self, *, iou: float, distance_px: float) -> NDArray[np.bool_]:
        """Which pairs are compatible at other thresholds, up to rounding; shape (n_pairs,)."""
        near = self.away_px <= distance_px * (1 + 0.5 / UNIT)
        within: NDArray[np.bool_] = near | (self.iou >= iou - 0.5 / UNIT)
        return within


def in_parts(
    measure: Callable[[NDArray[np.object_]], NDArray[np.float64]],
    geometries: NDArray[np.object_],
    threads: int,
) -> NDArray[np.float64]:
    """Measure geometries, a part of them in each thread."""
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(measure, np.array_split(geometries, threads))))


def near_pairs(
    geometries: NDArray[np.object_],
    rater: NDArray[np.int64],
    area_px2: NDArray[np.float64],
    centre_px: NDArray[np.float64],
    *,
    iou: float,
    distance_px: float,
    least_iou: float,
    threads: int,
) -> Pairs:
    """Find the pairs of objects of different raters that are compatible, or nearly so.

    Parameters
    ----------
    geometries : shape (n,)
        Points, lines and valid polygons, none empty.
    rater : shape (n,)
        Whose object it is.
    area_px2 : shape (n,)
    centre_px : shape (n, 2)
        Centroids.
    iou
        Least intersection over union of two compatible objects with area.
    distance_px
        Largest distance of two compatible objects' centroids, where one of them has no area.
    least_iou
        List every pair that overlaps so much, also where it is far below ``iou``.
    """
    areal, placed = np.flatnonzero(area_px2 > 0), np.flatnonzero(area_px2 == 0)
    shapes = geometries[areal]
    bounds_px = in_parts(shapely.bounds, shapes, threads).reshape(-1, 4)
    overlapping = _Overlapping(shapes, rater[areal], area_px2[areal], bounds_px, iou, least_iou)
    with ThreadPoolExecutor(threads) as pool:
        try:
            found = overlapping.pairs(pool)
        except shapely.GEOSException as error:
            bad = areal[~shapely.is_valid(geometries[areal])]
            which = f"object {bad[0]}" if bad.size else "an object"
            raise InputError(f"{which} is no valid polygon ({error}); repair it first") from error
    del overlapping  # the tree, and what the boxes have in common
    pairs = [(areal[one], areal[other], *values) for one, other, *values in found]
    del found
    if placed.size:
        pairs.append(_near(centre_px, placed, areal, rater, distance_px))
    none, nothing = np.empty(0, dtype=np.int64), np.empty(0)
    columns = zip((none, none, none, nothing, nothing), *pairs, strict=True)
    one, other, weight, share, away_px = (np.concatenate(column) for column in columns)
    return Pairs(np.minimum(one, other), np.maximum(one, other), weight, share, away_px)


Columns = tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
]
"""As in ``Pairs``."""


Near = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Two objects, what their bounding boxes share, and the most that their overlap can be."""


class _Overlapping:
    """Finds the pairs of objects with area that overlap enough."""

    def __init__(
        self,
        shapes: NDArray[np.object_],
        rater: NDArray[np.int64],
        area_px2: NDArray[np.float64],
        bounds_px: NDArray[np.float64],
        iou: float,
        least_iou: float,
    ) -> None:
        self.shapes, self.rater, self.area_px2, self.bounds_px = shapes, rater, area_px2, bounds_px
        self.iou, self.least_iou = iou, min(least_iou, iou / 2)
        # A polygon that fills its bounding box is that box, and needs no clipping.
        box_px2 = np.prod(self.bounds_px[:, 2:] - self.bounds_px[:, :2], axis=1)
        self.is_box = np.isclose(area_px2, box_px2, rtol=1e-12, atol=0)
        self.tree = shapely.STRtree(shapes)

    def pairs(self, pool: ThreadPoolExecutor) -> list[Columns]:
        """All pairs that overlap enough, some thousands of objects at a time."""
        n = len(self.shapes)
        found = list(pool.map(self._looked_up, range(0, n, CHUNK)))
        none, nothing = np.empty(0, dtype=np.int64), np.empty(0)
        columns = zip((none, none, nothing, nothing), *found, strict=True)
        one, other, boxes_px2, likeness = (np.concatenate(column) for column in columns)
        del found, columns
        length = np.minimum(shapely.get_num_coordinates(self.shapes), MOST_VERTICES)
        place = places(one, other, likeness, length)
        del likeness
        # Pairs of one place are measured at a time.
        at = np.where((place[one] == place[other]) & (place[one] >= 0), place[one], one)
        order = np.argsort(at, kind="stable")
        cuts = np.searchsorted(at[order], np.arange(0, n + CHUNK, CHUNK)).tolist()
        chunks = [order[i:j] for i, j in itertools.pairwise(cuts)]

        def measured(chunk: NDArray[np.int64]) -> Columns:
            return self._measured(one[chunk], other[chunk], boxes_px2[chunk], place)

        return list(pool.map(measured, chunks))

    def _looked_up(self, first: int) -> Near:
        """Pairs whose bounding boxes and areas leave room for enough overlap."""
        area_px2, bounds_px = self.area_px2, self.bounds_px
        one, other = self.tree.query(self.shapes[first : first + CHUNK])
        one = one + first
        good = (one < other) & (self.rater[one] != self.rater[other])
        one, other = one[good], other[good]
        low = np.maximum(bounds_px[one, :2], bounds_px[other, :2])
        high = np.minimum(bounds_px[one, 2:], bounds_px[other, 2:])
        boxes_px2 = np.prod(np.maximum(high - low, 0), axis=1)
        most_px2 = np.minimum(boxes_px2, np.minimum(area_px2[one], area_px2[other]))
        likeness = most_px2 / (area_px2[one] + area_px2[other] - most_px2)
        good = likeness >= self.least_iou
        return one[good], other[good], boxes_px2[good], likeness[good]

    def _measured(
        self,
        one: NDArray[np.int64],
        other: NDArray[np.int64],
        common_px2: NDArray[np.float64],
        place: NDArray[np.int64],
    ) -> Columns:
        """Pairs that overlap enough, given what their bounding boxes have in common."""
        curved = ~(self.is_box[one] & self.is_box[other])
        ends = one[curved], other[curved]
        needed = np.zeros(len(self.shapes), dtype=bool)
        for end in ends:
            needed[end] = True
        number = np.cumsum(needed) - 1
        outlines, ends = Outlines.of(self.shapes[needed]), (number[ends[0]], number[ends[1]])
        total_px2 = self.area_px2[one] + self.area_px2[other]
        # Of neighbours that only touch, the octagons show that they have too little in common.
        most_px2 = outlines.most_common_px2(*ends) * (1 + 1 / UNIT)
        able = most_px2 >= self.least_iou * (total_px2[curved] - most_px2)
        curved, ends = np.flatnonzero(curved), (ends[0][able], ends[1][able])
        common_px2[curved] = 0
        common_px2[curved[able]] = common_area_px2(outlines, *ends, place[needed])
        share = common_px2 / (total_px2 - common_px2)
        weight = _weighed(share, self.iou, lambda x: x, self.iou / 2)
        listed = (weight > -UNIT) | (share >= self.least_iou)
        columns = one[listed], other[listed], weight[listed], share[listed]
        return *columns, np.full(len(columns[0]), np.nan)


def _near(
    centre_px: NDArray[np.float64],
    placed: NDArray[np.int64],
    areal: NDArray[np.int64],
    rater: NDArray[np.int64],
    distance_px: float,
) -> Columns:
    """Pairs of centroids that are near enough, at least one of them of an object without area."""
    from scipy.spatial import cKDTree

    reach_px = 2 * distance_px + 1 / UNIT
    tree = cKDTree(centre_px[placed])
    pairs = tree.query_pairs(reach_px, output_type="ndarray")
    found = [(placed[pairs[:, 0]], placed[pairs[:, 1]])]
    if areal.size:
        mixed = tree.sparse_distance_matrix(
            cKDTree(centre_px[areal]), reach_px, output_type="ndarray"
        )
        found.append((placed[mixed["i"]], areal[mixed["j"]]))
    one, other = (np.concatenate(column) for column in zip(*found, strict=True))
    apart = rater[one] != rater[other]
    one, other = one[apart], other[apart]
    away_px = np.hypot(*(centre_px[one] - centre_px[other]).T)
    # As a share of the distance, the other way round: 1 at the same place, 0 at the threshold.
    near = 1 - away_px / distance_px if distance_px > 0 else np.ones(len(one))
    weight = _weighed(near, 0.0, lambda x: (1 + x) / 2, -1.0)
    listed = weight > -UNIT
    columns = one[listed], other[listed], weight[listed]
    return *columns, np.full(len(columns[0]), np.nan), away_px[listed]


def _weighed(
    value: NDArray[np.float64],
    threshold: float,
    similarity: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    nothing: float,
) -> NDArray[np.int64]:
    """Weigh pairs by a value that rises with likeness.

    Compatible ones, at ``threshold`` or above up to rounding, by their similarity; the others by
    how far they are on the way down to ``nothing``, at minus ``UNIT``.
    """
    compatible = value >= threshold - 0.5 / UNIT
    short = np.clip((threshold - value) / (threshold - nothing), 0, 1)
    weight: NDArray[np.int64] = np.rint(
        UNIT * np.where(compatible, similarity(value), -short)
    ).astype(np.int64)
    weight[compatible] = np.maximum(weight[compatible], 1)
    return weight
