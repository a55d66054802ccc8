"""Clean polygons of a consensus: one coverage of class regions, without slivers.

What bears one class and touches is one region. A region below a least area is given to the
neighbour that it shares the longest border with, the smallest first, until none is left that has a
neighbour. Borders between regions stay shared vertex by vertex, and no area is lost: what moved
from one class to another is added up.

Frame: level-0 pixels, origin top left; areas in square pixels.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from annotation.errors import InputError
from consensus.faces.outlines import GRID_PX
from consensus.queue.shared_borders import is_edge_matched, shared_borders

__all__ = ["UNLABELLED", "ClassRegions", "class_regions"]

UNLABELLED = -1
"""Label of what was rated and bears no class: it is a region like those of a class."""


@dataclass(frozen=True, eq=False)
class ClassRegions:
    """Regions that cover what was rated without gap or overlap.

    Shapes: N regions, by label and then from top to bottom and from left to right.

    ``polygons`` (N,) are single polygons; ``labels`` (N,) their class codes or ``UNLABELLED``;
    ``moved_px2`` (N,) is the area that slivers of another label brought. ``n_moved`` counts those
    slivers.
    """

    polygons: NDArray[np.object_]
    labels: NDArray[np.int64]
    moved_px2: NDArray[np.float64]
    n_moved: int


def class_regions(
    geometries: ArrayLike, labels: Sequence[int], *, min_area_px2: float = 0.0
) -> ClassRegions:
    """Dissolve regions by class and give slivers to their longest neighbour.

    Parameters
    ----------
    geometries : shape (n,)
        Polygons and multipolygons with disjoint interiors. Where they don't share their borders
        vertex by vertex, vertices are added and moved by less than the grid of the overlay.
    labels : length n
        Class codes from 0 on, or ``UNLABELLED``.
    min_area_px2
        A region below this area is a sliver.

    Returns
    -------
    ClassRegions
        The same however the geometries are ordered. A sliver that shares no border stays.
    """
    shapes, codes = np.asarray(geometries, dtype=object), np.asarray(labels, dtype=np.int64)
    if len(shapes) != len(codes):
        raise InputError(
            f"{len(shapes)} geometries and {len(codes)} labels; give one label per geometry"
        )
    if not min_area_px2 >= 0:
        raise InputError(f"a least area of {min_area_px2} px2 can't be; give 0 or more")
    pieces, owner = shapely.get_parts(shapes, return_index=True)
    solid = shapely.area(pieces) > 0
    parts, label = _dissolved(*_as_coverage(pieces[solid], codes[owner[solid]]))
    area_px2 = shapely.area(parts)
    absorbed = _Absorption(parts, label, area_px2)
    absorbed.run(min_area_px2)
    region = np.array([absorbed.root(part) for part in range(len(parts))], dtype=np.int64)
    moved = absorbed.label[region] != label
    roots, of_part = np.unique(region, return_inverse=True)
    polygons = parts[roots]
    crowded = np.flatnonzero(np.bincount(of_part, minlength=len(roots)) > 1)
    members = np.split(np.argsort(of_part, kind="stable"), np.cumsum(np.bincount(of_part))[:-1])
    for number in crowded:
        polygons[number] = shapely.normalize(shapely.coverage_union_all(parts[members[number]]))
    order = _reading_order(polygons, absorbed.label[roots])
    moved_px2 = np.bincount(of_part, weights=area_px2 * moved, minlength=len(roots))
    return ClassRegions(
        polygons=polygons[order],
        labels=absorbed.label[roots][order],
        moved_px2=moved_px2[order].astype(np.float64),
        n_moved=int(moved.sum()),
    )


def _as_coverage(
    pieces: NDArray[np.object_], label: NDArray[np.int64]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The same pieces, cut so that neighbours share their borders vertex by vertex."""
    if is_edge_matched(pieces):
        return pieces, label
    lines = shapely.union_all(shapely.boundary(pieces), grid_size=GRID_PX)
    faces = shapely.get_parts(shapely.polygonize([lines]))
    inside = shapely.STRtree(pieces).query(shapely.point_on_surface(faces), "within")
    face, code = inside[0], label[inside[1]]
    order = np.lexsort((code, face))
    face, first = np.unique(face[order], return_index=True)  # a gap lies in no piece
    return faces[face], code[order][first]


def _dissolved(
    pieces: NDArray[np.object_], label: NDArray[np.int64]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Connected parts of each label, in an order that their places decide."""
    parts, of_part = [np.empty(0, dtype=object)], [np.empty(0, dtype=np.int64)]
    for code in np.unique(label):
        joined = shapely.get_parts(shapely.coverage_union_all(pieces[label == code]))
        parts.append(shapely.normalize(joined))
        of_part.append(np.full(len(joined), code))
    polygons, codes = np.concatenate(parts), np.concatenate(of_part)
    order = _reading_order(polygons, codes)
    return polygons[order], codes[order]


def _reading_order(polygons: NDArray[np.object_], label: NDArray[np.int64]) -> NDArray[np.int64]:
    x_min, y_min, x_max, y_max = shapely.bounds(polygons).reshape(-1, 4).T
    return np.lexsort((shapely.area(polygons), x_max, y_max, x_min, y_min, label))


class _Absorption:
    """Parts that take in their slivers, as a graph of neighbours that contracts.

    Two neighbours never bear one label: a part that takes over a sliver is joined with the
    sliver's other neighbours of its label as well.
    """

    def __init__(
        self, parts: NDArray[np.object_], label: NDArray[np.int64], area_px2: NDArray[np.float64]
    ) -> None:
        self.label = label.copy()
        self._area_px2 = area_px2.tolist()
        self._parent = list(range(len(parts)))
        self._border_px: list[dict[int, float]] = [{} for _ in parts]
        borders = shared_borders(parts)
        for one, other, length_px in zip(
            borders.first.tolist(),
            borders.second.tolist(),
            borders.length_px.tolist(),
            strict=True,
        ):
            self._border_px[one][other] = self._border_px[other][one] = length_px

    def root(self, part: int) -> int:
        """The part that this one has become a part of."""
        while self._parent[part] != part:
            self._parent[part] = self._parent[self._parent[part]]
            part = self._parent[part]
        return part

    def run(self, min_area_px2: float) -> None:
        """Give slivers away, the smallest first (of equal ones the first in reading order)."""
        slivers = [(a, part) for part, a in enumerate(self._area_px2) if a < min_area_px2]
        heapq.heapify(slivers)
        while slivers:
            area_px2, sliver = heapq.heappop(slivers)
            if self._parent[sliver] != sliver or self._area_px2[sliver] != area_px2:
                continue  # it was taken over, or has grown and stands in the heap again
            neighbours = self._border_px[sliver]
            if not neighbours:
                continue
            heir = max(neighbours, key=lambda n: (neighbours[n], self._area_px2[n], -n))
            label = self.label[heir]
            joining = [n for n in neighbours if self.label[n] == label]
            region = sliver
            for neighbour in sorted(joining):
                region = self._join(region, neighbour)
            self.label[region] = label
            if self._area_px2[region] < min_area_px2:
                heapq.heappush(slivers, (self._area_px2[region], region))

    def _join(self, one: int, other: int) -> int:
        """Contract two parts; the one with fewer neighbours goes into the other."""
        borders = self._border_px
        into, gone = one, other
        if (len(borders[into]), -into) < (len(borders[gone]), -gone):
            into, gone = gone, into
        self._parent[gone] = into
        self._area_px2[into] += self._area_px2[gone]
        for neighbour, length_px in borders[gone].items():
            del borders[neighbour][gone]
            if neighbour != into:
                total_px = borders[into].get(neighbour, 0.0) + length_px
                borders[into][neighbour] = borders[neighbour][into] = total_px
        borders[gone] = {}
        return into
