"""The exact overlay of several raters' polygons on one slide.

What everybody drew is cut into atomic faces, on each of which every rater says one thing: a
class, background (inside the domain of the read and without a class), or nothing (outside it).
Faces with the same pattern of labels are one item of the ratings. Nothing is rasterised.

Frame: level-0 pixels, origin top left; areas in square pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry

from annotation.errors import InputError
from consensus.faces.arrangement import Arrangement, arrange
from consensus.faces.coverage import covering_polygons
from consensus.faces.labelling import NO_CLASS, LabelStack
from consensus.faces.noding import STRIPE_EDGES
from consensus.faces.tracing import trace_regions
from consensus.processors import processors
from consensus.statistics.patterns import compress

__all__ = ["NOT_RATED", "DomainRule", "Faces", "Layer", "Overlap", "overlay"]

NOT_RATED = -1
"""In a pattern: outside the domain of this rater's read."""

FARTHEST_PX = 1 << 24
"""Coordinates beyond this are no slide's: the largest ones have a few hundred thousand pixels."""

Overlap = Literal["innermost", "priority"]
DomainRule = Literal["declared", "union", "slide"]


@dataclass(frozen=True)
class Layer:
    """What one rater drew on one slide.

    ``geometries`` are valid polygons or multipolygons, clipped to the slide; ``codes`` holds the
    class of each, counted from 0 in the order of the protocol. ``domain`` is the area that the
    read covers exhaustively, None for the whole extent. ``by_place`` says that the rater was asked
    about that area alone, so that it holds whatever the rule.
    """

    rater: str
    geometries: NDArray[np.object_]
    codes: NDArray[np.int32]
    domain: Geometry | None = None
    by_place: bool = False


@dataclass(frozen=True)
class Faces:
    """What everybody says where: the label patterns of a slide, and the faces that bear them.

    Shapes: P patterns, R raters, F faces, Y cycles.

    ``patterns`` (P, R) holds class codes, the background's code, or ``NOT_RATED``; its rows are
    distinct and sorted. ``pattern_area_px2`` (P,) is the area of each. ``outside_domain_px2`` (R,)
    is the area to which a rater gave a class outside the domain of the read: it is not rated.
    ``conflicts`` (R,) counts the pairs of a rater's annotations that overlap, are equally large and
    bear different classes: the lower code has won there. ``pattern_of_cycle`` (Y,) is the pattern
    inside each cycle of ``arrangement``, -1 where nobody has rated.
    """

    raters: tuple[str, ...]
    patterns: NDArray[np.int32]
    pattern_area_px2: NDArray[np.float64]
    outside_domain_px2: NDArray[np.float64]
    conflicts: NDArray[np.int64]
    arrangement: Arrangement
    pattern_of_cycle: NDArray[np.int64]

    def regions(
        self, wanted: NDArray[np.bool_] | None = None, *, threads: int | None = None
    ) -> NDArray[np.object_]:
        """One polygon or multipolygon per label pattern; shape (P,), in the order of ``patterns``.

        Neighbouring regions share their borders vertex by vertex.

        Parameters
        ----------
        wanted : shape (P,), optional
            Patterns to trace; the others come out as empty polygons. The pattern that is
            background to everybody is often the largest by far and of no interest.
        threads
            How many work at a time; None takes the processors that there are.
        """
        if wanted is None:
            wanted = np.ones(len(self.patterns), dtype=bool)
        return trace_regions(
            self.arrangement, self.pattern_of_cycle, wanted, threads=threads or processors()
        )

    @cached_property
    def geometries(self) -> NDArray[np.object_]:
        """The faces (F,): the largest connected areas on which every rater says one thing."""
        return self._parts[0]

    @property
    def pattern_of_face(self) -> NDArray[np.int64]:
        """The row of ``patterns`` that each face bears, (F,)."""
        return self._parts[1]

    @cached_property
    def area_px2(self) -> NDArray[np.float64]:
        """Area of each face, (F,)."""
        return np.asarray(shapely.area(self.geometries), dtype=np.float64)

    @cached_property
    def _parts(self) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        parts, pattern = shapely.get_parts(self.regions(), return_index=True)
        return parts, pattern.astype(np.int64)


def overlay(
    layers: Sequence[Layer],
    *,
    extent: tuple[float, float] | Geometry,
    background: int,
    overlap: Overlap = "innermost",
    rule: DomainRule = "declared",
    threads: int | None = None,
    stripe_edges: int = STRIPE_EDGES,
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
        Whoever was asked by place has rated no more than that place.
    threads, stripe_edges
        Stripes of the slide that are noded at a time, and about how many edges each has. They
        change nothing in what comes out; None takes as many threads as there are processors.

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
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads can't work; take 1 or more, or None")
    if stripe_edges < 1:
        raise InputError(f"stripes of {stripe_edges} edges are too small; take 1 or more")
    if rule not in ("declared", "union", "slide"):
        raise InputError(f"domain rule {rule!r} is unknown; take declared, union or slide")
    if overlap not in ("innermost", "priority"):
        raise InputError(f"overlap rule {overlap!r} is unknown; take innermost or priority")
    for layer in layers:
        _check(layer)
    stack = LabelStack.of(
        [layer.geometries for layer in layers],
        [layer.codes for layer in layers],
        domains=[
            layer.domain if rule == "declared" or layer.by_place else None for layer in layers
        ],
        extent=frame,
        smaller_wins=overlap == "innermost",
    )
    far_px = float(np.abs(shapely.total_bounds(stack.polygons)).max())
    if far_px > FARTHEST_PX:
        raise InputError(
            f"an outline or the extent lies {far_px:,.0f} px from the slide's corner, beyond the "
            f"{FARTHEST_PX:,} px that can be overlaid; check the coordinates"
        )
    arrangement = arrange(
        stack.polygons, threads=threads or processors(), stripe_edges=stripe_edges
    )
    source, cycle = covering_polygons(arrangement)
    labels = stack.labels(source, cycle, arrangement.n_cycles)
    like = arrangement.cycle_like
    rank, rated = labels.rank[like], labels.rated[like]
    drawn = rank != NO_CLASS
    if rule == "union":
        rated &= drawn.any(axis=1, keepdims=True)
    code = np.full(drawn.shape, background, dtype=np.int32)
    code[drawn] = stack.code[rank[drawn]]
    code[~rated] = NOT_RATED
    kept = np.asarray(rated.any(axis=1))
    distinct = compress(code[kept], int(code.max(initial=background)) + 1)
    pattern_of_cycle = np.full(len(kept), -1, dtype=np.int64)
    pattern_of_cycle[kept] = distinct.of_item
    area_px2 = arrangement.cycle_px2
    return Faces(
        raters=tuple(layer.rater for layer in layers),
        patterns=distinct.codes,
        pattern_area_px2=distinct.totals(area_px2[kept]),
        outside_domain_px2=area_px2 @ (drawn & ~rated),
        conflicts=np.bincount(stack.rater_of_rank[labels.ties[:, 0]], minlength=len(layers)),
        arrangement=arrangement,
        pattern_of_cycle=pattern_of_cycle,
    )


def _frame(extent: tuple[float, float] | Geometry) -> Geometry:
    """The area beyond which nothing is rated."""
    if isinstance(extent, tuple):
        frame = shapely.box(0.0, 0.0, *(float(side) for side in extent))
    else:
        frame = extent
        if shapely.is_empty(extent) or extent.geom_type not in ("Polygon", "MultiPolygon"):
            raise InputError(f"extent is no polygon but an {extent.geom_type}; give an area")
    bounds = shapely.bounds(frame).tolist()
    if not (np.isfinite(bounds).all() and bounds[2] > bounds[0] and bounds[3] > bounds[1]):
        raise InputError(f"extent {bounds} has no area; give the slide's width and height in px")
    return frame


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
