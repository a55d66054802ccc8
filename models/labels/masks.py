"""Soft masks of tiles: for each pixel the posterior by the exact area of the faces in it.

Shapes: K classes, R raters, h and w pixels of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        cuts = np.arange(size_px + 1, dtype=np.float64) * (side_px / size_px)
        edges = self._edges.near(y_px, y_px + side_px)
        faces, local = np.unique(edges.polygon, return_inverse=True)
        edges = Edges(edges.x0, edges.y0, edges.x1, edges.y1, edges.sign, local.astype(np.int64))
        areas = cell_areas(edges, len(faces), x_px + cuts, y_px + cuts)
        share = np.asarray(areas @ self._columns[faces]) / (side_px / size_px) ** 2
        k, r = len(self.classes), len(self.raters)
        square = share.reshape(size_px, size_px, -1)  # [h, w, 2 + K + K + R * K]
        of_raters = square[..., 2 + 2 * k :].reshape(size_px, size_px, r, k)
        return TileMask(
            posterior=np.ascontiguousarray(
                distributions(square[..., 2 : 2 + k]).transpose(2, 0, 1)
            ),
            hard=_most(square[..., 2 + k : 2 + 2 * k]),
            votes=np.ascontiguousarray(_most(of_raters).transpose(2, 0, 1)),
            in_domain=clean_shares(square[..., 1]).astype(np.float32),
            labelled=clean_shares(square[..., 0]).astype(np.float32),
        )


def _most(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class that covers most of a pixel, where all classes together cover half of it."""
    return np.where(share.sum(axis=-1) >= _HALF, share.argmax(axis=-1), OPEN).astype(np.int64)


class _Strips:
    """Edges by horizontal strips, so that a tile looks at those on its height alone."""

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        first = np.floor(edges.y0 / _STRIP_PX).astype(np.int64)
        last = np.floor(edges.y1 / _STRIP_PX).astype(np.int64)
        edge, step = spread(last - first + 1)
        strip = first[edge] + step
        order = np.argsort(strip, kind="stable")
        self._strip, self._edge = strip[order], edge[order]

    def near(self, top_px: float, bottom_px: float) -> Edges:
        """The edges that reach into a band of rows; those far to the side count there as well."""
        between = np.searchsorted(
            self._strip, [np.floor(top_px / _STRIP_PX), np.floor(bottom_px / _STRIP_PX) + 1]
        )
        found = self._edges[np.unique(self._edge[between[0] : between[1]])]
        return found[(found.y1 > top_px) & (found.y0 < bottom_px)]
