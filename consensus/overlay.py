"""The exact overlay of several raters' polygons on one slide.

What everybody drew is cut into atomic faces, on each of which every rater says one thing: a
class, background (inside the domain of the read and without a class), or nothing (outside it).
Faces with the same pattern of labels are one item of the ratings. Nothing is rasterised.

Frame: level-0 pixels, origin top left; areas in square pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry

from annotation.errors import InputError
from consensus.faces.labelling import NO_CLASS, Labels, LabelStack
from consensus.faces.noding import WindowGrid, window_faces, windows_of_column
from consensus.faces.seams import dissolve_coverage
from consensus.processors import processors

__all__ = ["NOT_RATED", "DomainRule", "Faces", "Layer", "Overlap", "overlay"]

NOT_RATED = -1
"""In a pattern: outside the domain of this rater's read."""

Overlap = Literal["innermost", "priority"]
DomainRule = Literal["declared", "union", "slide"]


@dataclass(frozen=True)
class Layer:
    """What one rater drew on one slide.

    ``geometries`` are valid polygons or multipolygons, clipped to the slide; ``codes`` holds the
    class of each, counted from 0 in the order of the protocol. ``domain`` is the area that the
    read covers exhaustively, None for the whole extent.
    """

    rater: str
    geometries: NDArray[np.object_]
    codes: NDArray[np.int32]
    domain: Geometry | None = None


@dataclass(frozen=True)
class Faces:
    """Atomic faces, cut at the lines of ``grid``, and the label pattern of each.

    Shapes: P patterns, R raters, F faces.

    ``patterns`` (P, R) holds class codes, the background's code, or ``NOT_RATED``; its rows are
    distinct and sorted. ``pattern_of_face`` (F,) is the row of each face, ``geometries`` (F,) its
    polygon, ``area_px2`` (F,) its area. ``outside_domain_px2`` (R,) is the area to which a rater
    gave a class outside the domain of the read: it is not rated. ``conflicts`` (R,) counts the
    pairs of a rater's annotations that overlap, are equally large and bear different classes: the
    lower code has won there.
    """

    raters: tuple[str, ...]
    patterns: NDArray[np.int32]
    pattern_of_face: NDArray[np.int64]
    geometries: NDArray[np.object_]
    area_px2: NDArray[np.float64]
    outside_domain_px2: NDArray[np.float64]
    conflicts: NDArray[np.int64]
    grid: WindowGrid

    @property
    def pattern_area_px2(self) -> NDArray[np.float64]:
        """Area of each pattern, over all its faces; shape (P,)."""
        area_px2 = np.zeros(len(self.patterns))
        np.add.at(area_px2, self.pattern_of_face, self.area_px2)
        return area_px2


def overlay(
    layers: Sequence[Layer],
    *,
    extent: tuple[float, float] | Geometry,
    background: int,
    overlap: Overlap = "innermost",
    rule: DomainRule = "declared",
    window_px: float | None = None,
    threads: int | None = None,
    dissolve: bool = False,
) -> Faces:
    """Cut a slide into the faces on which every rater says one thing.

    Parameters
    ----------
    layers
        One read of the slide per rater.
    extent
        Width and height of the slide, or a polygon beyond which nothing is rated.
    background
        The code for a place inside the domain that carries no class.
    overlap
        Where polygons of one rater overlap: ``innermost`` lets the smaller annotation win (of
        equally large ones the lower code), ``priority`` the lower code.
    rule
        ``declared``: each rater has rated the layer's own domain. ``union``: all raters have
        rated what any of them gave a class to. ``slide``: all have rated the whole extent.
    window_px
        Side of the windows that the work is cut into; None suits it to the number of vertices. It
        changes where faces are cut, but no pattern and no pattern's area.
    threads
        Windows that are worked on at a time; None takes the processors that there are.
    dissolve
        Join the faces of one pattern within each window: fewer and larger faces, and less memory.

    Returns
    -------
    Faces
        They tile the union of the raters' domains.

    Raises
    ------
    InputError
        A geometry that is no valid polygon, codes that don't fit, an empty extent.
    """
    frame = _frame(extent)
    if window_px is not None and not window_px >= 1:
        raise InputError(f"window of {window_px} px is too small; take 1 px or more")
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads can't work; take 1 or more, or None")
    if rule not in ("declared", "union", "slide"):
        raise InputError(f"domain rule {rule!r} is unknown; take declared, union or slide")
    if overlap not in ("innermost", "priority"):
        raise InputError(f"overlap rule {overlap!r} is unknown; take innermost or priority")
    for layer in layers:
        _check(layer)
    stack = LabelStack.of(
        [layer.geometries for layer in layers],
        [layer.codes for layer in layers],
        domains=[layer.domain if rule == "declared" else None for layer in layers],
        extent=None if isinstance(extent, tuple) else extent,
        smaller_wins=overlap == "innermost",
    )
    n_vertices = int(shapely.get_num_coordinates(stack.polygons).sum())
    grid = WindowGrid.over(frame, window_px or WindowGrid.side_px(frame, n_vertices))

    def work(column: int) -> list[_Cut]:
        cuts = []
        for window, pieces, source in windows_of_column(stack.polygons, grid, column):
            faces, piece, face = window_faces(pieces, window)
            labels = stack.labels(source[piece], face, len(faces))
            cuts.append(_cut(faces, labels, stack, background, rule == "union", dissolve))
        return cuts

    with ThreadPoolExecutor(threads or processors()) as pool:
        columns = list(pool.map(work, range(grid.n_columns)))
    return _join([cut for column in columns for cut in column], layers, stack, grid)


@dataclass(frozen=True)
class _Cut:
    """The faces of one window; ``pattern`` is the row of ``patterns`` that each bears."""

    faces: NDArray[np.object_]
    area_px2: NDArray[np.float64]
    patterns: NDArray[np.int32]
    pattern: NDArray[np.int64]
    outside_domain_px2: NDArray[np.float64]
    ties: NDArray[np.int64]


def _cut(
    faces: NDArray[np.object_],
    labels: Labels,
    stack: LabelStack,
    background: int,
    union: bool,
    dissolve: bool,
) -> _Cut:
    """Give the faces of a window their patterns, and leave out those that nobody rated."""
    area_px2 = shapely.area(faces)
    drawn = labels.rank != NO_CLASS
    rated = labels.rated & drawn.any(axis=1, keepdims=True) if union else labels.rated
    code = np.full(drawn.shape, background, dtype=np.int32)
    code[drawn] = stack.code[labels.rank[drawn]]
    code[~rated] = NOT_RATED
    outside_px2 = area_px2 @ (drawn & ~rated)
    kept = rated.any(axis=1)
    faces, area_px2 = faces[kept], area_px2[kept]
    patterns, pattern = np.unique(code[kept], axis=0, return_inverse=True)
    pattern = pattern.reshape(-1)
    if dissolve and len(faces) > len(patterns):
        faces = dissolve_coverage(faces, pattern, len(patterns))
        area_px2, pattern = shapely.area(faces), np.arange(len(patterns))
    return _Cut(faces, area_px2, patterns, pattern, outside_px2, labels.ties)


def _join(
    cuts: Sequence[_Cut], layers: Sequence[Layer], stack: LabelStack, grid: WindowGrid
) -> Faces:
    """Number the patterns of all windows alike, and add up."""
    n_raters = len(layers)
    patterns, row = np.unique(
        np.concatenate([cut.patterns for cut in cuts]), axis=0, return_inverse=True
    )
    row = row.reshape(-1)
    first = np.cumsum([0, *(len(cut.patterns) for cut in cuts)])
    of_face = [row[start + cut.pattern] for start, cut in zip(first, cuts, strict=False)]
    ties = np.unique(np.concatenate([cut.ties for cut in cuts]), axis=0)
    outside_px2 = np.sum([cut.outside_domain_px2 for cut in cuts], axis=0)
    return Faces(
        raters=tuple(layer.rater for layer in layers),
        patterns=patterns,
        pattern_of_face=np.concatenate(of_face),
        geometries=np.concatenate([cut.faces for cut in cuts]),
        area_px2=np.concatenate([cut.area_px2 for cut in cuts]),
        outside_domain_px2=outside_px2 + _overhang_px2(layers, grid),
        conflicts=np.bincount(stack.rater_of_rank[ties[:, 0]], minlength=n_raters),
        grid=grid,
    )


def _overhang_px2(layers: Sequence[Layer], grid: WindowGrid) -> NDArray[np.float64]:
    """Area that each rater drew beyond the slide; zero where the pull has clipped it."""
    frame = (grid.x_px[0], grid.y_px[0], grid.x_px[-1], grid.y_px[-1])
    area_px2 = np.zeros(len(layers))
    for rater, layer in enumerate(layers):
        bounds = shapely.bounds(layer.geometries).reshape(-1, 4)
        over = (bounds[:, :2] < frame[:2]).any(axis=1) | (bounds[:, 2:] > frame[2:]).any(axis=1)
        if over.any():
            drawn = shapely.union_all(np.asarray(layer.geometries)[over])
            area_px2[rater] = shapely.difference(drawn, shapely.box(*frame)).area
    return area_px2


def _frame(extent: tuple[float, float] | Geometry) -> tuple[float, float, float, float]:
    if isinstance(extent, tuple):
        width_px, height_px = extent
        bounds = (0.0, 0.0, float(width_px), float(height_px))
    else:
        if shapely.is_empty(extent) or extent.geom_type not in ("Polygon", "MultiPolygon"):
            raise InputError(f"extent is no polygon but an {extent.geom_type}; give an area")
        x_min, y_min, x_max, y_max = shapely.bounds(extent).tolist()
        bounds = (x_min, y_min, x_max, y_max)
    if not (np.isfinite(bounds).all() and bounds[2] > bounds[0] and bounds[3] > bounds[1]):
        raise InputError(f"extent {bounds} has no area; give the slide's width and height in px")
    return bounds


def _check(layer: Layer) -> None:
    """Refuse what would come out as wrong areas."""
    name, geometries, codes = layer.rater, layer.geometries, layer.codes
    if len(geometries) != len(codes):
        raise InputError(
            f"rater {name!r} has {len(geometries)} geometries and {len(codes)} class codes; "
            "give one code per geometry"
        )
    if len(codes) and np.min(codes) < 0:
        raise InputError(f"rater {name!r} has a negative class code; leave such objects out")
    domain = [] if layer.domain is None else [layer.domain]
    for what, shapes in (("geometry", np.asarray(geometries)), ("domain", np.array(domain))):
        if len(shapes) == 0:
            continue
        areal = np.isin(shapely.get_type_id(shapes), (3, 6))
        bad = np.flatnonzero(~(areal & shapely.is_valid(shapes)))
        if bad.size:
            first = shapes[bad[0]]
            why = shapely.is_valid_reason(first) if areal[bad[0]] else f"it is {first!s:.20}"
            raise InputError(
                f"{what} {bad[0]} of rater {name!r} is no valid polygon ({why}); repair it first"
            )
