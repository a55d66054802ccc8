"""Strips along boundaries: where raters differ by a few micrometres only.

Nobody draws the same boundary twice to the pixel. Where raters disagree, the place is narrower
than a tolerance wherever no disc of that diameter fits into it: there the disagreement is about
where a boundary runs, not about what is there. The rest is its *core* (the morphological opening
of the disputed area by the disc). All raters are taken together: five outlines that lie two
micrometres apart, one beside the other, disagree over eight.

Frame: level-0 pixels; areas in square pixels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.faces.tracing import trace_regions
from consensus.overlay import NOT_RATED, Faces
from consensus.processors import processors

__all__ = ["Boundary", "boundary_strips"]

ARC_SEGMENTS = 8
"""Chords of a quarter of the disc: it is taken to within half a percent."""

BATCH = 256
"""Disputed areas that a thread takes at a time."""


@dataclass(frozen=True)
class Boundary:
    """The strips of a slide, and the cores beside them.

    ``strip_px2`` (n_patterns,) is the area of each label pattern that lies in strips; ``cores``
    are the disputed areas without their strips, polygons or multipolygons.
    """

    tolerance_px: float
    strip_px2: NDArray[np.float64]
    cores: NDArray[np.object_]


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
    threads = threads or processors()
    areas = _disputed_areas(faces, disputed, threads)
    with ThreadPoolExecutor(threads) as pool:
        batches = [areas[at : at + BATCH] for at in range(0, len(areas), BATCH)]
        opened = list(pool.map(lambda batch: _opened(batch, tolerance_px / 2), batches))
        cores = np.concatenate([none, *opened])
        cores = cores[~shapely.is_empty(cores)]
        regions = faces.regions(disputed, threads=threads)
        parts, pattern = shapely.get_parts(regions, return_index=True)
        core, part = shapely.STRtree(parts).query(cores, predicate="intersects")
        pairs = [slice(at, at + BATCH) for at in range(0, len(core), BATCH)]
        shared = pool.map(
            lambda some: shapely.area(shapely.intersection(cores[core[some]], parts[part[some]])),
            pairs,
        )
        shared_px2 = np.concatenate([np.empty(0), *shared])
    core_px2 = np.bincount(pattern[part], weights=shared_px2, minlength=len(disputed))
    strip_px2 = np.where(disputed, np.maximum(faces.pattern_area_px2 - core_px2, 0.0), 0.0)
    return Boundary(tolerance_px, strip_px2, cores)


def _disputed(patterns: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Patterns in which two raters say different things, (P,)."""
    rated = patterns != NOT_RATED
    highest = patterns.max(axis=1, initial=NOT_RATED)
    lowest = np.where(rated, patterns, np.iinfo(np.int32).max).min(
        axis=1, initial=np.iinfo(np.int32).max
    )
    return np.asarray(rated.any(axis=1) & (lowest < highest))


def _disputed_areas(faces: Faces, disputed: NDArray[np.bool_], threads: int) -> NDArray[np.object_]:
    """The connected areas on which raters disagree, whatever they say."""
    of_cycle = faces.pattern_of_cycle
    label = np.where(np.append(disputed, False)[of_cycle], 0, -1)
    return np.asarray(
        shapely.get_parts(
            trace_regions(faces.arrangement, label, np.ones(1, dtype=bool), threads=threads)
        )
    )


def _opened(areas: NDArray[np.object_], radius_px: float) -> NDArray[np.object_]:
    """What discs of a radius reach inside areas."""
    eroded = shapely.buffer(areas, -radius_px, quad_segs=ARC_SEGMENTS)
    found = ~shapely.is_empty(eroded)
    grown = shapely.buffer(eroded[found], radius_px, quad_segs=ARC_SEGMENTS)
    opened = np.full(len(areas), shapely.Polygon(), dtype=object)
    opened[found] = shapely.intersection(areas[found], grown)
    return opened
