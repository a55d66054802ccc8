"""How much of each cell of a grid each polygon covers: exactly, and without cutting polygons.

An edge that runs through a cell covers the part of the cell to its right, and all cells to the
right of it over the height that it spans. Added up with sign around a polygon this is the area of
the polygon in each cell (the boundary integral of the area, cell by cell). The work is linear in
the edges, in the cells that they run through, and in the pairs that come out.

Frame: level-0 pixels, origin top left; areas in square pixels.
Shapes: E edges, F polygons, C columns, R rows, P pieces of edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import shapely
from numpy.typing import NDArray

from consensus.ragged import spread

__all__ = ["Edges", "cell_areas", "clean_shares", "distributions", "edges_of", "tile_areas"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NOISE = 1e-9
"""Share of a cell below which an area is a rounding error."""

_BORDER_DECIMALS = 6
"""Of the borders of tiles, in pixels: those of neighbours differ in their last digits."""

_SHARE_DECIMALS = 9
"""Of shares of an area: what is 1 but for its last digits is 1."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges that are not horizontal, upper end first.

    ``x0, y0`` and ``x1, y1`` (E,) are the ends, ``sign`` (E,) is 1 where the polygon lies to the
    right and -1 where it lies to the left, ``polygon`` (E,) is whose edge it is, and ``ring`` (E,)
    which of all rings.
    """

    x0: Floats
    y0: Floats
    x1: Floats
    y1: Floats
    sign: Floats
    polygon: Ints
    ring: Ints

    def __getitem__(self, which: Ints | NDArray[np.bool_]) -> Edges:
        return Edges(
            self.x0[which],
            self.y0[which],
            self.x1[which],
            self.y1[which],
            self.sign[which],
            self.polygon[which],
            self.ring[which],
        )

    def __len__(self) -> int:
        return len(self.x0)


def edges_of(polygons: NDArray[np.object_]) -> Edges:
    """The edges of polygons and multipolygons, which must be valid."""
    parts, owner = shapely.get_parts(polygons, return_index=True)
    rings, part = shapely.get_rings(shapely.orient_polygons(parts), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    joined = ring[1:] == ring[:-1]
    start, end = xy[:-1][joined], xy[1:][joined]
    of_edge = ring[:-1][joined]
    slanted = start[:, 1] != end[:, 1]
    start, end, of_edge = start[slanted], end[slanted], of_edge[slanted]
    # From top to bottom whichever way the ring runs: neighbours compute the same crossings.
    down = start[:, 1] < end[:, 1]
    upper, lower = np.where(down[:, None], start, end), np.where(down[:, None], end, start)
    return Edges(
        x0=upper[:, 0],
        y0=upper[:, 1],
        x1=lower[:, 0],
        y1=lower[:, 1],
        sign=np.where(down, -1.0, 1.0),
        polygon=owner[part[of_edge]].astype(np.int64),
        ring=of_edge.astype(np.int64),
    )


def tile_areas(
    edges: Edges, n_polygons: int, x_px: Floats, y_px: Floats, side_px: float
) -> scipy.sparse.csr_array:
    """The area of each polygon in each tile.

    Parameters
    ----------
    x_px, y_px : shape (n,)
        Top left corners of tiles on a grid, with or without overlap. Tiles at n unrelated places
        cost as much as n x n of a grid.
    side_px
        Side of a tile.

    Returns
    -------
    shape (n, F), sparse, in square pixels
    """
    x0, x1 = np.round(x_px, _BORDER_DECIMALS), np.round(x_px + side_px, _BORDER_DECIMALS)
    y0, y1 = np.round(y_px, _BORDER_DECIMALS), np.round(y_px + side_px, _BORDER_DECIMALS)
    x_cuts, y_cuts = np.unique(np.concatenate([x0, x1])), np.unique(np.concatenate([y0, y1]))
    if len(x_px) == 0:
        return scipy.sparse.csr_array((0, n_polygons))
    areas = cell_areas(edges, n_polygons, x_cuts, y_cuts)
    left, right = np.searchsorted(x_cuts, x0), np.searchsorted(x_cuts, x1)
    top, bottom = np.searchsorted(y_cuts, y0), np.searchsorted(y_cuts, y1)
    tile, down = spread(bottom - top)
    of_row, across = spread((right - left)[tile])
    cell = (top[tile] + down)[of_row] * (len(x_cuts) - 1) + left[tile][of_row] + across
    tile = tile[of_row]
    holds = scipy.sparse.csr_array(
        (np.ones(len(cell)), (tile, cell)), shape=(len(x_px), areas.shape[0])
    )
    return scipy.sparse.csr_array(holds @ areas)


def cell_areas(
    edges: Edges, n_polygons: int, x_cuts: Floats, y_cuts: Floats
) -> scipy.sparse.csr_array:
    """The area of each polygon in each cell of a grid.

    Parameters
    ----------
    x_cuts, y_cuts : shapes (C + 1,), (R + 1,)
        Borders of columns and rows, ascending.

    Returns
    -------
    shape (R * C, F), sparse, in square pixels; cells row by row
    """
    n_columns, n_rows = len(x_cuts) - 1, len(y_cuts) - 1
    width = np.append(np.diff(x_cuts), 0.0)  # [C + 1]
    row, column, polygon, height, part = _pieces(edges, x_cuts, y_cuts)
    # Beside the C columns stands one for what lies right of the grid: each row of a polygon then
    # adds up to 0, and the running sum below never drifts.
    key = (polygon * n_rows + row) * (n_columns + 1) + column
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if len(first) == 0:
        return scipy.sparse.csr_array((n_rows * n_columns, n_polygons))
    key = key[first]
    height = np.add.reduceat(height[order], first)
    part = np.add.reduceat(part[order], first)
    band, column = np.divmod(key, n_columns + 1)
    through = np.cumsum(height)  # of the row's height, right of this entry
    area = part + (through - height) * width[column]
    # Cells that no edge runs through, between two that one does: covered over their whole height.
    gap = np.where(
        np.append(band[1:] == band[:-1], False), np.append(column[1:], 0) - column - 1, 0
    )
    row_height = np.diff(y_cuts)[band % n_rows]
    gap[np.abs(through) <= _NOISE * row_height] = 0
    entry, step = spread(gap)
    between = column[entry] + 1 + step
    band = np.concatenate([band, band[entry]])
    column = np.concatenate([column, between])
    area = np.concatenate([area, through[entry] * width[between]])
    polygon, row = np.divmod(band, n_rows)
    real = (column < n_columns) & (area > _NOISE * width[column] * np.diff(y_cuts)[row])
    return scipy.sparse.csr_array(
        (area[real], (row[real] * n_columns + column[real], polygon[real])),
        shape=(n_rows * n_columns, n_polygons),
    )


def distributions(mass: Floats, *, axis: int = -1) -> NDArray[np.float32]:
    """Shares that sum to 1 along an axis, or stay 0 where all are 0."""
    total = mass.sum(axis=axis, keepdims=True)
    whole = np.where(total > 0, total, 1.0)
    shares: NDArray[np.float32] = (mass / whole).astype(np.float32)
    return shares


def clean_shares(share: Floats) -> Floats:
    """Shares of an area without the noise of their last digits, from 0 to 1."""
    return np.clip(np.round(share, _SHARE_DECIMALS), 0.0, 1.0)


def _pieces(
    edges: Edges, x_cuts: Floats, y_cuts: Floats
) -> tuple[Ints, Ints, Ints, Floats, Floats]:
    """Edges cut at the borders of rows and columns.

    Returns
    -------
    row, column, polygon : shape (P,)
        Column C holds what lies right of the grid; what lies left of it counts at its left border.
    height, part : shape (P,)
        With sign: the height that a piece spans, and what it covers of its own cell.
    """
    n_columns = len(x_cuts) - 1
    edge, row, x0, x1, height = _cut_at_rows(edges, y_cuts)
    left, right = np.minimum(x0, x1), np.maximum(x0, x1)
    first = np.searchsorted(x_cuts, left, side="right") - 1
    last = np.maximum(np.searchsorted(x_cuts, right, side="left") - 1, first)
    piece, step = spread(last - first + 1)
    column = first[piece] + step
    borders = np.concatenate([[-np.inf], x_cuts, [np.inf]])
    begin = np.maximum(left[piece], borders[column + 1])
    end = np.minimum(right[piece], borders[column + 2])
    length = (right - left)[piece]
    upright = length == 0
    share = np.where(upright, 1.0, (end - begin) / np.where(upright, 1.0, length))
    height = height[piece] * share
    middle = np.clip((begin + end) / 2, x_cuts[0], x_cuts[-1])
    column = np.clip(column, 0, n_columns)
    part = height * (np.append(x_cuts, x_cuts[-1])[column + 1] - middle)
    part[column == n_columns] = 0.0
    return row[piece], column, edges.polygon[edge[piece]], height, part


def _cut_at_rows(edges: Edges, y_cuts: Floats) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Edge, row, x at both ends and the signed height of each stretch of an edge in one row."""
    n_rows = len(y_cuts) - 1
    first = np.maximum(np.searchsorted(y_cuts, edges.y0, side="right") - 1, 0)
    last = np.minimum(np.searchsorted(y_cuts, edges.y1, side="left") - 1, n_rows - 1)
    edge, step = spread(np.maximum(last - first + 1, 0))
    row = first[edge] + step
    x0, y0, x1, y1 = (a[edge] for a in (edges.x0, edges.y0, edges.x1, edges.y1))
    top, bottom = np.maximum(y0, y_cuts[row]), np.minimum(y1, y_cuts[row + 1])
    slope = (x1 - x0) / (y1 - y0)
    at_top = np.where(top == y0, x0, x0 + (top - y0) * slope)
    at_bottom = np.where(bottom == y1, x1, x0 + (bottom - y0) * slope)
    return edge, row, at_top, at_bottom, (bottom - top) * edges.sign[edge]
