"""Regions of one slide as items: a label pattern of the overlay is one, its weight its area."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.protocol import Protocol
from annotation.tables import Slide
from annotation.units import length_px, um2_per_px2
from consensus.boundary import Boundary, boundary_strips
from consensus.overlay import DomainRule, Faces, Layer, Overlap, overlay

__all__ = ["RegionItems", "region_items"]


@dataclass(frozen=True)
class RegionItems:
    """Items of one slide.

    ``codes`` (n_items, n_raters); ``weight_um2`` (n_items,) is the area of each, and
    ``boundary`` what of it lies in strips along boundaries, or None where nobody asked;
    ``geometries`` are the regions, or None where they aren't asked for.
    """

    codes: NDArray[np.int32]
    weight_um2: NDArray[np.float64]
    geometries: list[shapely.Geometry | None]
    boundary: Boundary | None
    notes: list[str]

    def strip_um2(self, mpp: float) -> NDArray[np.float64]:
        """Area of each item that lies in strips, (n_items,)."""
        if self.boundary is None:
            return np.zeros(len(self.weight_um2))
        # An area can't be less than nothing, but its last digit can.
        return np.minimum(self.boundary.strip_px2 * um2_per_px2(mpp), self.weight_um2)


def region_items(
    protocol: Protocol,
    slide: Slide,
    layers: Sequence[Layer],
    *,
    with_geometry: bool,
    tolerance_um: float,
) -> RegionItems:
    """Overlay what raters drew on a slide.

    Parameters
    ----------
    tolerance_um
        Width up to which disagreement along a boundary is a strip; 0 asks for none.
    """
    faces = overlay(
        layers,
        extent=(float(slide.width_px), float(slide.height_px)),
        background=len(protocol.classes),
        overlap=cast("Overlap", protocol.overlap),
        rule=cast("DomainRule", protocol.domain.rule),
    )
    um2 = um2_per_px2(slide.mpp)
    boundary = None
    if tolerance_um > 0:
        boundary = boundary_strips(faces, length_px(tolerance_um, slide.mpp))
    regions = list(faces.regions()) if with_geometry else [None] * len(faces.patterns)
    return RegionItems(
        codes=faces.patterns,
        weight_um2=faces.pattern_area_px2 * um2,
        geometries=regions,
        boundary=boundary,
        notes=list(_notes(slide, faces, um2)),
    )


def _notes(slide: Slide, faces: Faces, um2: float) -> Iterator[str]:
    for index, rater in enumerate(faces.raters):
        outside_um2 = faces.outside_domain_px2[index] * um2
        if outside_um2 >= 1:
            yield (
                f"{slide.name}: {outside_um2:,.0f} um2 that {rater} drew outside the declared "
                "domain are not rated"
            )
        if faces.conflicts[index]:
            yield (
                f"{slide.name}: {faces.conflicts[index]} pairs of equal outlines of {rater} "
                "bear two classes; the first in the protocol's order holds"
            )
