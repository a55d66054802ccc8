"""Objects of one slide as items: a group of matched objects is one, with a class by each rater."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.units import length_px
from consensus.comparing.detection import SlideDetection, Threshold
from consensus.matching import ABSENT, EXACT_LIMIT, Candidates, ObjectLayer, group_candidates
from consensus.processors import processors
from consensus.ratings import NOT_RATED

__all__ = ["Matching", "ObjectItems", "object_items"]

CHUNK = 2_000
"""Groups whose outlines are united at a time."""


@dataclass(frozen=True)
class Matching:
    """How good the grouping is, of a slide or added up over slides.

    ``objective`` is what the pairs inside groups add up to (``consensus.matching``), ``bound``
    what no grouping exceeds, ``n_exact`` and ``n_heuristic`` the crowds solved exactly and by
    search; a crowd is a connected component of compatible objects.
    """

    objective: float = 0.0
    bound: float = 0.0
    n_exact: int = 0
    n_heuristic: int = 0

    def __add__(self, other: Matching) -> Matching:
        return Matching(
            self.objective + other.objective,
            self.bound + other.bound,
            self.n_exact + other.n_exact,
            self.n_heuristic + other.n_heuristic,
        )

    @property
    def gap(self) -> float:
        """Share of the bound that the grouping may be short of the best one."""
        return 0.0 if self.bound == 0 else (self.bound - self.objective) / self.bound

    def to_dict(self) -> dict[str, object]:
        """The part of a document."""
        return {
            "objective": self.objective,
            "bound": self.bound,
            "gap": self.gap,
            "exact_components": self.n_exact,
            "heuristic_components": self.n_heuristic,
            "exact_limit": EXACT_LIMIT,
        }

    def told(self) -> str:
        """The same in a sentence."""
        if not self.n_heuristic:
            return f"objects are matched exactly (gap 0, {self.n_exact:,} crowds)"
        return (
            f"{self.n_heuristic:,} of {self.n_exact + self.n_heuristic:,} crowds of objects were "
            "too large to be matched exactly; the grouping is at most "
            f"{self.gap:.2%} short of the best one"
        )


@dataclass(frozen=True)
class ObjectItems:
    """Items of one slide.

    ``codes`` (n_items, n_raters); ``geometries`` are the union of what was matched, or None where
    they aren't asked for; ``n_outside`` groups lie outside every domain and are no items.
    """

    codes: NDArray[np.int32]
    geometries: list[shapely.Geometry | None]
    n_outside: int
    matching: Matching
    detection: SlideDetection


def object_items(
    layers: Sequence[ObjectLayer],
    codes: Sequence[NDArray[np.int64]],
    domains: Sequence[shapely.Geometry | None],
    *,
    absent: int,
    thresholds: Sequence[Threshold],
    mpp: float,
    with_geometry: bool,
) -> ObjectItems:
    """Match the objects of a slide and say what each rater called them.

    A group lies where its members' centroids lie on average; who has a domain without that place
    has not rated it, and who has it and drew nothing there says ``absent``.

    Parameters
    ----------
    layers, codes, domains
        Of each rater the objects, their classes, and the domain, or None for all of the slide.
    absent
        The code of "nothing there"; those of the classes are below it.
    thresholds
        The protocol's first; then those at which detection is looked at besides.
    mpp
        Microns per pixel of the slide.
    """
    first = thresholds[0]
    candidates = Candidates.of(
        layers,
        iou=first.iou,
        distance_px=length_px(first.distance_um, mpp),
        least_iou=min(threshold.iou for threshold in thresholds),
    )
    matches = group_candidates(candidates)
    groups = matches.groups
    sizes = [len(layer.uuids) for layer in layers]
    begin = np.cumsum([0, *sizes[:-1]])
    there = groups != ABSENT
    place = np.where(there, groups + begin, 0)  # among all raters' objects
    every_code = np.concatenate([np.empty(0, dtype=np.int64), *codes])
    shapes = np.concatenate([np.empty(0, dtype=object), *(layer.geometries for layer in layers)])
    table = np.full(groups.shape, absent, dtype=np.int32)
    table[there] = every_code[place[there]]
    inside = None
    if any(domain is not None for domain in domains):
        middle = shapely.get_coordinates(shapely.centroid(shapes))
        total = np.stack(
            [np.where(there, middle[place, axis], 0).sum(axis=1) for axis in (0, 1)], axis=1
        )
        table[~_inside(domains, total / there.sum(axis=1, keepdims=True))] = NOT_RATED
        inside = _inside(domains, middle)[begin[candidates.rater] + candidates.index]
    kept = (table != NOT_RATED).any(axis=1)
    geometries: list[shapely.Geometry | None] = [None] * int(kept.sum())
    if with_geometry:
        geometries = list(_united(shapes, place[kept], there[kept]))
    return ObjectItems(
        codes=table[kept],
        geometries=geometries,
        n_outside=int((~kept).sum()),
        matching=Matching(matches.objective, matches.bound, matches.n_exact, matches.n_heuristic),
        detection=SlideDetection.of(
            candidates,
            every_code[begin[candidates.rater] + candidates.index],
            absent,
            thresholds,
            mpp,
            inside,
        ),
    )


def _inside(
    domains: Sequence[shapely.Geometry | None], middle: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each rater's domain covers places; shape (n_places, n_raters)."""
    inside = np.ones((len(middle), len(domains)), dtype=bool)
    points = shapely.points(middle)
    for rater, domain in enumerate(domains):
        if domain is not None:
            shapely.prepare(domain)
            inside[:, rater] = shapely.covers(domain, points)
    return inside


def _united(
    shapes: NDArray[np.object_], place: NDArray[np.int64], there: NDArray[np.bool_]
) -> NDArray[np.object_]:
    """The union of each group's objects."""

    def unite(start: int) -> NDArray[np.object_]:
        some = slice(start, start + CHUNK)
        members = shapes[place[some]]
        members[~there[some]] = None
        united: NDArray[np.object_] = shapely.union_all(members, axis=1)
        return united

    with ThreadPoolExecutor(processors()) as pool:
        parts = list(pool.map(unite, range(0, len(place), CHUNK)))
    return np.concatenate([np.empty(0, dtype=object), *parts])
