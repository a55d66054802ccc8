"""Objects of several raters on one slide, grouped into those that are one and the same.

A group holds at most one object of each rater. Objects that bear the same UUID in several reads
are one object from the start. Beyond that two objects are compatible if they overlap enough, where
both have an area, or if their centroids are near enough, where one of them has none.

Among all groupings the one is sought in which the pairs inside groups add up to the most. A
compatible pair adds its similarity: the intersection over union, or ``1 - d / (2 distance_px)`` of
centroids at distance d. Any other pair takes something off: from nothing just beyond the threshold
to 1 at half the overlap, or at twice the distance, and beyond. So an object belongs to a group
with which it agrees on the whole, also where it misses the threshold with some of its members by
a hair; and a chain of neighbours, each compatible with the next only, is parted. Pairs matched by
UUID are not counted.

For two raters this is the assignment of compatible pairs of the largest similarity, found exactly
at any size. From three raters on it is NP-hard, and ``consensus.groups.grouping`` says what is done. The
order of raters, and that of the objects in a read, has no say in the groups.

Groups are the items of agreement and consensus. F1 at the threshold itself is that of
``consensus.comparing.found_by_both``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.groups.grouping import MOST_EXACT, group_nodes
from consensus.groups.similarity import UNIT, Pairs, in_parts, near_pairs
from consensus.groups.similarity_graph import SimilarityGraph
from consensus.processors import processors

__all__ = [
    "ABSENT",
    "EXACT_LIMIT",
    "Candidates",
    "Matches",
    "ObjectLayer",
    "group_candidates",
    "match_objects",
]

ABSENT = -1
"""In a group: this rater has no such object."""

EXACT_LIMIT = 12
"""Objects of a crowd of three raters or more up to which it is solved exactly, unless told."""


@dataclass(frozen=True)
class ObjectLayer:
    """One rater's objects on one slide: points, lines or valid polygons, in level-0 pixels."""

    rater: str
    uuids: Sequence[str]
    geometries: NDArray[np.object_]


@dataclass(frozen=True)
class Matches:
    """Groups of objects, from the top of the slide to its bottom.

    ``groups`` (n_groups, n_raters) holds the index of each rater's object in the layer, or
    ``ABSENT``; every object stands in exactly one group. ``objective`` is what the pairs inside
    groups add up to; no grouping has more than ``bound``. ``n_exact`` and ``n_heuristic`` count
    the connected components of compatible objects.
    """

    raters: tuple[str, ...]
    groups: NDArray[np.int64]
    objective: float
    bound: float
    n_exact: int
    n_heuristic: int

    @property
    def gap(self) -> float:
        """Share of the bound that the grouping may be short of the best one."""
        return 0.0 if self.bound == 0 else (self.bound - self.objective) / self.bound


@dataclass(frozen=True)
class Candidates:
    """All raters' objects in one row, from the top of the slide to its bottom, and near pairs.

    Of each object its ``geometries``, its ``rater``, its ``index`` in the rater's layer, and its
    ``node``: a number that objects share if they share a UUID. Neither the numbers of nodes nor
    their order depend on the order of raters. ``pairs`` are of objects of different raters.
    """

    raters: tuple[str, ...]
    geometries: NDArray[np.object_]
    rater: NDArray[np.int64]
    index: NDArray[np.int64]
    node: NDArray[np.int64]
    pairs: Pairs

    @classmethod
    def of(
        cls,
        layers: Sequence[ObjectLayer],
        *,
        iou: float,
        distance_px: float,
        least_iou: float = 1.0,
        threads: int | None = None,
    ) -> Candidates:
        """Find the pairs of objects that are compatible, or nearly so.

        Parameters
        ----------
        layers
            One read of the slide per rater.
        iou
            Least intersection over union of two objects with area; above 0 and at most 1.
        distance_px
            Largest distance of centroids where one object or both have no area.
        least_iou
            List all pairs that overlap so much, for lower thresholds than ``iou``.
        threads
            Threads that measure and compare polygons; None takes the processors that there are. It changes
            nothing else.

        Raises
        ------
        InputError
            An empty geometry, an invalid polygon, a UUID that stands twice in one read, or a
            limit that can't be used.
        """
        for share in (iou, least_iou):
            if not 0 < share <= 1:
                raise InputError(f"iou {share} can't be used; take a share above 0 and at most 1")
        if not (distance_px >= 0 and np.isfinite(distance_px)):
            raise InputError(f"distance of {distance_px} px can't be used; take 0 px or more")
        if threads is not None and threads < 1:
            raise InputError(f"{threads} threads can't work; take 1 or more, or None")
        for layer in layers:
            _check(layer)
        sizes = [len(layer.uuids) for layer in layers]
        rater = np.repeat(np.arange(len(layers)), sizes)
        index = np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(n) for n in sizes)])
        shapes = [np.asarray(layer.geometries, dtype=object) for layer in layers]
        geometries = np.concatenate([np.empty(0, dtype=object), *shapes])
        threads = threads or processors()
        area_px2 = in_parts(shapely.area, geometries, threads)
        centre_px = in_parts(_centres, geometries, threads)
        node = _nodes([uuid for layer in layers for uuid in layer.uuids], centre_px, area_px2)
        order = np.argsort(node, kind="stable")
        geometries, rater = geometries[order], rater[order]
        pairs = near_pairs(
            geometries,
            rater,
            area_px2[order],
            centre_px[order],
            iou=iou,
            distance_px=distance_px,
            least_iou=least_iou,
            threads=threads,
        )
        names = tuple(layer.rater for layer in layers)
        return cls(names, geometries, rater, index[order], node[order], pairs)


def match_objects(
    layers: Sequence[ObjectLayer],
    *,
    iou: float,
    distance_px: float,
    exact_limit: int = EXACT_LIMIT,
    threads: int | None = None,
) -> Matches:
    """Group the objects of several raters; ``Candidates.of`` and ``group_candidates`` in one."""
    candidates = Candidates.of(layers, iou=iou, distance_px=distance_px, threads=threads)
    return group_candidates(candidates, exact_limit=exact_limit)


def group_candidates(candidates: Candidates, *, exact_limit: int = EXACT_LIMIT) -> Matches:
    """Group objects whose pairs are known.

    Parameters
    ----------
    exact_limit
        Most objects of a connected component that is solved exactly though three raters or more
        have a part in it.

    Raises
    ------
    InputError
        An exact limit that can't be used.
    """
    if not 0 <= exact_limit <= MOST_EXACT:
        raise InputError(f"exact limit {exact_limit} can't be used; take 0 to {MOST_EXACT}")
    pairs, node, n_raters = candidates.pairs, candidates.node, len(candidates.raters)
    n_nodes = int(node.max(initial=-1)) + 1
    raters = np.zeros((n_nodes, n_raters), dtype=bool)
    raters[node, candidates.rater] = True
    near = pairs.weight > -UNIT
    graph = SimilarityGraph.of(
        node[pairs.one[near]], node[pairs.other[near]], pairs.weight[near] + UNIT, raters
    )
    grouping = group_nodes(graph, exact_limit)
    n_groups = int(grouping.group.max(initial=-1)) + 1
    groups = np.full((n_groups, n_raters), ABSENT, dtype=np.int64)
    groups[grouping.group[node], candidates.rater] = candidates.index
    return Matches(
        raters=candidates.raters,
        groups=groups,
        objective=grouping.weight / UNIT,
        bound=grouping.bound / UNIT,
        n_exact=grouping.n_exact,
        n_heuristic=grouping.n_heuristic,
    )


def _check(layer: ObjectLayer) -> None:
    name, uuids, geometries = layer.rater, layer.uuids, np.asarray(layer.geometries)
    if len(uuids) != len(geometries):
        raise InputError(
            f"rater {name!r} has {len(uuids)} UUIDs and {len(geometries)} geometries; "
            "give one UUID per geometry"
        )
    if len(set(uuids)) < len(uuids):
        seen: set[str] = set()
        twice = next(u for u in uuids if u in seen or seen.add(u))  # type: ignore[func-returns-value]
        raise InputError(f"rater {name!r} has two objects with UUID {twice!r}; leave one out")
    if len(geometries):
        bad = np.flatnonzero(shapely.is_missing(geometries) | shapely.is_empty(geometries))
        if bad.size:
            raise InputError(
                f"object {uuids[bad[0]]!r} of rater {name!r} has no geometry; leave it out"
            )


def _centres(geometries: NDArray[np.object_]) -> NDArray[np.float64]:
    """Centroids, (n, 2)."""
    centre_px: NDArray[np.float64] = shapely.get_coordinates(shapely.centroid(geometries))
    return centre_px


def _nodes(
    uuids: list[str], centre_px: NDArray[np.float64], area_px2: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Number the objects by place, those that share a UUID alike.

    From top to bottom and left to right, then by area, then by UUID: an order in which raters
    have no part.
    """
    if not uuids:
        return np.empty(0, dtype=np.int64)
    numbers = {uuid: number for number, uuid in enumerate(dict.fromkeys(uuids))}
    same = np.fromiter(map(numbers.__getitem__, uuids), dtype=np.int64, count=len(uuids))
    x, y = centre_px.T
    order = np.lexsort((area_px2, x, y))
    place = np.stack([y, x, area_px2], axis=1)[order]
    level = (place[1:] == place[:-1]).all(axis=1)
    tied = np.append(level, False) | np.append(False, level)
    if tied.any():
        by_uuid = np.zeros(len(order), dtype=np.int64)
        twins = order[tied]
        _, by_uuid[twins] = np.unique(np.array([uuids[i] for i in twins]), return_inverse=True)
        order = np.lexsort((by_uuid, area_px2, x, y))
    # Objects that share a UUID stand where the first of them stands.
    _, first = np.unique(same[order], return_index=True)
    node = np.empty(len(numbers), dtype=np.int64)
    node[np.argsort(first)] = np.arange(len(numbers))
    by_object: NDArray[np.int64] = node[same]
    return by_object
