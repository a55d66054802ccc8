"""The outlines of polygons on a grid: rings of whole numbers, on which geometry is exact.

A coordinate is a multiple of ``GRID_PX``, held as a 64-bit integer. The grid is a thousand times
finer than what 32-bit coordinates resolve at 10^5 pixels, so that areas stay those of the input
to about ten digits. Long edges get vertices in between: the products of differences that decide
on which side of an edge a point lies then fit into 64 bits, and no decision is rounded.

Frame: level-0 pixels, origin top left. Shapes: V vertices, N rings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.ragged import spread

__all__ = ["GRID_PX", "Outlines"]

BLOCK_VERTICES = 1 << 18
"""Vertices that are looked at together."""

Number = TypeVar("Number", bound=np.generic)

GRID_PX = 2.0**-20
"""Distance between the points that a vertex can take."""

LONGEST = 1 << 28
"""Most steps of the grid that an edge runs along an axis, 256 px: products of two differences
between points near the same edge stay below 2^62."""


@dataclass(frozen=True)
class Outlines:
    """Rings, one after the other, without the vertex that closes them.

    ``x`` and ``y`` (V,) are steps of the grid, and no vertex equals the one before it. ``start``
    (N + 1,) says where each ring begins, ``polygon`` (N,) which polygon it bounds, ``inward`` (N,)
    whether the polygon lies on its left (1) or on its right (-1). ``shell`` (N,)
    tells the outer ring of a polygon from the rings of its holes. ``bends`` (V,) marks all vertices
    but those that only keep edges short, ``node`` (V,) those at which outlines meet.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    start: NDArray[np.int64]
    polygon: NDArray[np.int64]
    shell: NDArray[np.bool_]
    inward: NDArray[np.int8]
    bends: NDArray[np.bool_]
    node: NDArray[np.bool_]

    @classmethod
    def of(cls, polygons: NDArray[np.object_]) -> Outlines:
        """Round the rings of valid single polygons to the grid."""
        # What lies side by side on the slide then does so in memory, too.
        order = _by_place(polygons)
        rings, polygon = shapely.get_rings(polygons[order], return_index=True)
        shell = np.diff(polygon, prepend=-1) != 0
        inward = np.where(shapely.is_ccw(rings) == shell, 1, -1).astype(np.int8)
        x, y, size = _on_grid(rings)
        kept = size > 0
        return cls(
            x=x,
            y=y,
            start=np.concatenate([[0], np.cumsum(size[kept])]),
            polygon=order[polygon[kept]],
            shell=shell[kept],
            inward=inward[kept],
            bends=np.ones(len(x), dtype=bool),
            node=np.zeros(len(x), dtype=bool),
        )._with_short_edges()

    @property
    def following(self) -> NDArray[np.int64]:
        """The next vertex on the ring of each vertex, (V,); edge i runs from i to it."""
        following = np.arange(1, len(self.x) + 1)
        following[self.start[1:] - 1] = self.start[:-1]
        return following

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """Runs of vertices, and the next vertex on the ring of each.

        What takes several numbers for each vertex goes block by block: memory that stays small is
        used again, and stays in the processor's cache.
        """
        for first in range(0, len(self.x), BLOCK_VERTICES):
            stop = min(first + BLOCK_VERTICES, len(self.x))
            following = np.arange(first + 1, stop + 1)
            low = np.searchsorted(self.start[1:], first, side="right")
            high = np.searchsorted(self.start[1:], stop, side="right")
            following[self.start[1 + low : 1 + high] - 1 - first] = self.start[low:high]
            yield slice(first, stop), following

    def _with_short_edges(self) -> Outlines:
        """Add vertices along edges that are too long for exact products.

        They stand on fixed lines across the slide, so that edges along each other get the same.
        """
        found = [(np.empty(0, dtype=np.int64),) * 2]
        for block, following in self.blocks():
            long = np.abs(self.x[following] - self.x[block]) > LONGEST
            long |= np.abs(self.y[following] - self.y[block]) > LONGEST
            found.append((block.start + np.flatnonzero(long), following[long]))
        long, after = (np.concatenate(ends) for ends in zip(*found, strict=True))
        x, y = self.x[long], self.y[long]
        dx, dy = self.x[after] - x, self.y[after] - y
        flat = np.abs(dx) >= np.abs(dy)
        start, run = np.where(flat, x, y), np.where(flat, dx, dy)
        low, high = np.minimum(start, start + run), np.maximum(start, start + run)
        first = low // LONGEST + 1
        n_new = (high - 1) // LONGEST - first + 1
        edge, step = spread(n_new)
        step = np.where(run[edge] > 0, step, n_new[edge] - 1 - step)
        place = (first[edge] + step) * LONGEST
        share = (place - start[edge]) / run[edge]
        beside = np.where(flat, y, x)[edge]
        beside += np.rint(np.where(flat, dy, dx)[edge] * share).astype(np.int64)
        x, y = np.where(flat[edge], place, beside), np.where(flat[edge], beside, place)
        return self.with_vertices(long[edge], x, y, node=False)

    def with_vertices(
        self, edge: NDArray[np.int64], x: NDArray[np.int64], y: NDArray[np.int64], *, node: bool
    ) -> Outlines:
        """Put vertices on edges, sorted by edge; those on one edge must come in its order."""
        if len(edge) == 0:
            return self
        new = edge + 1 + np.arange(len(edge))
        is_old = np.ones(len(self.x) + len(edge), dtype=bool)
        is_old[new] = False

        def merged(own: NDArray[Number], added: NDArray[Number] | bool) -> NDArray[Number]:
            both = np.empty(len(is_old), dtype=own.dtype)
            both[is_old], both[new] = own, added
            return both

        return replace(
            self,
            x=merged(self.x, x),
            y=merged(self.y, y),
            start=self.start + np.searchsorted(edge, self.start),
            bends=merged(self.bends, node),
            node=merged(self.node, node),
        )


def _on_grid(
    rings: NDArray[np.object_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Vertices of rings in steps of the grid, without those that equal the one before.

    Returns
    -------
    x, y : shape (V,)
    size : shape (n_rings,)
        Vertices of each ring; none where rounding made a point of it.
    """
    stop = np.cumsum(shapely.get_num_coordinates(rings))
    cuts = np.unique(np.searchsorted(stop, np.arange(0, stop.max(initial=0), BLOCK_VERTICES)))
    columns = [(np.empty(0, dtype=np.int64),) * 3]
    for first, last in itertools.pairwise([*cuts.tolist(), len(rings)]):
        coords = shapely.get_coordinates(rings[first:last])
        x, y = np.rint(coords * (1 / GRID_PX)).astype(np.int64).T
        closing = stop[first:last] - (stop[first - 1] if first else 0) - 1
        new = np.zeros(len(x), dtype=bool)
        new[:-1] = (x[1:] != x[:-1]) | (y[1:] != y[:-1])
        new[closing] = False
        size = np.add.reduceat(new, np.append(0, closing[:-1] + 1), dtype=np.int64)
        new &= np.repeat(size > 1, np.diff(closing, prepend=-1))
        columns.append((x[new], y[new], np.where(size > 1, size, 0)))
    x, y, size = (np.concatenate(column) for column in zip(*columns, strict=True))
    return x, y, size


def _by_place(polygons: NDArray[np.object_]) -> NDArray[np.int64]:
    """Polygons in rows from the top to the bottom of the slide, each row from left to right."""
    x, y, _, y_max = shapely.bounds(polygons).reshape(-1, 4).T
    height_px = max(float(np.mean(y_max - y)), GRID_PX) if len(polygons) else GRID_PX
    return np.lexsort((x, np.floor(y / height_px)))
