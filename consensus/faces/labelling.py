"""Which of a rater's annotations wins on a face, and whether the rater has rated it at all.

Every annotation of every rater has a rank, and where several of one rater cover a face the lowest
rank wins: the rule for overlaps is the order of the ranks and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry

__all__ = ["NO_CLASS", "LabelStack", "Labels"]

Ints = NDArray[np.integer[Any]]

NO_CLASS = np.iinfo(np.int64).max
"""In place of a rank: none of the rater's annotations covers the face."""

BLOCK_PAIRS = 1 << 19
"""Pairs of a polygon and a face that are looked at together."""

POLYGON = 3  # shapely.get_type_id

EQUAL_AREA = 1e-9
"""Relative difference up to which two annotations are equally large: the same outline, begun at
another vertex, sums up to another last digit."""


@dataclass(frozen=True)
class Labels:
    """What each rater says on each face of one window.

    ``rank`` (n_faces, n_raters) is the winning annotation, or ``NO_CLASS``; ``rated`` (the same
    shape) whether the face lies in the rater's domain; ``ties`` (n, 2) are pairs of ranks, a
    winner and an equally large loser of another class.
    """

    rank: NDArray[np.int64]
    rated: NDArray[np.bool_]
    ties: NDArray[np.int64]


@dataclass(frozen=True)
class LabelStack:
    """The single polygons of all raters' annotations and domains.

    Shapes: N polygons, A annotations, R raters.

    ``polygons`` (N,); ``owner`` (N,) is r for an annotation of rater r, R + r for this rater's
    domain, 2 R for the extent; ``rank`` (N,) the annotation's rank, 0 for domains; ``code``,
    ``tie`` and ``rater_of_rank`` (A,) give, by rank, the class, the group of equally large
    annotations, and whose it is. ``bounded``
    (R,) marks the raters who have a domain of their own; ``limited`` says that there is an extent.
    """

    polygons: NDArray[np.object_]
    owner: NDArray[np.int64]
    rank: NDArray[np.int64]
    code: NDArray[np.int64]
    tie: NDArray[np.int64]
    rater_of_rank: NDArray[np.int64]
    bounded: NDArray[np.bool_]
    limited: bool

    @classmethod
    def of(
        cls,
        geometries: Sequence[NDArray[np.object_]],
        codes: Sequence[NDArray[np.int32]],
        *,
        domains: Sequence[Geometry | None],
        extent: Geometry | None,
        smaller_wins: bool,
    ) -> LabelStack:
        """Stack up the layers of one slide, one entry of each sequence per rater."""
        n_raters = len(geometries)
        polygons, owner, rank = [], [], []
        ranked_codes, ranked_ties = [], []
        n_ranked = n_ties = 0
        for rater, (shapes, classes) in enumerate(zip(geometries, codes, strict=True)):
            order, tie = _order(shapes, np.asarray(classes, dtype=np.int64), smaller_wins)
            ranked_codes.append(np.asarray(classes, dtype=np.int64)[order])
            ranked_ties.append(tie[order] + n_ties)
            rank_of = np.empty(len(order), dtype=np.int64)
            rank_of[order] = np.arange(len(order)) + n_ranked
            n_ranked += len(order)
            n_ties += len(order)
            parts, of = _single_polygons(np.asarray(shapes, dtype=object))
            polygons.append(parts)
            owner.append(np.full(len(parts), rater))
            rank.append(rank_of[of])
        limits = [(n_raters + r, d) for r, d in enumerate(domains) if d is not None]
        if extent is not None:
            limits.append((2 * n_raters, extent))
        for number, area in limits:
            parts = shapely.get_parts(area)
            polygons.append(parts)
            owner.append(np.full(len(parts), number))
            rank.append(np.zeros(len(parts), dtype=np.int64))
        return cls(
            polygons=_joined(polygons, object),
            owner=_joined(owner, np.int64),
            rank=_joined(rank, np.int64),
            code=_joined(ranked_codes, np.int64),
            tie=_joined(ranked_ties, np.int64),
            rater_of_rank=np.repeat(np.arange(n_raters), [len(c) for c in codes]),
            bounded=np.array([d is not None for d in domains], dtype=bool),
            limited=extent is not None,
        )

    def labels(self, source: Ints, face: Ints, n_faces: int) -> Labels:
        """Say what each rater says, given which polygon (``source``) covers which ``face``."""
        n_raters = len(self.bounded)
        rank = np.full((n_faces, n_raters), NO_CLASS, dtype=np.int64)
        rated = np.broadcast_to(~self.bounded, (n_faces, n_raters)).copy()
        inside = np.full(n_faces, not self.limited)
        blocks = [slice(at, at + BLOCK_PAIRS) for at in range(0, len(source), BLOCK_PAIRS)]
        for block in blocks:
            owner, at = self.owner[source[block]], face[block]
            drawn = owner < n_raters
            place = at[drawn] * n_raters + owner[drawn]
            np.minimum.at(rank.reshape(-1), place, self.rank[source[block][drawn]])
            domain = (owner >= n_raters) & (owner < 2 * n_raters)
            rated[at[domain], owner[domain] - n_raters] = True
            inside[at[owner == 2 * n_raters]] = True
        rated &= inside[:, None]
        ties = [self._ties(source[block], face[block], rank) for block in blocks]
        none = np.empty((0, 2), dtype=np.int64)
        return Labels(rank, rated, np.unique(np.concatenate([none, *ties]), axis=0))

    def _ties(self, source: Ints, face: Ints, rank: NDArray[np.int64]) -> NDArray[np.int64]:
        """Winners, and annotations as large and of another class that lose to them."""
        owner = self.owner[source]
        drawn = owner < len(self.bounded)
        winner, loser = rank[face[drawn], owner[drawn]], self.rank[source[drawn]]
        tied = (self.tie[winner] == self.tie[loser]) & (self.code[winner] != self.code[loser])
        return np.unique(np.stack([winner[tied], loser[tied]], axis=1), axis=0)


def _order(
    shapes: NDArray[np.object_], codes: NDArray[np.int64], smaller_wins: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Annotations from the one that wins over all others to the one that never does.

    And the number of each one's group of equally large annotations, in the given order.
    """
    if not smaller_wins:
        return np.argsort(codes, kind="stable"), np.arange(len(codes))
    area_px2 = shapely.area(shapes)
    rising = np.argsort(area_px2, kind="stable")
    sizes = area_px2[rising]
    larger = np.diff(sizes, prepend=sizes[:1]) > EQUAL_AREA * sizes
    tie = np.empty(len(codes), dtype=np.int64)
    tie[rising] = np.cumsum(larger)
    return np.lexsort((codes, tie)), tie


def _single_polygons(
    shapes: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Polygons, those inside multipolygons among them, and the index of the shape of each.

    Single polygons stay the objects that they are: ``shapely.get_parts`` copies their vertices.
    """
    single = shapely.get_type_id(shapes) == POLYGON
    parts, of = shapely.get_parts(shapes[~single], return_index=True)
    index = np.concatenate([np.flatnonzero(single), np.flatnonzero(~single)[of]])
    return np.concatenate([shapes[single], parts]), index


def _joined(arrays: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    joined: NDArray[Any] = np.concatenate([np.empty(0, dtype=dtype), *arrays]).astype(dtype)
    return joined
