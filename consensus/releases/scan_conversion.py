"""Polygons to pixels: each pixel gets the value of the polygon that its centre lies in.

Even-odd, row by row, by where outlines cross the centres of a row. A crossing counts to its right
and a vertex to the rows below it, so that a centre on a border that two polygons share goes to
exactly one of them. The work is linear in the outlines' length in pixels and in the area; one
strip of tiles is held at a time.

Why not a library: cutting large outlines down to a tile first, which keeps one that knows only
whole polygons from looking at all vertices for each tile, fails on touching rings
(``shapely.clip_by_rect``) or costs more than everything else.

Shapes: E edges, C crossings, R runs of pixels, N polygons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.ragged import spread

__all__ = ["EMPTY", "scan_runs", "scan_tiles"]

EMPTY = 255
"""Value of a pixel whose centre lies in no polygon."""

_DECIMALS = 6
"""Of a crossing, in pixels: the same border with other vertices differs in its last digits."""


@dataclass(frozen=True)
class _Edges:
    """Edges that cross the centre of a row at all, upper end first; pixel centres are whole."""

    x: NDArray[np.float64]  # [E] of the upper end
    y: NDArray[np.float64]  # [E]
    slope: NDArray[np.float64]  # [E] x per y
    first: NDArray[np.int64]  # [E] first row whose centres it crosses
    stop: NDArray[np.int64]  # [E] one after the last
    polygon: NDArray[np.int64]  # [E]


@dataclass(frozen=True)
class _Runs:
    """Pixels of one row from ``start`` up to before ``stop``, which have one value."""

    row: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    value: NDArray[np.int64]

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> _Runs:
        return _Runs(self.row[which], self.start[which], self.stop[which], self.value[which])


def scan_tiles(
    polygons: NDArray[np.object_],
    values: NDArray[np.int64],
    *,
    downsample: float,
    columns: int,
    rows: int,
    tile_px: int,
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """The tiles that hold a pixel of a polygon, row by row and from left to right.

    Parameters
    ----------
    polygons : shape (N,)
        Valid polygons in level-0 pixels. Where two overlap, one of them wins.
    values : shape (N,)
        From 0 to 254.
    downsample
        Level-0 pixels per pixel.
    columns, rows
        Of the grid of tiles; what lies beyond it is left out.

    Yields
    ------
    column, row, and pixels of shape (tile_px, tile_px); ``EMPTY`` where there is no polygon.
    """
    edges = _edges(polygons, downsample)
    for row, of_strip in _strips(edges, tile_px, rows):
        runs = _runs(_part(edges, of_strip), values, row * tile_px, tile_px, columns * tile_px)
        for column, pixels in _paint(runs, tile_px):
            yield column, row, pixels


def scan_runs(
    polygons: NDArray[np.object_], *, downsample: float, columns: int, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The pixels of polygons as runs, row by row and from left to right; none overlaps another.

    Parameters
    ----------
    polygons : shape (N,)
        Valid polygons in level-0 pixels.
    downsample
        Level-0 pixels per pixel.
    columns, rows
        Size of the picture in pixels; what lies beyond it is left out.

    Returns
    -------
    row, start, stop : shape (R,)
        Pixels of a row from ``start`` up to before ``stop``.
    """
    values = np.zeros(len(polygons), dtype=np.int64)
    runs = _runs(_edges(polygons, downsample), values, 0, rows, columns)
    return runs.row, runs.start, runs.stop


def _edges(polygons: NDArray[np.object_], downsample: float) -> _Edges:
    rings, of_ring = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    xy = xy / downsample - 0.5
    joined = ring[1:] == ring[:-1]
    start, end = xy[:-1][joined], xy[1:][joined]
    # From top to bottom whichever way the ring runs: neighbours must compute the same crossings.
    down = (start[:, 1] <= end[:, 1])[:, None]
    upper, lower = np.where(down, start, end), np.where(down, end, start)
    first = np.ceil(upper[:, 1]).astype(np.int64)
    stop = np.ceil(lower[:, 1]).astype(np.int64)
    crossing = stop > first
    upper, lower = upper[crossing], lower[crossing]
    return _Edges(
        x=upper[:, 0],
        y=upper[:, 1],
        slope=(lower[:, 0] - upper[:, 0]) / (lower[:, 1] - upper[:, 1]),
        first=first[crossing],
        stop=stop[crossing],
        polygon=of_ring[ring[:-1][joined][crossing]],
    )


def _part(edges: _Edges, which: NDArray[np.int64]) -> _Edges:
    return _Edges(
        x=edges.x[which],
        y=edges.y[which],
        slope=edges.slope[which],
        first=edges.first[which],
        stop=edges.stop[which],
        polygon=edges.polygon[which],
    )


def _strips(edges: _Edges, tile_px: int, rows: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The edges that reach into each strip of tiles."""
    first = np.maximum(edges.first // tile_px, 0)
    last = np.minimum((edges.stop - 1) // tile_px, rows - 1)
    edge, strip = _spread(first, last)
    for start, stop in _groups(strip):
        yield int(strip[start]), edge[start:stop]


def _spread(
    first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each index with every number from first to last, in the order of the numbers."""
    count = np.maximum(last - first + 1, 0)
    index, place = spread(count)
    number = first[index] + place
    order = np.argsort(number, kind="stable")
    return index[order], number[order]


def _groups(ordered: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where each stretch of equal numbers begins and ends."""
    if len(ordered) == 0:
        return
    borders = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(ordered)]
    yield from pairwise(borders)


def _runs(edges: _Edges, values: NDArray[np.int64], top: int, tile_px: int, width_px: int) -> _Runs:
    """The runs of one strip, rows counted from its top; none overlaps another."""
    first = np.maximum(edges.first, top)
    count = np.maximum(np.minimum(edges.stop, top + tile_px) - first, 0)
    edge, step = spread(count)  # [C]
    row = first[edge] + step
    x = edges.x[edge] + (row - edges.y[edge]) * edges.slope[edge]
    pixel = np.clip(np.ceil(np.round(x, _DECIMALS)), 0, width_px).astype(np.int64)
    polygon = edges.polygon[edge]
    order = np.lexsort((pixel, polygon, row))
    enter, leave = order[::2], order[1::2]  # outlines are closed: crossings come in pairs
    runs = _Runs(row[enter] - top, pixel[enter], pixel[leave], values[polygon[enter]])
    return _disjoint(runs, width_px)


def _disjoint(runs: _Runs, width_px: int) -> _Runs:
    """Of runs that overlap, the one that begins first keeps the pixels."""
    runs = runs[np.lexsort((runs.start, runs.row))]
    offset = runs.row * (width_px + 1)
    reached = np.maximum.accumulate(runs.stop + offset) if len(offset) else offset
    start = runs.start.copy()
    start[1:] = np.maximum(start[1:], reached[:-1] - offset[1:])
    runs = _Runs(runs.row, start, runs.stop, runs.value)
    return runs[runs.stop > runs.start]


def _paint(runs: _Runs, tile_px: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The tiles of one strip that hold a run."""
    run, tile = _spread(runs.start // tile_px, (runs.stop - 1) // tile_px)
    for begin, end in _groups(tile):
        column = int(tile[begin])
        of_tile = runs[run[begin:end]]
        left = column * tile_px
        # One more column than the tile takes the end of runs that fill it to its edge. A step up
        # where a run starts and down where it stops; 0 in between becomes EMPTY by wrapping round.
        steps = np.zeros((tile_px, tile_px + 1), dtype=np.int16)
        start = np.maximum(of_tile.start - left, 0)
        stop = np.minimum(of_tile.stop - left, tile_px)
        height = (of_tile.value + 1).astype(np.int16)
        np.add.at(steps, (of_tile.row, start), height)
        np.subtract.at(steps, (of_tile.row, stop), height)
        levels = np.cumsum(steps[:, :tile_px], axis=1, dtype=np.int16)
        yield column, (levels - 1).astype(np.uint8)
