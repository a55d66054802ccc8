"""Polygons of many hands on one slide, cut into the faces of their arrangement.

The slide is cut into windows, so that the work grows linearly with the vertices and fits in
memory, and so that windows can be worked on side by side (GEOS releases the interpreter's lock).
Inside a window the outlines are noded on a grid of ``GRID_PX``: snap rounding keeps the result
free of crossings whatever the input looks like, outlines that differ by less than the grid
become one, and the grid is a thousand times finer than what 32-bit coordinates resolve at 10^5
pixels, so that areas stay those of the input to about ten digits.

Frame: level-0 pixels, origin top left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["GRID_PX", "WindowGrid", "window_faces", "windows_of_column"]

GRID_PX = 2.0**-20
"""Distance between the points that a vertex of the arrangement can take."""

WINDOW_VERTICES = 3000
"""Vertices that a window should hold on average; noding takes more than linear time."""

LEAST_WINDOW_PX, MOST_WINDOW_PX = 512, 4096
"""Sides between which the number of vertices chooses."""

POLYGON = 3  # shapely.get_type_id


@dataclass(frozen=True)
class WindowGrid:
    """The lines that cut a slide into windows, the slide's own edges among them.

    ``x_px`` and ``y_px`` are rising positions on the grid of ``GRID_PX``.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]

    @classmethod
    def over(cls, bounds_px: tuple[float, float, float, float], window_px: float) -> WindowGrid:
        """Lines ``window_px`` apart over (x_min, y_min, x_max, y_max)."""
        x_min, y_min, x_max, y_max = (round(v / GRID_PX) * GRID_PX for v in bounds_px)
        return cls(_lines(x_min, x_max, window_px), _lines(y_min, y_max, window_px))

    @staticmethod
    def side_px(bounds_px: tuple[float, float, float, float], n_vertices: int) -> float:
        """Side of a window that suits so many vertices on a slide, a power of two."""
        area_px2 = (bounds_px[2] - bounds_px[0]) * (bounds_px[3] - bounds_px[1])
        fitting = math.sqrt(area_px2 * WINDOW_VERTICES / max(1, n_vertices))
        return float(np.clip(2 ** round(math.log2(fitting)), LEAST_WINDOW_PX, MOST_WINDOW_PX))

    @property
    def n_columns(self) -> int:
        """How many columns of windows there are."""
        return len(self.x_px) - 1

    @property
    def n_rows(self) -> int:
        """How many rows of windows there are."""
        return len(self.y_px) - 1


def _lines(low: float, high: float, step: float) -> NDArray[np.float64]:
    n_steps = max(1, math.ceil((high - low) / step))
    inner = low + np.round(np.arange(1, n_steps) * (step / GRID_PX)) * GRID_PX
    return np.concatenate([[low], inner[inner < high], [high]])


def windows_of_column(
    polygons: NDArray[np.object_], grid: WindowGrid, column: int
) -> Iterator[tuple[tuple[float, float, float, float], NDArray[np.object_], NDArray[np.int64]]]:
    """Walk down one column of windows with what lies in each of them.

    Parameters
    ----------
    polygons
        Valid single polygons of the whole slide.
    grid, column
        The windows, and which column of them.

    Yields
    ------
    bounds_px, pieces, source
        The window; the polygons' parts in it, as single polygons; the index of each in
        ``polygons``. A polygon that only touches the window has no piece.
    """
    # A strip first, then its windows: an outline over k windows is then cut about 2 sqrt(k)
    # times instead of k times. shapely.clip_by_rect is faster and wrong now and then where a
    # corner of the window lies on an outline, so it isn't used.
    x_low, x_high = float(grid.x_px[column]), float(grid.x_px[column + 1])
    y_low, y_high = float(grid.y_px[0]), float(grid.y_px[-1])
    strip, of_strip = _cut(polygons, (x_low, y_low, x_high, y_high))
    for row in range(grid.n_rows):
        window = (x_low, float(grid.y_px[row]), x_high, float(grid.y_px[row + 1]))
        pieces, of_window = _cut(strip, window)
        yield window, pieces, of_strip[of_window]


def _cut(
    polygons: NDArray[np.object_], box_px: tuple[float, float, float, float]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Parts of polygons in a box, and the polygon that each is of."""
    x_low, y_low, x_high, y_high = box_px
    x_min, y_min, x_max, y_max = shapely.bounds(polygons).T
    near = np.flatnonzero((x_min < x_high) & (x_max > x_low) & (y_min < y_high) & (y_max > y_low))
    pieces = polygons[near]
    over = np.flatnonzero(
        (x_min[near] < x_low)
        | (x_max[near] > x_high)
        | (y_min[near] < y_low)
        | (y_max[near] > y_high)
    )
    if over.size == 0:
        return pieces, near
    pieces[over] = shapely.intersection(pieces[over], shapely.box(*box_px))
    parts, of = shapely.get_parts(pieces, return_index=True)
    solid = (shapely.get_type_id(parts) == POLYGON) & ~shapely.is_empty(parts)
    return parts[solid], near[of[solid]]


def window_faces(
    pieces: NDArray[np.object_], bounds_px: tuple[float, float, float, float]
) -> tuple[NDArray[np.object_], NDArray[np.int64], NDArray[np.int64]]:
    """Atomic faces of the polygons in one window.

    The faces tile the window: no two overlap, and no outline runs through one.

    Parameters
    ----------
    pieces : shape (n_pieces,)
        Polygons inside the window.
    bounds_px
        The window.

    Returns
    -------
    faces : shape (n_faces,)
        Polygons.
    piece, face : shape (n_pairs,)
        Which piece covers which face.
    """
    frame = shapely.box(*bounds_px)
    if len(pieces) == 0:
        none = np.empty(0, dtype=np.int64)
        return np.array([frame], dtype=object), none, none
    outlines = shapely.boundary(np.append(pieces, frame))
    noded = shapely.unary_union(outlines, grid_size=GRID_PX)
    faces = shapely.get_parts(shapely.polygonize([noded]))
    # Points in the tree and polygons as queries, so that each polygon is indexed once for all
    # the points near it; the other way round costs faces times vertices.
    points = shapely.point_on_surface(faces)
    piece, face = shapely.STRtree(points).query(pieces, predicate="intersects")
    return _without_threads(faces, piece, face)


def _without_threads(
    faces: NDArray[np.object_], piece: NDArray[np.int64], face: NDArray[np.int64]
) -> tuple[NDArray[np.object_], NDArray[np.int64], NDArray[np.int64]]:
    """Let faces no wider than the grid belong to what their longest neighbour belongs to.

    Rounding to the grid can open such a face between two outlines, with a pattern of labels that
    nobody drew.
    """
    width_px = 2 * shapely.area(faces) / shapely.length(faces)
    thread = width_px < 2 * GRID_PX
    if not thread.any() or thread.all():
        return faces, piece, face
    tree = shapely.STRtree(faces)
    keep = ~thread[face]
    pieces_added: list[NDArray[np.int64]] = [piece[keep]]
    faces_added: list[NDArray[np.int64]] = [face[keep]]
    for index in np.flatnonzero(thread):
        near = tree.query(faces[index], predicate="intersects")
        near = near[~thread[near]]
        if near.size == 0:
            own = piece[face == index]
        else:
            shared_px = shapely.length(shapely.intersection(faces[index], faces[near]))
            own = piece[face == near[np.argmax(shared_px)]]
        pieces_added.append(own)
        faces_added.append(np.full(len(own), index, dtype=np.int64))
    return faces, np.concatenate(pieces_added), np.concatenate(faces_added)
