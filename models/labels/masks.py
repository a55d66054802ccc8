"""Soft masks of tiles: for each pixel the posterior by the exact area of the faces in it.

Shapes: K classes, R raters, h and w pixels of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consensus.consensus_items import ResolvedItem
from consensus.ragged import spread
from models.labels.coverage import Edges, cell_areas, clean_shares, distributions, edges_of
from models.labels.items import OpenItems, item_labels
from models.targets import OPEN

__all__ = ["SlideMasks", "TileMask"]

_STRIP_PX = 256.0
_HALF = 0.5


@dataclass(frozen=True, eq=False)
class TileMask:
    """The masks of one tile.

    Attributes
    ----------
    posterior : shape (K, h, w), float32
        Sums to 1 over the classes, or is 0 where nothing teaches.
    hard : shape (h, w), int64
        The consensus class that covers most of the pixel, or -1.
    votes : shape (R, h, w), int64
        The same of each rater.
    in_domain : shape (h, w), float32
        Share of the pixel inside the rated domain.
    labelled : shape (h, w), float32
        Share of the pixel that ``posterior`` is the mean over: the weight of its loss.
    """

    posterior: NDArray[np.float32]
    hard: NDArray[np.int64]
    votes: NDArray[np.int64]
    in_domain: NDArray[np.float32]
    labelled: NDArray[np.float32]


class SlideMasks:
    """The faces of one slide, ready to be drawn into any tile.

    Parameters
    ----------
    items
        The slide's regions.
    open_items
        See `item_labels`.
    """

    def __init__(
        self,
        items: Sequence[ResolvedItem],
        classes: Sequence[str],
        raters: Sequence[str],
        *,
        open_items: OpenItems = "masked",
    ) -> None:
        faces = [item for item in items if item.geometry is not None]
        labels = item_labels(faces, classes, raters, open_items=open_items)
        self.classes, self.raters = labels.classes, labels.raters
        # [F, 2 + K + K + R * K]: what teaches, what is rated, posterior, class, class of each rater.
        self._columns = np.column_stack(
            [
                labels.teaches,
                labels.rated,
                labels.posterior * labels.teaches[:, None],
                labels.hard_one_hot,
                labels.votes_one_hot,
            ]
        )
        self._edges = _Strips(edges_of(np.array([face.geometry for face in faces], dtype=object)))

    def tile(self, x_px: float, y_px: float, side_px: float, size_px: int) -> TileMask:
        """The masks of the tile at a place.

        Parameters
        ----------
        x_px, y_px, side_px
            Top left corner and side, in level-0 pixels.
        size_px
            Side in pixels of the tile.
        """
        return self.window(x_px, y_px, side_px / size_px, size_px, size_px)

    def window(self, x_px: float, y_px: float, step_px: float, columns: int, rows: int) -> TileMask:
        """The masks of a rectangle.

        Parameters
        ----------
        x_px, y_px, step_px
            Top left corner, and the side of a pixel of the masks, in level-0 pixels.
        columns, rows
            Width and height in pixels of the masks.
        """
        x_cuts = np.arange(columns + 1, dtype=np.float64) * step_px
        y_cuts = np.arange(rows + 1, dtype=np.float64) * step_px
        edges = self._edges.around(x_px, y_px, columns * step_px, rows * step_px)
        faces, local = np.unique(edges.polygon, return_inverse=True)
        edges = replace(edges, polygon=local.astype(np.int64))
        areas = cell_areas(edges, len(faces), x_px + x_cuts, y_px + y_cuts)
        share = np.ascontiguousarray((areas @ self._columns[faces]).T)  # [2 + K + K + R * K, h * w]
        share = share.reshape(-1, rows, columns) / step_px**2
        k, r = len(self.classes), len(self.raters)
        # What covers half of a pixel does so wherever the rectangle begins.
        share[2 + k :] = clean_shares(share[2 + k :])
        of_raters = share[2 + 2 * k :].reshape(r, k, rows, columns)
        return TileMask(
            posterior=distributions(share[2 : 2 + k], axis=0),
            hard=_most(share[2 + k : 2 + 2 * k]),
            votes=np.array([_most(of_rater) for of_rater in of_raters], dtype=np.int64).reshape(
                r, rows, columns
            ),
            in_domain=clean_shares(share[1]).astype(np.float32),
            labelled=clean_shares(share[0]).astype(np.float32),
        )


def _most(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class that covers most of a pixel, (h, w), where all together cover half of it."""
    best, largest = np.zeros(share.shape[1:], dtype=np.int64), share[0].copy()
    for number, of_class in enumerate(share[1:], start=1):  # a few classes: faster than argmax
        best[of_class > largest] = number
        np.maximum(largest, of_class, out=largest)
    best[share.sum(axis=0) < _HALF] = OPEN
    return best


class _Strips:
    """Edges by horizontal strips and by ring, so that a tile looks at those around it alone."""

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        first = np.floor(edges.y0 / _STRIP_PX).astype(np.int64)
        last = np.floor(edges.y1 / _STRIP_PX).astype(np.int64)
        edge, step = spread(last - first + 1)
        strip = first[edge] + step
        order = np.argsort(strip, kind="stable")
        self._strip, self._edge = strip[order], edge[order]
        n_rings = int(edges.ring.max(initial=-1)) + 1
        self._left, self._right = np.full(n_rings, np.inf), np.full(n_rings, -np.inf)
        np.minimum.at(self._left, edges.ring, np.minimum(edges.x0, edges.x1))
        np.maximum.at(self._right, edges.ring, np.maximum(edges.x0, edges.x1))

    def around(self, x_px: float, y_px: float, width_px: float, height_px: float) -> Edges:
        """The edges that cover something of a rectangle.

        Of a ring that reaches its columns they are all at its height, however far to the
        side. Any other ring leaves the tile as it is: what is entered on one side is left again.
        """
        top, bottom = y_px, y_px + height_px
        first, last = math.floor(top / _STRIP_PX), math.floor(bottom / _STRIP_PX)
        between = np.searchsorted(self._strip, np.array([first, last + 1]))  # whole as the strips
        edge = self._edge[between[0] : between[1]]
        near = (self._right > x_px) & (self._left < x_px + width_px)
        found = self._edges[np.unique(edge[near[self._edges.ring[edge]]])]
        return found[(found.y1 > top) & (found.y0 < bottom)]
