"""The consensus of a slide as it is drawn: clean regions, each with what is known of it.

The items of a run keep what was agreed and decided to the last face. What goes to QuPath is drawn
from them: dissolved by class, without slivers below the protocol's least area, and with the area
that slivers brought stated region by region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.tables import Slide
from annotation.units import um2_per_px2
from consensus.class_regions import UNLABELLED, class_regions
from consensus.consensus_items import ADJUDICATED, Consensus, ResolvedItem

__all__ = ["Cleaning", "DrawnRegion", "drawn_regions"]

_DECIMALS = 6


@dataclass
class Cleaning:
    """Slivers that were given to their neighbours so far, and their area."""

    slivers: int = 0
    moved_um2: float = 0.0


@dataclass(frozen=True)
class DrawnRegion:
    """A connected region of a class; ``label`` is None where what was rated bears none.

    ``posterior`` (n_classes,) is the mean over its items by area. ``decided_um2`` of its area has
    an adjudicator's class, ``moved_um2`` came from slivers of other classes.
    """

    label: str | None
    outline: shapely.Geometry
    posterior: NDArray[np.float64]
    um2: float
    decided_um2: float
    moved_um2: float

    def measurements(self, classes: Sequence[str]) -> dict[str, float | None]:
        """As QuPath shows them; what moved is said where something did."""
        of_region: dict[str, float | None] = {
            f"pathquorum posterior {name}": round(float(p), _DECIMALS)
            for name, p in zip(classes, self.posterior, strict=True)
        }
        of_region["pathquorum area um2"] = round(self.um2, _DECIMALS)
        of_region["pathquorum adjudicated um2"] = round(self.decided_um2, _DECIMALS)
        if self.moved_um2 > 0:
            of_region["pathquorum slivers um2"] = round(self.moved_um2, _DECIMALS)
        return of_region


def drawn_regions(
    consensus: Consensus, slide: Slide, items: Sequence[ResolvedItem], cleaning: Cleaning
) -> list[DrawnRegion]:
    """Clean regions of all that was rated on a slide, by class and from top to bottom.

    Parameters
    ----------
    items
        All items of the slide, labelled or not; those without a place are left out.
    cleaning
        Is told what moved.
    """
    um2 = um2_per_px2(slide.mpp)
    placed = [item for item in items if item.geometry is not None]
    code = {name: number for number, name in enumerate(consensus.classes)}
    labels = [UNLABELLED if item.label is None else code[item.label] for item in placed]
    shapes = np.array([item.geometry for item in placed], dtype=object)
    clean = class_regions(
        shapes, labels, min_area_px2=consensus.protocol.dispute.min_area_um2 / um2
    )
    cleaning.slivers += clean.n_moved
    cleaning.moved_um2 += float(clean.moved_px2.sum()) * um2
    n_regions = len(clean.polygons)
    if n_regions == 0:
        return []
    pieces, member = shapely.get_parts(shapes, return_index=True)
    # A point inside a piece lies inside the one region that the piece became a part of.
    region = shapely.STRtree(clean.polygons).nearest(shapely.point_on_surface(pieces))
    piece_um2 = shapely.area(pieces) * um2
    posteriors = np.array([item.posterior for item in placed])[member]  # [n_pieces, n_classes]
    total = _summed(posteriors * piece_um2[:, None], region, n_regions)
    mean = total / _summed(piece_um2, region, n_regions)[:, None]
    decided = np.array([item.state == ADJUDICATED for item in placed])[member]
    decided_um2 = _summed(piece_um2 * decided, region, n_regions)
    return [
        DrawnRegion(
            label=None if label == UNLABELLED else consensus.classes[label],
            outline=clean.polygons[i],
            posterior=mean[i],
            um2=float(clean.polygons[i].area * um2),
            decided_um2=float(decided_um2[i]),
            moved_um2=float(clean.moved_px2[i] * um2),
        )
        for i, label in enumerate(clean.labels.tolist())
    ]


def _summed(
    values: NDArray[np.float64], group: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    total = np.zeros((n_groups, *values.shape[1:]))
    np.add.at(total, group, values)
    return total
