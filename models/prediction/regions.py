"""Clean regions of a slide: connected areas of one class, as polygons with holes.

Shapes: K classes, N tiles. Frame: level-0 pixels, origin top left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.columns import NEGATIVE_NAMES
from models.prediction.cells import NO_LABEL, CellRuns
from models.prediction.uncertainty import Spread

__all__ = ["Outlined", "PredictedRegion", "RegionRows", "dissolved_tiles"]

Floats = NDArray[np.float64]

_VALUES = 4
"""Of a cell: probability of its class, entropy, mutual information, variance of the first."""


@dataclass(frozen=True, eq=False)
class PredictedRegion:
    """A connected area of one class.

    Attributes
    ----------
    polygon
        In level-0 pixels.
    probability, entropy, mutual_information, variance
        Means over its area; first and last are those of its class. A single pass varies by 0.
    """

    polygon: shapely.Polygon
    class_name: str
    probability: float
    entropy: float
    mutual_information: float
    area_um2: float
    variance: float = 0.0


@dataclass(frozen=True, eq=False)
class Outlined:
    """The regions of a slide, the largest first, and what was too small to be one.

    Attributes
    ----------
    area_um2, dropped_um2
        Of each class that is outlined: in regions, and in slivers.
    slivers
        How many there are.
    """

    regions: list[PredictedRegion]
    area_um2: dict[str, float]
    dropped_um2: dict[str, float]
    slivers: int


class RegionRows:
    """Collects the classes of a slide's cells from top to bottom.

    What the protocol calls background is outlined no more than glass is.

    Parameters
    ----------
    classes : length K
    x_px, y_px
        Where columns and rows begin, and at the end where the last one ends.
    """

    def __init__(self, classes: Sequence[str], x_px: Floats, y_px: Floats) -> None:
        self._classes = tuple(classes)
        self._x_px, self._y_px = x_px, y_px
        self._outlined = np.array([name not in NEGATIVE_NAMES for name in classes])
        self._runs = CellRuns(len(x_px) - 1, _VALUES)

    def add(
        self,
        top: int,
        inside: NDArray[np.bool_],
        probability: NDArray[np.float32],
        variance: NDArray[np.float32],
        entropy: NDArray[np.float32],
        mutual_information: NDArray[np.float32],
    ) -> None:
        """Add rows from row ``top`` on.

        Parameters
        ----------
        inside : shape (rows, columns)
            Which cells have a class at all.
        probability, variance : shape (K, rows, columns)
        entropy, mutual_information : shape (rows, columns)
        """
        label = probability.argmax(axis=0)
        counts = inside & self._outlined[label]
        certain, varied = (
            np.take_along_axis(one, label[None], axis=0)[0] for one in (probability, variance)
        )
        values = np.stack([certain, entropy, mutual_information, varied])
        self._runs.add(top, np.where(counts, label, NO_LABEL).astype(np.int16), values)

    def outlined(self, *, mpp: float, min_region_um2: float) -> Outlined:
        """The regions of at least this area.

        Parameters
        ----------
        mpp
            Microns per pixel at level 0.
        """
        areas = self._runs.areas(self._x_px, self._y_px)
        um2 = areas.size * mpp**2
        large = um2 >= min_region_um2
        polygons = areas.runs_of(large).polygons(self._x_px, self._y_px)
        means = (areas.sums / np.maximum(areas.cells, 1)[:, None])[large]
        found = [
            PredictedRegion(
                polygon, self._classes[label], certain, entropy, disagreed, area, varied
            )
            for polygon, label, (certain, entropy, disagreed, varied), area in zip(
                polygons,
                areas.label[large].tolist(),
                means.tolist(),
                um2[large].tolist(),
                strict=True,
            )
        ]
        found.sort(key=lambda region: -region.area_um2)

        def by_class(which: NDArray[np.bool_]) -> dict[str, float]:
            total = np.zeros(len(self._classes))
            np.add.at(total, areas.label[which], um2[which])
            pairs = zip(self._classes, total.tolist(), self._outlined.tolist(), strict=True)
            return {name: area for name, area, outlined in pairs if outlined}

        return Outlined(found, by_class(large), by_class(~large), int((~large).sum()))


def dissolved_tiles(
    classes: Sequence[str],
    coordinates: Floats,
    side_px: float,
    stride_px: float,
    tiles: Spread,
    *,
    extent_px: tuple[int, int],
    mpp: float,
    min_region_um2: float,
) -> Outlined:
    """The regions that tiles of one class form; of tiles that overlap the middle counts.

    Parameters
    ----------
    coordinates : shape (N, 2)
        Upper left corners of tiles on a grid.
    side_px, stride_px
        What a tile covers, and from one to the next.
    tiles
        What is said of them.
    extent_px
        Width and height of the slide, at which regions end.
    """
    margin = (side_px - stride_px) / 2
    column, x_px = _axis(coordinates[:, 0], side_px, margin, extent_px[0])
    row, y_px = _axis(coordinates[:, 1], side_px, margin, extent_px[1])
    shape = len(y_px) - 1, len(x_px) - 1
    rows = RegionRows(classes, x_px, y_px)
    inside = np.zeros(shape, dtype=bool)
    inside[row, column] = True

    def placed(values: Floats) -> NDArray[np.float32]:
        cells = np.zeros((*values.shape[:-1], *shape), dtype=np.float32)
        cells[..., row, column] = values
        return cells

    rows.add(
        0,
        inside,
        placed(tiles.mean.T),
        placed(tiles.variance.T),
        placed(tiles.entropy),
        placed(tiles.mutual_information),
    )
    return rows.outlined(mpp=mpp, min_region_um2=min_region_um2)


def _axis(
    corners: Floats, side: float, margin: float, extent: float
) -> tuple[NDArray[np.int64], Floats]:
    """The cell of each tile along an axis, and where cells begin and the last one ends.

    Between tiles that don't touch stands a cell without a tile.
    """
    begins, place = np.unique(corners, return_inverse=True)
    low, high = begins + margin, begins + side - margin
    # Where the last tile was moved back onto the slide it shares more: the earlier one keeps it.
    low[1:] = np.maximum(low[1:], high[:-1])
    apart = np.zeros(len(begins), dtype=np.int64)
    apart[1:] = low[1:] - high[:-1] > 1e-6 * side
    cell = np.arange(len(begins)) + np.cumsum(apart)
    edges = np.empty(int(cell[-1]) + 2)
    edges[cell + 1] = high
    edges[cell] = low
    return cell[place], np.clip(edges, 0, extent)
