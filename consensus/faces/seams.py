"""Joining faces that the lines between windows cut in two.

Faces on either side of a line share it, but not its vertices: an outline that ends on the line
is known on its own side only. Here both sides get the vertices of both, so that shared edges are
the same edges and cancel, and the vertices that no outline needs are taken out again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry

from consensus.faces.noding import GRID_PX, WindowGrid

__all__ = ["dissolve_coverage", "dissolve_windows"]

LINE_BITS = 40
"""Bits for the place along a line; 2^40 steps of the grid are a million pixels."""

HASH = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64).astype(np.int64)
"""Scatters places over all numbers (the fraction of the golden ratio, and a prime)."""

CLOSE_STEPS = 8
"""Steps of the grid within which two vertices on a line stay both, or else might cross."""

OFF = -1
"""The key of a vertex that lies on no line."""


def dissolve_coverage(
    faces: NDArray[np.object_], group: NDArray[np.int64], n_groups: int, threads: int = 1
) -> NDArray[np.object_]:
    """Join the faces of each group; shared edges must have the same vertices on both sides.

    Returns
    -------
    shape (n_groups,)
        Polygons and multipolygons; an empty polygon where a group has no face.
    """
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(n_groups + 1))

    def join(number: int) -> Geometry:
        members = faces[order[bounds[number] : bounds[number + 1]]]
        if len(members) < 2:
            return members[0] if len(members) else shapely.Polygon()
        return shapely.coverage_union_all(members)

    joined = np.empty(n_groups, dtype=object)
    if threads == 1:
        joined[:] = [join(number) for number in range(n_groups)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            joined[:] = list(pool.map(join, range(n_groups)))
    return joined


def dissolve_windows(
    faces: NDArray[np.object_],
    group: NDArray[np.int64],
    grid: WindowGrid,
    wanted: NDArray[np.bool_],
    threads: int,
) -> NDArray[np.object_]:
    """Join the faces of each group across the lines of the windows, without a trace of them.

    Parameters
    ----------
    faces : shape (n_faces,)
        Polygons or multipolygons that tile their union, each within one window.
    group : shape (n_faces,)
        The group of each face.
    grid
        The lines.
    wanted : shape (n_groups,)
        Groups to join; the others come out as empty polygons.
    threads
        How many groups are joined at a time.
    """
    parts, of = shapely.get_parts(faces, return_index=True)
    part_group = group[of]
    parts = _completed(parts, grid)
    passed = _passed_through(parts, part_group, grid)
    chosen = wanted[part_group]
    parts, part_group = parts[chosen], part_group[chosen]
    joined = dissolve_coverage(parts, part_group, len(wanted), threads)
    straight = _straightened(joined, passed, grid)
    if shapely.is_valid(straight).all():
        return straight
    # Two borders a step of the grid apart, just where they cross a line: leave all as it was.
    for number in np.flatnonzero(~shapely.is_valid(joined)):
        joined[number] = shapely.union_all(parts[part_group == number], grid_size=GRID_PX)
    return joined


def _completed(polygons: NDArray[np.object_], grid: WindowGrid) -> NDArray[np.object_]:
    """Polygons whose edges along lines have a vertex wherever any polygon has one."""
    near, coords, ring, polygon = _vertices_near_lines(polygons, grid)
    if near.size == 0:
        return polygons
    same_ring = ring[1:] == ring[:-1]
    missing, places = [], []
    for axis, key in enumerate(_keys(coords, grid)):
        nodes = np.unique(key[key != OFF])
        along = same_ring & (key[1:] != OFF) & (key[:-1] != OFF)
        along &= key[1:] >> LINE_BITS == key[:-1] >> LINE_BITS
        edge = np.flatnonzero(along)
        low = np.minimum(key[edge], key[edge + 1])
        high = np.maximum(key[edge], key[edge + 1])
        first = np.searchsorted(nodes, low, side="right")
        count = np.searchsorted(nodes, high, side="left") - first
        count = np.maximum(count, 0)
        # 0, 1, ... within each edge, backwards on edges that run backwards
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        backwards = np.repeat(key[edge] > key[edge + 1], count)
        step = np.where(backwards, np.repeat(count, count) - 1 - step, step)
        key_new = nodes[np.repeat(first, count) + step]
        new = np.empty((len(key_new), 2))
        new[:, axis] = coords[np.repeat(edge, count), axis]
        new[:, 1 - axis] = _place(key_new, grid, axis)
        missing.append(new)
        places.append(np.repeat(edge + 1, count))
    at = np.concatenate(places)
    if at.size == 0:
        return polygons
    coords = np.insert(coords, at, np.concatenate(missing), axis=0)
    ring = np.insert(ring, at, ring[at - 1])
    completed = polygons.copy()
    completed[near] = shapely.polygons(shapely.linearrings(coords, indices=ring), indices=polygon)
    return completed


def _passed_through(
    polygons: NDArray[np.object_], group: NDArray[np.int64], grid: WindowGrid
) -> NDArray[np.complex128]:
    """Vertices on lines at which one border passes and none begins, as sorted x + iy.

    A border is an edge with different groups on its two sides, or with nothing on one of them.
    """
    near, coords, ring, polygon = _vertices_near_lines(polygons, grid)
    vertex, on_line = coords[:, 0] + 1j * coords[:, 1], _on_lines(coords, grid)
    edge = np.flatnonzero((ring[1:] == ring[:-1]) & (on_line[1:] | on_line[:-1]))
    if edge.size == 0:
        return np.empty(0, dtype=np.complex128)
    vertices, ends = np.unique(
        np.concatenate([vertex[edge], vertex[edge + 1]]), return_inverse=True
    )
    one, other = np.sort(ends.reshape(2, -1), axis=0)
    side = group[near[polygon[ring[edge]]]]
    order = np.lexsort((other, one))
    one, other, side = one[order], other[order], side[order]
    again = (one[1:] == one[:-1]) & (other[1:] == other[:-1])
    inside = again & (side[1:] == side[:-1])
    border = ~(np.append(inside, False) | np.append(False, inside))
    border[1:] &= ~again  # an edge between two groups counts once
    n_borders = np.bincount(np.concatenate([one[border], other[border]]), minlength=len(vertices))
    places = np.stack([vertices.real, vertices.imag], axis=1)
    free = _on_lines(places, grid) & (n_borders == 2)
    # A border that all but touches another must not be pulled across it.
    for key in _keys(places, grid):
        order = np.argsort(key)
        order = order[key[order] != OFF]
        close = np.diff(key[order]) < CLOSE_STEPS
        free[order[1:][close]] = free[order[:-1][close]] = False
    passed: NDArray[np.complex128] = vertices[free]
    return passed


def _straightened(
    regions: NDArray[np.object_], passed: NDArray[np.complex128], grid: WindowGrid
) -> NDArray[np.object_]:
    """Regions without the vertices that only a line between windows has put on an edge.

    Every border is walked in both directions, by the regions on its two sides, and loses the same
    vertices on both: whether one goes is worked out from its two neighbours without regard to
    their order, and of two in a row the one goes first that a hash of its place decides on.
    """
    polygons, of = shapely.get_parts(regions, return_index=True)
    near, coords, ring, polygon = _vertices_near_lines(polygons, grid)
    if near.size == 0 or passed.size == 0:
        return regions
    closes = np.append(ring[1:] != ring[:-1], True)
    vertex, ring = (coords[:, 0] + 1j * coords[:, 1])[~closes], ring[~closes]
    free = passed[np.minimum(np.searchsorted(passed, vertex), len(passed) - 1)] == vertex
    turn = np.rint(coords[~closes] / GRID_PX).astype(np.int64) @ HASH
    while True:
        before, after = _neighbours(ring)
        low, high = (
            np.minimum(vertex[before], vertex[after]),
            np.maximum(vertex[before], vertex[after]),
        )
        chord, bend = high - low, vertex - low
        off_px2 = np.abs(chord.real * bend.imag - chord.imag * bend.real)
        between = (bend * (high - vertex).conj()).real > 0
        goes = free & between & (off_px2 <= 2 * GRID_PX * np.abs(chord))
        if not goes.any():
            break
        outdone = (goes[before] & (turn[before] > turn)) | (goes[after] & (turn[after] > turn))
        goes &= ~outdone
        vertex, ring, free, turn = (values[~goes] for values in (vertex, ring, free, turn))
    coords = np.stack([vertex.real, vertex.imag], axis=1)
    polygons[near] = shapely.polygons(shapely.linearrings(coords, indices=ring), indices=polygon)
    straight = regions.copy()
    n_parts = np.bincount(of, minlength=len(regions))
    straight[of[n_parts[of] == 1]] = polygons[n_parts[of] == 1]
    several = n_parts > 1
    straight[several] = shapely.multipolygons(
        polygons[several[of]], indices=(np.cumsum(several) - 1)[of[several[of]]]
    )
    return straight


def _neighbours(ring: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The vertices before and after each one on its ring, which isn't closed."""
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    last = np.append(first[1:], len(ring)) - 1
    before, after = np.arange(-1, len(ring) - 1), np.arange(1, len(ring) + 1)
    before[first], after[last] = last, first
    return before, after


def _vertices_near_lines(
    polygons: NDArray[np.object_], grid: WindowGrid
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The polygons that touch or cross an inner line, and their vertices.

    Returns
    -------
    near
        Indices of those polygons.
    coords : shape (n_vertices, 2)
        Their vertices.
    ring : shape (n_vertices,)
        The ring of each vertex.
    polygon : shape (n_rings,)
        The place in ``near`` of each ring's polygon; shells stand before holes.
    """
    x_min, y_min, x_max, y_max = shapely.bounds(polygons).reshape(-1, 4).T
    near = np.zeros(len(polygons), dtype=bool)
    for low, high, lines in ((x_min, x_max, grid.x_px), (y_min, y_max, grid.y_px)):
        inner = lines[1:-1]
        near |= np.searchsorted(inner, low, "left") < np.searchsorted(inner, high, "right")
    index = np.flatnonzero(near)
    rings, polygon = shapely.get_rings(polygons[index], return_index=True)
    coords, ring = shapely.get_coordinates(rings, return_index=True)
    return index, coords, ring, polygon


def _keys(coords: NDArray[np.float64], grid: WindowGrid) -> list[NDArray[np.int64]]:
    """Name each vertex by its vertical and its horizontal line and its place along it."""
    keys = []
    for axis, lines, other in ((0, grid.x_px, grid.y_px), (1, grid.y_px, grid.x_px)):
        inner = lines[1:-1]
        number = np.searchsorted(inner, coords[:, axis])
        on = np.zeros(len(coords), dtype=bool)
        if inner.size:
            on = inner[np.minimum(number, len(inner) - 1)] == coords[:, axis]
        step = np.rint((coords[:, 1 - axis] - other[0]) / GRID_PX).astype(np.int64)
        keys.append(np.where(on, (number << LINE_BITS) + step, OFF))
    return keys


def _on_lines(coords: NDArray[np.float64], grid: WindowGrid) -> NDArray[np.bool_]:
    """Which vertices lie on an inner line."""
    on: NDArray[np.bool_] = np.isin(coords[:, 0], grid.x_px[1:-1])
    on |= np.isin(coords[:, 1], grid.y_px[1:-1])
    return on


def _place(key: NDArray[np.int64], grid: WindowGrid, axis: int) -> NDArray[np.float64]:
    """The coordinate along a line of that ``axis`` that a key names."""
    origin = (grid.y_px if axis == 0 else grid.x_px)[0]
    place: NDArray[np.float64] = origin + (key & ((1 << LINE_BITS) - 1)) * GRID_PX
    return place
