"""Labelled cells to polygons, exactly: runs of rows, their connected areas, and outlines with holes.

Cells of one label that share an edge are one area. What is held are runs of equal cells in a row,
so that a picture of any size goes through band by band, and memory grows with the outlines' length
and not with the area. Outlines follow the cells' edges: rasterised again they give the same cells.

Shapes: R runs, V values of a cell, A areas, S vertical stretches of outlines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from consensus.ragged import spread

__all__ = ["NO_LABEL", "AreaRuns", "Areas", "CellRuns"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NO_LABEL = -1
"""Of a cell that belongs to nothing."""


@dataclass(frozen=True, eq=False)
class AreaRuns:
    """The runs of some areas: cells of a row from ``start`` up to before ``stop``, each (R,)."""

    row: Ints
    start: Ints
    stop: Ints
    area: Ints

    def polygons(self, x_px: Floats, y_px: Floats) -> NDArray[np.object_]:
        """A polygon an area, in the order of their numbers, (A,).

        Parameters
        ----------
        x_px, y_px
            Where columns and rows begin, and at the end where the last one ends, in level-0 pixels.
        """
        if not len(self.row):
            return np.empty(0, dtype=object)
        edges = _stretches(self)
        order, ring = _rings(edges)
        upward = edges.upward[order]
        enter = np.where(upward, edges.bottom[order], edges.top[order])
        leave = np.where(upward, edges.top[order], edges.bottom[order])
        x = edges.x[order]
        corners = np.empty((2 * len(order), 2))
        corners[:, 0] = np.repeat(x_px[x], 2)
        corners[::2, 1], corners[1::2, 1] = y_px[enter], y_px[leave]
        rings = shapely.linearrings(corners, indices=np.repeat(ring, 2))
        inside = np.bincount(ring, weights=x * (leave - enter))  # in cells; below 0 for holes
        _, first = np.unique(ring, return_index=True)
        area = edges.area[order[first]]
        member = np.lexsort((inside < 0, area))
        _, number = np.unique(area[member], return_inverse=True)
        return np.asarray(shapely.polygons(rings[member], indices=number))


@dataclass(frozen=True, eq=False)
class Areas:
    """Connected areas of cells.

    Attributes
    ----------
    label, cells : shape (A,)
        The label of each, and how many cells it has.
    size : shape (A,)
        In square level-0 pixels.
    sums : shape (A, V)
        Of its cells' values.
    """

    label: Ints
    cells: Ints
    size: Floats
    sums: Floats
    _runs: AreaRuns

    def runs_of(self, chosen: NDArray[np.bool_]) -> AreaRuns:
        """The runs of the chosen areas (A,), which are numbered in their order."""
        number = np.cumsum(chosen) - 1
        kept = chosen[self._runs.area]
        runs = self._runs
        return AreaRuns(runs.row[kept], runs.start[kept], runs.stop[kept], number[runs.area[kept]])


class CellRuns:
    """Collects a picture of labels from top to bottom.

    Parameters
    ----------
    width
        Cells of a row.
    values
        V, of each cell beside its label; they are added up.
    """

    def __init__(self, width: int, values: int) -> None:
        self._width = width
        self._runs: list[Ints] = [np.empty((0, 4), np.int64)]  # row, start, stop, label
        self._sums: list[Floats] = [np.empty((0, values))]

    def add(self, top: int, labels: NDArray[np.int16], values: NDArray[np.float32]) -> None:
        """Add rows (rows, width) of labels from row ``top`` on, and their values (V, rows, width)."""
        changes = np.ones(labels.shape, dtype=bool)
        changes[:, 1:] = labels[:, 1:] != labels[:, :-1]
        first = np.flatnonzero(changes)
        if not len(first):
            return
        row, start = np.divmod(first, self._width)
        stop = np.append(start[1:], self._width)
        stop[:-1][row[1:] != row[:-1]] = self._width
        label = labels.ravel()[first]
        sums = np.add.reduceat(
            values.reshape(len(values), -1).astype(np.float64), first, axis=1
        ).T  # [R, V]
        kept = label != NO_LABEL
        self._runs.append(np.stack([row + top, start, stop, label], axis=1)[kept])
        self._sums.append(sums[kept])

    def areas(self, x_px: Floats, y_px: Floats) -> Areas:
        """The connected areas of all that was added, numbered by where they begin.

        Parameters
        ----------
        x_px, y_px
            As in :meth:`AreaRuns.polygons`.
        """
        row, start, stop, label = np.concatenate(self._runs).T
        sums = np.concatenate(self._sums)
        area = _connected(row, start, stop, label, self._width)
        n_areas = int(area.max(initial=-1)) + 1
        of_label = np.zeros(n_areas, dtype=np.int64)
        of_label[area] = label
        size = (x_px[stop] - x_px[start]) * (y_px[row + 1] - y_px[row])
        return Areas(
            of_label,
            np.bincount(area, weights=stop - start, minlength=n_areas).astype(np.int64),
            np.bincount(area, weights=size, minlength=n_areas).astype(np.float64),
            np.stack([np.bincount(area, weights=one, minlength=n_areas) for one in sums.T], axis=1),
            AreaRuns(row, start, stop, area),
        )


def _connected(row: Ints, start: Ints, stop: Ints, label: Ints, width: int) -> Ints:
    """The area of each run: runs of one label are joined where they lie above each other."""
    n = len(row)
    per_row = width + 1
    # Runs are in the order of rows and columns, and apart: so are both of their ends.
    below = (row + 1) * per_row
    low = np.searchsorted(row * per_row + stop, below + start, side="right")
    high = np.searchsorted(row * per_row + start, below + stop, side="left")
    upper, place = spread(np.maximum(high - low, 0))
    lower = low[upper] + place
    alike = label[upper] == label[lower]
    upper, lower = upper[alike], lower[alike]
    links = csr_array((np.ones(len(upper), bool), (upper, lower)), shape=(n, n))
    _, component = connected_components(links, directed=False)
    _, begins, area = np.unique(component, return_index=True, return_inverse=True)
    rank = np.empty(len(begins), dtype=np.int64)
    rank[np.argsort(begins)] = np.arange(len(begins))
    return rank[area]


@dataclass(frozen=True, eq=False)
class _Stretches:
    """Vertical edges of outlines, as long as they go, each (S,): at column edge ``x`` between rows.

    With the area on its right an edge is walked upwards, else downwards.
    """

    area: Ints
    x: Ints
    top: Ints
    bottom: Ints
    upward: NDArray[np.bool_]


def _stretches(runs: AreaRuns) -> _Stretches:
    x = np.concatenate([runs.start, runs.stop])
    row, area = np.tile(runs.row, 2), np.tile(runs.area, 2)
    ends = np.arange(2 * len(runs.row)) >= len(runs.row)
    order = np.lexsort((row, ends, x, area))
    x, row, area, ends = x[order], row[order], area[order], ends[order]
    goes_on = (
        (np.diff(area) == 0) & (np.diff(x) == 0) & (np.diff(row) == 1) & (ends[1:] == ends[:-1])
    )
    first = np.append(True, ~goes_on)
    last = np.append(~goes_on, True)
    return _Stretches(area[first], x[first], row[first], row[last] + 1, ~ends[first])


def _rings(edges: _Stretches) -> tuple[Ints, Ints]:
    """The stretches in the order of their rings, and the ring of each, numbered from 0.

    Along the edge of a row the ends of stretches belong together two by two: between them the
    outline runs horizontally. Where two cells of an area meet at a corner only, both ends lie at one
    place, and the order of the two parts the outline there: what touches are rings, and no ring
    meets itself.
    """
    n = len(edges.x)
    y = np.concatenate([edges.top, edges.bottom])
    order = np.lexsort((~np.tile(edges.upward, 2), np.tile(edges.x, 2), y, np.tile(edges.area, 2)))
    partner = np.empty(2 * n, dtype=np.int64)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    leaves = np.arange(n) + np.where(edges.upward, 0, n)  # an upward stretch ends at its top
    following = (partner[leaves] % n).tolist()
    ring = [-1] * n
    path: list[int] = []
    number = 0
    for begin in range(n):
        at = begin
        if ring[at] >= 0:
            continue
        while ring[at] < 0:
            ring[at] = number
            path.append(at)
            at = following[at]
        number += 1
    chosen = np.array(path, dtype=np.int64)
    return chosen, np.array(ring, dtype=np.int64)[chosen]
