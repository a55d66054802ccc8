"""Strips along boundaries: where raters differ by a few micrometres only.

Nobody draws the same boundary twice to the pixel. Where raters disagree, a place is narrower than
a tolerance if no disc of that diameter that lies in the disputed area covers it: there the
disagreement is about where a boundary runs, not about what is there. The rest is the *core* of the
disputed area, its morphological opening by the disc. All raters are taken together: five outlines
that lie two micrometres apart, one beside the other, disagree over eight.

Frame: level-0 pixels; areas in square pixels.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.overlay import NOT_RATED, Faces
from consensus.processors import processors

__all__ = ["Boundary", "boundary_strips"]

ARC_SEGMENTS = 8
"""Chords of a quarter of the disc: it is taken to within half a percent."""

POLYGON = 3  # shapely.get_type_id

TILE_VERTICES = 6000
"""Vertices that a tile should hold on average; opening takes more than linear time."""


@dataclass(frozen=True)
class Boundary:
    """The strips of a slide, and the cores beside them.

    ``strip_px2`` (n_patterns,) is the area of each label pattern that lies in strips; ``cores``
    are the pieces of the disputed area without its strips.
    """

    tolerance_px: float
    strip_px2: NDArray[np.float64]
    cores: NDArray[np.object_]

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.cores)

    @property
    def least_core_px2(self) -> float:
        """Half the disc: what less than that of lies in cores is but the end of a strip."""
        return math.pi * self.tolerance_px**2 / 8

    def core_px2(self, areas: NDArray[np.object_]) -> NDArray[np.float64]:
        """How much of each of these areas lies in cores."""
        area, core = self._tree.query(areas, predicate="intersects")
        shared_px2 = shapely.area(shapely.intersection(areas[area], self.cores[core]))
        found = np.bincount(area, weights=shared_px2, minlength=len(areas))
        return found.astype(np.float64)


def boundary_strips(faces: Faces, tolerance_px: float, *, threads: int | None = None) -> Boundary:
    """Find where disagreement is narrower than a tolerance.

    Parameters
    ----------
    faces
        An overlay; disputed is what at least two raters gave different classes.
    tolerance_px
        Diameter of the disc that has to fit.
    threads
        How many work at a time; None takes the processors that there are.

    Raises
    ------
    InputError
        A tolerance that is negative or no number.
    """
    if not (tolerance_px >= 0 and np.isfinite(tolerance_px)):
        raise InputError(f"a tolerance of {tolerance_px:g} px is no width; give 0 or more")
    disputed = _disputed(faces.patterns)
    none = np.empty(0, dtype=object)
    if tolerance_px == 0 or not disputed.any():
        return Boundary(tolerance_px, np.zeros(len(disputed)), none)
    parts, pattern = shapely.get_parts(faces.regions(disputed, threads=threads), return_index=True)
    tiles = _tiles(parts)
    reach_px = 2 * tolerance_px  # beyond it nothing has a say in what is open here
    around = shapely.box(*(shapely.bounds(tiles).T + np.array([[-1], [-1], [1], [1]]) * reach_px))
    of_tile, part = shapely.STRtree(parts).query(around)
    order = np.argsort(of_tile, kind="stable")
    cuts = np.searchsorted(of_tile[order], np.arange(1, len(tiles)))
    members = np.split(part[order], cuts)

    def open_tile(number: int) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        own = members[number]
        area = _joined(parts[own], around[number])
        core = _opened(area, tolerance_px / 2)
        here = shapely.intersection(area, tiles[number])
        strips = shapely.get_parts(shapely.difference(here, core))
        piece, strip = shapely.STRtree(strips).query(parts[own], predicate="intersects")
        shared_px2 = shapely.area(shapely.intersection(parts[own[piece]], strips[strip]))
        return (
            shapely.get_parts(shapely.intersection(here, core)),
            np.bincount(pattern[own[piece]], weights=shared_px2, minlength=len(disputed)).astype(
                np.float64
            ),
        )

    with ThreadPoolExecutor(threads or processors()) as pool:
        cores, strip_px2 = zip(*pool.map(open_tile, np.unique(of_tile).tolist()), strict=True)
    pieces = np.concatenate(cores)
    return Boundary(
        tolerance_px, np.sum(strip_px2, axis=0), pieces[shapely.get_type_id(pieces) == POLYGON]
    )


def _disputed(patterns: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Patterns in which two raters say different things, (P,)."""
    highest = patterns.max(axis=1, initial=NOT_RATED)
    beyond = np.iinfo(np.int32).max
    lowest = np.where(patterns != NOT_RATED, patterns, beyond).min(axis=1, initial=beyond)
    return np.asarray(lowest < highest)


def _tiles(parts: NDArray[np.object_]) -> NDArray[np.object_]:
    """Squares that cover the parts, each with about as many vertices."""
    x_min, y_min, x_max, y_max = shapely.total_bounds(parts)
    n_tiles = max(1.0, shapely.get_num_coordinates(parts).sum() / TILE_VERTICES)
    side_px = math.sqrt((x_max - x_min) * (y_max - y_min) / n_tiles)
    n_x, n_y = (max(1, round(span / side_px)) for span in (x_max - x_min, y_max - y_min))
    x, y = np.linspace(x_min, x_max, n_x + 1), np.linspace(y_min, y_max, n_y + 1)
    left, top = (values.reshape(-1) for values in np.meshgrid(np.arange(n_x), np.arange(n_y)))
    return np.asarray(shapely.box(x[left], y[top], x[left + 1], y[top + 1]), dtype=object)


def _joined(parts: NDArray[np.object_], around: shapely.Geometry) -> shapely.Geometry:
    """Parts that share borders, vertex by vertex, as one; of large ones what lies around a tile."""
    large = shapely.get_num_coordinates(parts) > TILE_VERTICES
    joined = shapely.coverage_union_all(parts[~large])
    if not large.any():
        return joined
    return shapely.union_all([joined, *shapely.intersection(parts[large], around)])


def _opened(area: shapely.Geometry, radius_px: float) -> shapely.Geometry:
    """What discs of a radius reach that lie in an area."""
    eroded = shapely.buffer(area, -radius_px, quad_segs=ARC_SEGMENTS)
    return shapely.buffer(eroded, radius_px, quad_segs=ARC_SEGMENTS)
