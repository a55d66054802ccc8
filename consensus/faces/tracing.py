"""Tracing the regions of an arrangement: polygons around everything that bears one label.

Chains between two faces of one label fall away; what is left are borders, and every region is
traced along them. Neighbouring regions run along the same chains, so they share their borders
vertex by vertex.

Shapes: H half-chains, Y cycles, L labels, N rings.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import depth_first_order

from consensus.faces.arrangement import Arrangement
from consensus.faces.enclosure import Rings
from consensus.faces.outlines import GRID_PX
from consensus.faces.turns import Ints, numbered_cycles
from consensus.ragged import spread

__all__ = ["trace_regions"]

NO_LABEL = -1

BATCH_VERTICES = 1 << 17
"""About how many vertices are traced at a time: it takes thirty numbers for each."""


def trace_regions(
    arrangement: Arrangement, label: Ints, wanted: NDArray[np.bool_], *, threads: int
) -> NDArray[np.object_]:
    """One polygon or multipolygon per label.

    Parameters
    ----------
    label : shape (n_cycles,)
        Of the face inside each cycle, -1 where there is none.
    wanted : shape (n_labels,)
        Labels to trace; the others come out as empty polygons.
    threads
        Batches of labels that are traced at a time.
    """
    regions = np.full(len(wanted), shapely.Polygon(), dtype=object)
    left = label.astype(arrangement.cycle.dtype, copy=False)[arrangement.cycle]
    is_border = left != left.reshape(-1, 2)[:, ::-1].reshape(-1)
    border = arrangement.along(is_border[::2])
    chosen = np.flatnonzero(is_border & np.append(wanted, False)[left])
    if len(chosen) == 0:
        return regions
    following = _parted_at_nodes(border, chosen)
    chosen = chosen[np.argsort(left[chosen], kind="stable")]

    def trace(batch: Ints) -> tuple[NDArray[np.object_], Ints]:
        half_chain, ring = _in_order(following, batch)
        vertex, of = _vertices(border, half_chain)
        ring_label = np.empty(int(ring.max()) + 1, dtype=np.int64)
        ring_label[ring] = left[half_chain]
        return _joined(*_polygons(arrangement, vertex, ring[of], ring_label))

    n_vertices = np.cumsum(arrangement.n_edges[chosen >> 1])
    begins = np.flatnonzero(np.diff(left[chosen], prepend=NO_LABEL))
    batch_of = np.append(0, n_vertices)[begins] // BATCH_VERTICES
    cuts = begins[np.diff(batch_of, prepend=-1) != 0]
    with ThreadPoolExecutor(threads) as pool:
        for traced, found in pool.map(trace, np.split(chosen, cuts[1:])):
            regions[found] = traced
    return regions


def _joined(polygons: NDArray[np.object_], label: Ints) -> tuple[NDArray[np.object_], Ints]:
    """One geometry per label, and the labels."""
    order = np.argsort(label, kind="stable")
    polygons = polygons[order]
    found, first, n_parts = np.unique(label[order], return_index=True, return_counts=True)
    regions = polygons[first]
    several = n_parts > 1
    if several.any():
        of = np.repeat(np.arange(several.sum()), n_parts[several])
        regions[several] = shapely.multipolygons(polygons[np.repeat(several, n_parts)], indices=of)
    return regions, found


def _parted_at_nodes(border: Arrangement, chosen: Ints) -> Ints:
    """What follows each half-chain on its ring, (H,): a walk that meets itself becomes two rings.

    A walk around a region that comes to a node twice encloses something between the two times: a
    hole that touches the outline there, or another hole. It is linked anew around what lies
    between, the way that rings of polygons touch.
    """
    following = border.turns.following()
    cycle = numbered_cycles(following)
    visit = cycle[chosen].astype(np.int64) * len(border.bends) + border.origin[chosen]
    order = np.argsort(visit)
    again = np.diff(visit[order]) == 0
    twice = chosen[order[np.append(again, False) | np.append(False, again)]]
    if len(twice) == 0:
        return following
    place = np.empty(len(cycle), dtype=np.int64)
    place[border.turns.order] = np.arange(len(border.turns.order))
    # Around the node, each walk in (its half-chain backwards) and each walk out.
    before = np.empty(len(cycle), dtype=np.int64)
    before[following[chosen]] = chosen
    into = before[twice]
    half_chain = np.concatenate([into, twice])
    leaves = np.repeat([False, True], len(twice))
    at = place[np.where(leaves, half_chain, half_chain ^ 1)]
    order = np.lexsort((at, border.turns.node[at], cycle[half_chain]))
    half_chain, leaves, node = half_chain[order], leaves[order], border.turns.node[at[order]]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(node) != 0) | (np.diff(cycle[half_chain]) != 0)
    first = np.flatnonzero(begins)
    counterclockwise = np.arange(1, len(order) + 1)
    counterclockwise[np.append(first[1:], len(order)) - 1] = first
    following[half_chain[~leaves]] = half_chain[counterclockwise[~leaves]]
    return following


def _in_order(following: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Half-chains in the order of their rings, and the ring of each; rings are numbered from 0."""
    place = np.full(len(following), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    after = place[following[chosen]]
    ring = numbered_cycles(after)
    _, first = np.unique(ring, return_index=True)
    # Each ring goes on with the next one instead of closing, which makes one path of them all.
    n = len(chosen)
    before = np.empty(n, dtype=np.int64)
    before[after] = np.arange(n)
    path = after.copy()
    path[before[first[:-1]]] = first[1:]
    last = before[first[-1]]
    starts = np.arange(n + 1) - (np.arange(n + 1) > last)
    links = csr_array((np.ones(n - 1, dtype=bool), np.delete(path, last), starts), shape=(n, n))
    order, _ = depth_first_order(links, first[0], directed=True)
    return chosen[order], ring[order]


def _vertices(border: Arrangement, half_chain: Ints) -> tuple[Ints, Ints]:
    """The vertices along half-chains, the last one of each left out, and each one's half-chain.

    Those that stand on a straight line, and only keep edges short, are left out on all sides.
    """
    chain, back = half_chain >> 1, (half_chain & 1) == 1
    n = border.n_edges[chain]
    of, step = spread(n)
    first = border.first[chain]
    vertex = np.where(back, first + n, first)[of] + np.where(back, -1, 1)[of] * step
    begins = back[of] & (step == 0)
    vertex[begins] = border.last[chain[of[begins]]]
    n_borders = np.bincount(border.turns.node, minlength=len(border.bends))
    needed = border.outlines.bends[vertex]
    at_node = step == 0
    needed[at_node] = (border.bends | (n_borders > 2))[border.origin[half_chain[of[at_node]]]]
    return vertex[needed], of[needed]


def _polygons(
    arrangement: Arrangement, vertex: Ints, ring: Ints, label: Ints
) -> tuple[NDArray[np.object_], Ints]:
    """Polygons of rings and of the holes in them, and the label of each."""
    x, y = arrangement.outlines.x[vertex], arrangement.outlines.y[vertex]
    start = np.flatnonzero(np.diff(ring, prepend=-1))
    stop = np.append(start[1:], len(ring))
    following = np.arange(1, len(ring) + 1)
    following[stop - 1] = start
    x_px = (x - x[start].repeat(stop - start)) * GRID_PX
    y_px = (y - y[start].repeat(stop - start)) * GRID_PX
    twice_px2 = np.add.reduceat(x_px * y_px[following] - x_px[following] * y_px, start)
    solid = (stop - start > 2) & (twice_px2 != 0)
    label, twice_px2 = label[ring[start]][solid], twice_px2[solid]
    number = np.cumsum(solid) - 1
    kept = np.repeat(solid, stop - start)
    coords = np.stack([x, y], axis=1) * GRID_PX
    rings = shapely.linearrings(coords[kept], indices=np.repeat(number, stop - start)[kept])
    shell, hole = np.flatnonzero(twice_px2 > 0), np.flatnonzero(twice_px2 < 0)
    around: Ints = np.empty(0, dtype=np.int64)
    if len(hole):
        # Half-way along an edge a hole touches nothing.
        first = start[solid][hole]
        point_x, point_y = ((coords[first] + coords[first + 1]) / 2).T
        x_px, y_px = coords[kept].T
        outlines = Rings(x_px, y_px, np.append(0, np.cumsum((stop - start)[solid])))
        inside, ring = outlines.around(
            point_x,
            point_y,
            lambda point, ring: (label[hole[point]] == label[ring]) & (twice_px2[ring] > 0),
        )
        order = np.lexsort((twice_px2[ring], inside))
        _, smallest = np.unique(inside[order], return_index=True)
        around = ring[order[smallest]]
    owner = np.concatenate([shell, around])
    member = np.concatenate([shell, hole])
    order = np.lexsort((twice_px2[member] < 0, owner))
    _, index = np.unique(owner[order], return_inverse=True)
    polygons = shapely.polygons(rings[member[order]], indices=index.reshape(-1))
    return polygons, label[np.unique(owner)]
